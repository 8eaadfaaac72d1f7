//! The table of transitions, cell by cell.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use order::{Command, EventKind, Next, Order, Outcome, Payment, ReasonCode, RefundStatus, State, transition};

use crate::fixtures::{
    CREATED_AT, OUTCOMES, TOTAL_MINOR, changed, name, outcome, payment, prices, reason, refund_requested, refunded,
    shipment, story, usd,
};

/// A change on the way that DESIGN.md gives an order: the story to its state, what happens, where that leads, what is
/// owed then, and the event.
struct Row(&'static str, &'static str, State, Option<Command>, EventKind);

const TO_PAID: &str = "valid authorized reserved captured";

#[test]
fn every_row_of_the_designed_table_leads_where_it_says() {
    use Command::{
        AuthorizePayment, CapturePayment, CreateShipment, RefundPayment, ReleaseStock, ReserveStock, ValidateOrder,
        VoidPayment,
    };
    use State::{
        Accepted, Authorized, Cancelled, Paid, Refunding, Rejected, Releasing, Reserved, Shipped, Validated, Voiding,
    };
    let shipped = format!("{TO_PAID} shipment_created").leak() as &str;
    let paid = TO_PAID;
    let rows = [
        // The table.
        Row("", "valid", Validated, Some(AuthorizePayment), EventKind::Validated),
        Row("", "invalid", Rejected, None, EventKind::Rejected),
        Row("valid", "authorized", Authorized, Some(ReserveStock), EventKind::Authorized),
        Row("valid", "declined", Rejected, None, EventKind::Rejected),
        Row("valid authorized", "reserved", Reserved, Some(CapturePayment), EventKind::Reserved),
        Row("valid authorized", "out_of_stock", Voiding, Some(VoidPayment), EventKind::Voiding),
        Row("valid authorized reserved", "captured", Paid, Some(CreateShipment), EventKind::Paid),
        Row("valid authorized reserved", "capture_refused", Releasing, Some(ReleaseStock), EventKind::Releasing),
        Row(paid, "shipment_created", Shipped, None, EventKind::Shipped),
        Row(paid, "undeliverable", Releasing, Some(ReleaseStock), EventKind::Releasing),
        Row(
            "valid authorized reserved captured undeliverable",
            "released",
            Refunding,
            Some(RefundPayment),
            EventKind::Refunding,
        ),
        Row("valid authorized reserved capture_refused", "released", Voiding, Some(VoidPayment), EventKind::Voiding),
        Row("valid authorized out_of_stock", "voided", Rejected, None, EventKind::Rejected),
        Row("valid authorized reserved capture_refused released", "voided", Rejected, None, EventKind::Rejected),
        Row("valid authorized cancel_requested skipped", "voided", Cancelled, None, EventKind::Cancelled),
        Row(
            "valid authorized reserved captured undeliverable released",
            "refunded",
            Cancelled,
            None,
            EventKind::Cancelled,
        ),
        Row(shipped, "refund_requested", Shipped, Some(RefundPayment), EventKind::RefundRequested),
        Row(
            "valid authorized reserved captured shipment_created refund_requested",
            "refunded",
            Shipped,
            None,
            EventKind::Refunded,
        ),
        // Cancel never changes the state.
        Row("", "cancel_requested", Accepted, Some(ValidateOrder), EventKind::CancelRequested),
        Row("valid", "cancel_requested", Validated, Some(AuthorizePayment), EventKind::CancelRequested),
        Row("valid authorized", "cancel_requested", Authorized, Some(ReserveStock), EventKind::CancelRequested),
        Row(
            "valid authorized reserved",
            "cancel_requested",
            Reserved,
            Some(CapturePayment),
            EventKind::CancelRequested,
        ),
        Row(paid, "cancel_requested", Paid, Some(CreateShipment), EventKind::CancelRequested),
        // The step that holds the effect acts on it: nothing was sent.
        Row("cancel_requested", "skipped", Cancelled, None, EventKind::Cancelled),
        Row("cancel_requested", "valid", Cancelled, None, EventKind::Cancelled),
        Row("valid cancel_requested", "skipped", Cancelled, None, EventKind::Cancelled),
        Row("valid authorized cancel_requested", "skipped", Voiding, Some(VoidPayment), EventKind::Voiding),
        Row(
            "valid authorized reserved cancel_requested",
            "skipped",
            Releasing,
            Some(ReleaseStock),
            EventKind::Releasing,
        ),
        Row(
            "valid authorized reserved captured cancel_requested",
            "skipped",
            Releasing,
            Some(ReleaseStock),
            EventKind::Releasing,
        ),
        // It was: settled first, then compensated.
        Row("valid cancel_requested", "authorized", Voiding, Some(VoidPayment), EventKind::Voiding),
        Row("valid cancel_requested", "declined", Rejected, None, EventKind::Rejected),
        Row(
            "valid authorized reserved cancel_requested",
            "captured",
            Releasing,
            Some(ReleaseStock),
            EventKind::Releasing,
        ),
        Row(
            "valid authorized reserved captured cancel_requested",
            "shipment_created",
            Shipped,
            None,
            EventKind::CancelRefused,
        ),
        Row(
            "valid authorized reserved captured cancel_requested",
            "undeliverable",
            Releasing,
            Some(ReleaseStock),
            EventKind::Releasing,
        ),
        // The undoing of a cancel ends cancelled, with and without money.
        Row(
            "valid authorized reserved cancel_requested skipped",
            "released",
            Voiding,
            Some(VoidPayment),
            EventKind::Voiding,
        ),
        Row(
            "valid authorized reserved cancel_requested skipped released",
            "voided",
            Cancelled,
            None,
            EventKind::Cancelled,
        ),
        Row(
            "valid authorized reserved cancel_requested captured",
            "released",
            Refunding,
            Some(RefundPayment),
            EventKind::Refunding,
        ),
        Row(
            "valid authorized reserved captured cancel_requested skipped released",
            "refunded",
            Cancelled,
            None,
            EventKind::Cancelled,
        ),
        // Parking owes nothing; going on owes what was owed.
        Row("valid", "parked", Validated, None, EventKind::Parked),
        Row("valid parked", "resumed", Validated, Some(AuthorizePayment), EventKind::Resumed),
        Row("valid authorized out_of_stock", "parked", Voiding, None, EventKind::Parked),
        Row("valid authorized out_of_stock parked", "resumed", Voiding, Some(VoidPayment), EventKind::Resumed),
        // Given up, it stays parked, until somebody reopens it.
        Row("valid authorized out_of_stock parked", "abandoned", Voiding, None, EventKind::Parked),
        Row(
            "valid authorized out_of_stock parked abandoned",
            "resumed",
            Voiding,
            Some(VoidPayment),
            EventKind::Resumed,
        ),
    ];
    for Row(before, happens, state, owed, event) in rows {
        let row = story(before);
        let at = 90;
        let next = changed(&row, &outcome(happens), at);
        let said = format!("[{before}] {happens}");
        assert_eq!((next.state, next.next_command()), (state, owed), "{said}");
        assert_eq!(next.version, row.version + 1, "{said}");
        let last = *next.last_event().unwrap();
        let at_ms = CREATED_AT + 1_000 * (at + 1);
        assert_eq!((last.version, last.event, last.at_ms), (next.version, event, at_ms), "{said}");
        assert_eq!(next.due_at, owed.map(|_| at_ms + 60_000), "{said}");
    }
}

/// The whole matrix. Left, a story to a state; then a cell an outcome, in the order of [`OUTCOMES`]:
///
/// `.` absorbed · `!` a bug · `+` a new version of the same state · else the three letters of the next state.
#[rustfmt::skip]
const MATRIX: &str = "
Acc |                                                                                       | Val Rej !   !   .   .   !   !   !   !   .   !   !   !   +   .   +   .   .
Acc | parked                                                                                | Val Rej !   !   .   .   !   !   !   !   .   !   !   !   +   .   .   +   .
Acc | cancel_requested                                                                      | Can Rej !   !   .   .   !   !   !   !   .   !   !   Can .   .   +   .   .
Val | valid                                                                                 | .   .   Aut Rej .   .   !   !   !   !   .   !   !   !   +   .   +   .   .
Val | valid parked                                                                          | .   .   Aut Rej .   .   !   !   !   !   .   !   !   !   +   .   .   +   .
Val | valid cancel_requested                                                                | .   .   Voi Rej .   .   !   !   !   !   .   !   !   Can .   .   +   .   .
Aut | valid authorized                                                                      | .   .   .   !   Res Voi !   !   !   !   .   !   !   !   +   .   +   .   .
Aut | valid authorized parked                                                               | .   .   .   !   Res Voi !   !   !   !   .   !   !   !   +   .   .   +   .
Aut | valid authorized cancel_requested                                                     | .   .   .   !   Res Voi !   !   !   !   .   !   !   Voi .   .   +   .   .
Res | valid authorized reserved                                                             | .   .   .   !   .   .   Pai Rel !   !   .   !   !   !   +   .   +   .   .
Res | valid authorized reserved parked                                                      | .   .   .   !   .   .   Pai Rel !   !   .   !   !   !   +   .   .   +   .
Res | valid authorized reserved cancel_requested                                            | .   .   .   !   .   .   Rel Rel !   !   .   !   !   Rel .   .   +   .   .
Res | valid authorized cancel_requested reserved                                            | .   .   .   !   .   .   Rel Rel !   !   .   !   !   Rel .   .   +   .   .
Pai | valid authorized reserved captured                                                    | .   .   .   !   .   .   .   !   Shp Rel .   !   !   !   +   .   +   .   .
Pai | valid authorized reserved captured parked                                             | .   .   .   !   .   .   .   !   Shp Rel .   !   !   !   +   .   .   +   .
Pai | valid authorized reserved captured cancel_requested                                   | .   .   .   !   .   .   .   !   Shp Rel .   !   !   Rel .   .   +   .   .
Shp | valid authorized reserved captured shipment_created                                   | .   .   .   !   .   .   .   !   .   !   .   !   !   !   .   +   .   .   .
Shp | valid authorized reserved captured cancel_requested shipment_created                  | .   .   .   !   .   .   .   !   .   !   .   !   !   .   .   +   .   .   .
Shp | valid authorized reserved captured shipment_created refund_requested                  | .   .   .   !   .   .   .   !   .   !   .   !   +   !   .   .   +   .   .
Shp | valid authorized reserved captured shipment_created refund_requested parked           | .   .   .   !   .   .   .   !   .   !   .   !   +   !   .   .   .   +   +
Shp | valid authorized reserved captured shipment_created refund_requested parked abandoned | .   .   .   !   .   .   .   !   .   !   .   !   +   !   .   .   .   +   .
Shp | valid authorized reserved captured shipment_created refund_requested refunded         | .   .   .   !   .   .   .   !   .   !   .   !   .   !   .   .   .   .   .
Rel | valid authorized reserved capture_refused                                             | .   .   .   !   .   .   !   .   !   !   Voi !   !   !   .   .   +   .   .
Rel | valid authorized reserved capture_refused parked                                      | .   .   .   !   .   .   !   .   !   !   Voi !   !   !   .   .   .   +   +
Rel | valid authorized reserved capture_refused parked abandoned                            | .   .   .   !   .   .   !   .   !   !   Voi !   !   !   .   .   .   +   .
Rel | valid authorized reserved cancel_requested skipped                                    | .   .   .   !   .   .   !   .   !   !   Voi !   !   .   .   .   +   .   .
Rel | valid authorized reserved captured undeliverable                                      | .   .   .   !   .   .   .   !   !   .   Ref !   !   !   .   .   +   .   .
Rel | valid authorized reserved cancel_requested captured                                   | .   .   .   !   .   .   .   !   !   .   Ref !   !   .   .   .   +   .   .
Voi | valid authorized out_of_stock                                                         | .   .   .   !   .   .   !   .   !   !   .   Rej !   !   .   .   +   .   .
Voi | valid authorized out_of_stock parked                                                  | .   .   .   !   .   .   !   .   !   !   .   Rej !   !   .   .   .   +   +
Voi | valid authorized out_of_stock parked abandoned                                        | .   .   .   !   .   .   !   .   !   !   .   Rej !   !   .   .   .   +   .
Voi | valid authorized reserved capture_refused released                                    | .   .   .   !   .   .   !   .   !   !   .   Rej !   !   .   .   +   .   .
Voi | valid cancel_requested authorized                                                     | .   .   .   !   .   .   !   .   !   !   .   Can !   .   .   .   +   .   .
Ref | valid authorized reserved captured undeliverable released                             | .   .   .   !   .   .   .   !   !   .   .   !   Can !   .   .   +   .   .
Ref | valid authorized reserved captured undeliverable released parked                      | .   .   .   !   .   .   .   !   !   .   .   !   Can !   .   .   .   +   +
Ref | valid authorized reserved captured undeliverable released parked abandoned            | .   .   .   !   .   .   .   !   !   .   .   !   Can !   .   .   .   +   .
Ref | valid authorized reserved captured cancel_requested skipped released                  | .   .   .   !   .   .   .   !   !   .   .   !   Can .   .   .   +   .   .
Rej | invalid                                                                               | .   .   !   .   .   .   !   !   !   !   .   !   !   !   .   .   .   .   .
Rej | valid declined                                                                        | .   .   !   .   .   .   !   !   !   !   .   !   !   !   .   .   .   .   .
Rej | valid authorized out_of_stock voided                                                  | .   .   .   !   .   .   !   .   !   !   .   .   !   !   .   .   .   .   .
Can | cancel_requested skipped                                                              | .   .   !   .   .   .   !   !   !   !   .   !   !   .   .   .   .   .   .
Can | valid cancel_requested skipped                                                        | .   .   !   .   .   .   !   !   !   !   .   !   !   .   .   .   .   .   .
Can | valid cancel_requested authorized voided                                              | .   .   .   !   .   .   !   .   !   !   .   .   !   .   .   .   .   .   .
Can | valid authorized reserved captured undeliverable released refunded                    | .   .   .   !   .   .   .   !   !   .   .   !   .   !   .   .   .   .   .
";

fn code(state: State) -> &'static str {
    match state {
        State::Accepted => "Acc",
        State::Validated => "Val",
        State::Authorized => "Aut",
        State::Reserved => "Res",
        State::Paid => "Pai",
        State::Shipped => "Shp",
        State::Releasing => "Rel",
        State::Voiding => "Voi",
        State::Refunding => "Ref",
        State::Rejected => "Rej",
        State::Cancelled => "Can",
    }
}

/// What an outcome makes of a row, as a cell of the matrix.
fn cell(row: &Order, outcome: &Outcome) -> &'static str {
    match transition(row, outcome, CREATED_AT + 500_000) {
        Ok(Next::Changed(next)) if next.state == row.state => "+",
        Ok(Next::Changed(next)) => code(next.state),
        Ok(Next::Absorbed) => ".",
        Err(_) => "!",
    }
}

#[test]
fn the_whole_matrix_of_states_and_outcomes_is_pinned() {
    let mut covered: BTreeMap<(State, &str), String> = BTreeMap::new();
    let mut wrong = String::new();
    for line in MATRIX.lines().filter(|line| !line.is_empty()) {
        let [state, path, cells] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else { panic!("{line}") };
        let row = story(path);
        assert_eq!(code(row.state), state, "{path}");
        let cells: Vec<_> = cells.split_whitespace().collect();
        assert_eq!(cells.len(), OUTCOMES.len(), "{path}");
        for (column, pinned) in OUTCOMES.into_iter().zip(cells) {
            let happens = outcome(column);
            assert_eq!(name(&happens), column);
            let is = cell(&row, &happens);
            if is != pinned {
                writeln!(wrong, "[{path}] {column}: pinned {pinned}, is {is}").unwrap();
            }
            let seen = covered.entry((row.state, column)).or_default();
            if !seen.split('/').any(|other| other == is) {
                *seen = if seen.is_empty() { is.to_owned() } else { format!("{seen}/{is}") };
            }
        }
    }
    println!("What was covered (`.` absorbed, `!` a bug, `+` a version of the same state, else the next state):");
    println!("{:<18}{}", "", State::ALL.map(|state| format!("{:<12}", state.name())).concat());
    let mut missing = Vec::new();
    for column in OUTCOMES {
        print!("{column:<18}");
        for state in State::ALL {
            let seen = covered.get(&(state, column));
            print!("{:<12}", seen.map_or("MISSING", String::as_str));
            if seen.is_none() {
                missing.push((state, column));
            }
        }
        println!();
    }
    println!("{} of {} pairs", covered.len(), State::ALL.len() * OUTCOMES.len());
    assert!(missing.is_empty(), "not pinned: {missing:?}");
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// The rows of the matrix.
fn stories() -> impl Iterator<Item = Order> {
    MATRIX.lines().filter(|line| !line.is_empty()).map(|line| story(line.split('|').nth(1).unwrap()))
}

#[test]
fn a_parked_order_owes_nothing_and_takes_facts_as_before() {
    for row in stories().filter(|row| row.next_command().is_some()) {
        let waiting = changed(&row, &outcome("parked"), 60);
        assert_eq!((waiting.next_command(), waiting.due_at), (None, None), "{}", row.state);
        assert_eq!(cell(&waiting, &outcome("parked")), ".", "{} parks once", row.state);
        assert_eq!(cell(&waiting, &outcome("resumed")), "+", "{}", row.state);
        for column in OUTCOMES.into_iter().filter(|column| !matches!(*column, "parked" | "resumed" | "abandoned")) {
            assert_eq!(cell(&waiting, &outcome(column)), cell(&row, &outcome(column)), "{} {column}", row.state);
            if let Ok(Next::Changed(next)) = transition(&waiting, &outcome(column), CREATED_AT) {
                assert_eq!(next.next_command(), None, "{} {column}", row.state);
            }
        }
        let resumed = changed(&waiting, &outcome("resumed"), 61);
        assert_eq!(resumed.next_command(), row.next_command(), "{}", row.state);
    }
}

#[test]
fn an_order_is_given_up_only_where_the_table_has_nothing_left_to_undo_it_by() {
    for row in stories().filter(|row| row.next_command().is_some()) {
        let waiting = changed(&row, &outcome("parked"), 60);
        let undone_by_the_table =
            matches!(row.state, State::Accepted | State::Validated | State::Authorized | State::Reserved | State::Paid);
        assert_eq!(cell(&waiting, &Outcome::Abandoned), if undone_by_the_table { "." } else { "+" }, "{}", row.state);
        assert_eq!(cell(&row, &Outcome::Abandoned), ".", "{} is not parked", row.state);
    }
}

#[test]
fn an_order_that_was_given_up_takes_no_refund_until_it_is_reopened() {
    let row = changed(&story(SHIPPED), &refund_requested(500, "one"), 10);
    let parked = changed(&row, &outcome("parked"), 11);
    assert_eq!(cell(&parked, &refund_requested(1_000, "two")), "+", "parked, it may still be paid");
    let abandoned = changed(&parked, &Outcome::Abandoned, 12);
    assert_eq!(abandoned.refund_allowed(1_000), Err(order::RefundRefusal::Abandoned));
    assert_eq!(cell(&abandoned, &refund_requested(1_000, "two")), ".");
    assert_eq!(cell(&abandoned, &refunded(0)), "+", "what was under way is a fact all the same");
    let reopened = changed(&abandoned, &Outcome::Resumed, 13);
    assert_eq!(cell(&reopened, &refund_requested(1_000, "two")), "+");
    let again = changed(&reopened, &outcome("parked"), 14);
    assert_eq!(again.parked.map(|parked| parked.abandoned), Some(false), "parked anew, it is not given up");
}

#[test]
fn an_order_that_ended_undone_is_not_parked() {
    for path in
        ["parked invalid", "valid authorized out_of_stock parked voided", "valid parked cancel_requested skipped"]
    {
        assert_eq!(story(path).parked, None, "{path}");
    }
}

#[test]
fn another_receipt_than_the_one_known_is_a_bug() {
    let other = Payment { amount: usd(TOTAL_MINOR - 1), ..payment("pi_1") };
    let captured_less = order::Capture { amount: usd(TOTAL_MINOR - 1) };
    for row in stories() {
        if row.state != State::Validated {
            assert_eq!(cell(&row, &Outcome::Authorized(payment("pi_2"))), "!", "{} is held twice", row.state);
            assert_eq!(cell(&row, &Outcome::Authorized(other.clone())), "!", "{} is held otherwise", row.state);
        }
        if row.state != State::Reserved {
            assert_eq!(cell(&row, &Outcome::Captured(captured_less.clone())), "!", "{} is captured twice", row.state);
        }
        if row.state != State::Paid {
            assert_eq!(cell(&row, &Outcome::ShipmentCreated(shipment("sh_2"))), "!", "{} ships twice", row.state);
        }
        assert_eq!(cell(&row, &refunded(row.refunds.len())), "!", "{} has no such refund", row.state);
    }
}

#[test]
fn a_refund_done_twice_under_two_ids_is_a_bug() {
    let row = story("valid authorized reserved captured shipment_created refund_requested refunded");
    assert_eq!(cell(&row, &Outcome::Refunded { ordinal: 0, refund_id: "re_other".into() }), "!");
}

#[test]
fn an_amount_that_is_not_the_total_never_leads_on() {
    let held = Payment { amount: usd(TOTAL_MINOR - 1), ..payment("pi_1") };
    let captured = order::Capture { amount: usd(TOTAL_MINOR - 1) };
    assert_eq!(cell(&story("valid"), &Outcome::Authorized(held.clone())), "!");
    assert_eq!(cell(&story("valid authorized reserved"), &Outcome::Captured(captured.clone())), "!");
    // What is given back anyway may be any amount.
    assert_eq!(cell(&story("valid cancel_requested"), &Outcome::Authorized(held)), "Voi");
    let row = changed(&story("valid authorized reserved cancel_requested"), &Outcome::Captured(captured), 9);
    assert_eq!(changed(&row, &Outcome::Released, 10).refunds[0].amount_minor, TOTAL_MINOR - 1);
}

#[test]
fn prices_that_are_not_one_a_line_are_a_bug() {
    let total = usd(TOTAL_MINOR);
    for prices in [Vec::new(), prices()[..1].to_vec(), [prices(), prices()].concat()] {
        assert_eq!(cell(&story(""), &Outcome::Valid { prices, total }), "!");
    }
    let euros = order::Money::new(TOTAL_MINOR, "EUR".parse().unwrap());
    assert_eq!(cell(&story(""), &Outcome::Valid { prices: prices(), total: euros }), "!");
}

#[test]
fn receipts_and_prices_stand_on_the_row_they_made() {
    let row = story("valid authorized reserved captured shipment_created");
    assert_eq!(row.total, Some(usd(TOTAL_MINOR)));
    assert_eq!(row.lines.iter().map(|line| line.price.clone().unwrap()).collect::<Vec<_>>(), prices());
    assert_eq!(row.payment, Some(payment("pi_1")));
    assert_eq!(row.capture.map(|capture| capture.amount), Some(usd(TOTAL_MINOR)));
    assert_eq!(row.shipment, Some(shipment("sh_1")));
    assert_eq!(row.reason, None);
}

#[test]
fn a_refused_cancel_clears_the_flag_and_leaves_a_refund_as_the_way() {
    let row = story("valid authorized reserved captured cancel_requested shipment_created");
    assert!(!row.cancel_requested);
    assert!(row.cancel_allowed().is_err());
    assert_eq!(row.refund_allowed(TOTAL_MINOR), Ok(()));
}

#[test]
fn the_refund_of_a_cancelled_order_is_the_whole_capture() {
    let row = story("valid authorized reserved captured undeliverable released");
    let (ordinal, refund) = row.pending_refund().unwrap();
    assert_eq!((ordinal, refund.amount_minor, refund.status), (0, TOTAL_MINOR, RefundStatus::Requested));
    let ended = changed(&row, &refunded(0), 20);
    assert_eq!((ended.refunds[0].status, ended.refunds[0].refund_id.as_deref()), (RefundStatus::Done, Some("re_0")));
}

#[test]
fn the_reason_tells_how_an_undone_order_ends() {
    use ReasonCode::{
        AmountOverflow, AmountTooSmall, AmountZero, AuthenticationRequired, CaptureRefused, CurrencyDiffers,
        CustomerCancelled, OutOfStock, PaymentDeclined, TotalDiffers, Undeliverable, UnknownSku,
    };
    for (code, end) in [
        (UnknownSku, State::Rejected),
        (TotalDiffers, State::Rejected),
        (CurrencyDiffers, State::Rejected),
        (AmountOverflow, State::Rejected),
        (AmountZero, State::Rejected),
        (AmountTooSmall, State::Rejected),
        (PaymentDeclined, State::Rejected),
        (AuthenticationRequired, State::Rejected),
        (OutOfStock, State::Rejected),
        (CaptureRefused, State::Rejected),
        (Undeliverable, State::Cancelled),
        (CustomerCancelled, State::Cancelled),
    ] {
        let row = changed(&story("valid authorized reserved"), &Outcome::CaptureRefused(reason(code)), 5);
        assert_eq!(changed(&changed(&row, &Outcome::Released, 6), &Outcome::Voided, 7).state, end, "{code:?}");
    }
}

#[test]
fn a_refund_is_asked_for_once_a_key() {
    let row = changed(&story(SHIPPED), &refund_requested(1_000, "one"), 10);
    for amount_minor in [1_000, 1] {
        assert_eq!(cell(&row, &refund_requested(amount_minor, "one")), ".", "{amount_minor}");
    }
    let row = changed(&row, &refunded(0), 11);
    assert_eq!(cell(&row, &refund_requested(1_000, "one")), ".", "done, it is not asked for again");
    assert_eq!(cell(&row, &refund_requested(1_000, "two")), "+");
}

const SHIPPED: &str = "valid authorized reserved captured shipment_created";

#[test]
fn refunds_stop_at_the_capture_and_at_twenty() {
    let row = story(SHIPPED);
    for amount_minor in [0, TOTAL_MINOR + 1, u64::MAX] {
        assert!(row.refund_allowed(amount_minor).is_err(), "{amount_minor}");
        assert_eq!(cell(&row, &refund_requested(amount_minor, "one")), ".", "{amount_minor}");
    }
    let row = changed(&row, &refund_requested(TOTAL_MINOR, "one"), 10);
    assert_eq!(cell(&row, &refund_requested(1, "two")), ".", "asked for is as good as gone");

    let full = (0..order::MAX_REFUNDS as u64)
        .fold(story(SHIPPED), |row, number| changed(&row, &refund_requested(1, &format!("key {number}")), 10 + number));
    assert_eq!(full.refunds.len(), 20);
    assert_eq!(full.refund_allowed(1), Err(order::RefundRefusal::TooMany));
    assert_eq!(cell(&full, &refund_requested(1, "one more")), ".");
}

#[test]
fn refunds_are_paid_in_the_order_they_were_asked_for() {
    let row = changed(&story(SHIPPED), &refund_requested(1_000, "one"), 10);
    let row = changed(&row, &refund_requested(500, "two"), 11);
    assert_eq!(row.pending_refund().map(|(ordinal, _)| ordinal), Some(0));
    let row = changed(&row, &refunded(0), 12);
    assert_eq!(row.pending_refund().map(|(ordinal, _)| ordinal), Some(1));
    assert_eq!((row.refunds_minor(), row.refundable_minor()), (1_500, TOTAL_MINOR - 1_500));
}
