//! What is injected: a name, which is the label, and what is done to one order or message for it.
//!
//! A fault is one kind wherever it strikes alike: on every lane, and a provider's key that is revoked whatever is asked of the
//! provider. What strikes another step, or in another way that its operator would mend otherwise, is another kind.

use lambda_queue::memory::{Fault as StoreFault, Operation};
use lambda_queue::ports::store::{Item, text};
use order::{Order, State, Step};
use ports::{ProviderError, StoreError};
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::provider::{Asked, Reply, intent, no};

/// What is done.
pub enum Fault {
    /// A step's queue gets this instead of a command that it should get. The order is there, and waits for it.
    Command(State, fn(&Dice, Value) -> String),
    /// The queue of a consumer of events gets this.
    Event(&'static str, fn(&Dice, Value) -> String),
    /// A provider answers so, always, in one of these states of an order; a payment that is looked at stands like this.
    Answers(&'static [State], &'static str, fn(&Asked, &Dice) -> Option<Reply>),
    /// The same where what is lost is the connection.
    NoConnection(&'static [State]),
    /// The same where nothing is said for longer than anybody waits.
    Silence(&'static [State], &'static str, fn(&Asked) -> bool),
    /// What is stored in a table is spoilt before the step comes to it.
    Row(State, &'static str, fn(&mut Item)),
    /// The same, each time in another way.
    Spoilt(State, &'static str, fn(&Dice, &mut Item)),
    /// Somebody has put this into a table before the step comes.
    Left(State, &'static str, fn(&Dice, &Order) -> Item),
    /// Every row of a table, whose key is this, is deleted before the step comes to it.
    Emptied(State, &'static str, &'static str),
    /// A table fails so, always, under a step.
    Table(State, &'static str, fn(Operation) -> StoreFault),
    /// A table does not answer a step before the step's time is up.
    Hangs(State, &'static str),
    /// A step's program panics with this.
    Panic(State, fn(&Dice) -> String),
    /// Whoever takes the message is killed with it; meanwhile, or before, this happens to the row.
    Killed(State, Meanwhile),
    /// The same for a consumer of events.
    KilledWithEvent(&'static str),
    /// A consumer of events panics with this.
    PanicWithEvent(&'static str, fn(&Dice) -> String),
    /// What is stored in a table is spoilt before a consumer of events comes to it.
    RowOfEvent(&'static str, &'static str, fn(&mut Item)),
    /// A table fails so, always, under a consumer of events.
    TableOfEvent(&'static str, &'static str, fn(Operation) -> StoreFault),
    /// The mail service says so.
    Mail(fn() -> ProviderError),
    /// The archive's bucket says so.
    Bucket(fn() -> StoreError),
    /// recover-orders finds a row like this.
    Recovery(Recovery),
    /// recover-orders finds a due row that is spoilt so, each time in another way.
    Due(fn(&Dice, &mut Item)),
    /// The topic cannot deliver an event.
    Undelivered,
}

/// What becomes of a row while its message dies.
#[derive(Clone, Copy)]
pub enum Meanwhile {
    Nothing,
    MovedOn,
    Gone,
    TableAway,
    Newer,
}

/// What recover-orders finds.
#[derive(Clone, Copy)]
pub enum Recovery {
    /// Of a state that this program does not know.
    Newer,
    /// Due, and nothing is owed.
    NothingOwed,
    /// Nudged so often that nothing will move it.
    Stuck,
    /// The same in this state.
    StuckIn(State),
    /// Without a part that every row has.
    Damaged,
}

/// The states in which the payment provider, or the carrier, is asked for something.
pub const MONEY: &[State] = &[State::Validated, State::Reserved, State::Voiding];

/// Every kind.
pub const KINDS: &[(&str, Fault)] = &[
    // ---- producers that write what nobody can read
    ("validate gets no JSON", Fault::Command(State::Accepted, no_json)),
    ("validate gets half a message", Fault::Command(State::Accepted, half)),
    ("payment gets two messages in one", Fault::Command(State::Validated, |_, body| format!("{body}{body}"))),
    ("stock gets a list", Fault::Command(State::Authorized, |_, body| json!([body]).to_string())),
    ("payment gets a message without type", Fault::Command(State::Validated, |_, body| without(body, "type"))),
    ("payment gets a message without id", Fault::Command(State::Reserved, |_, body| without(body, "id"))),
    ("stock gets a message without data", Fault::Command(State::Authorized, |_, body| without(body, "data"))),
    ("shipping gets an old envelope", Fault::Command(State::Paid, |_, body| with(body, "/specversion", json!("0.3")))),
    (
        "validate gets a type without version",
        Fault::Command(State::Accepted, |_, body| with(body, "/type", json!("orderflow.order.validate"))),
    ),
    (
        "validate gets a command of another system",
        Fault::Command(State::Accepted, |_, body| with(body, "/type", json!("orderflow.order.screen.v1"))),
    ),
    (
        "stock gets the commands of payment",
        Fault::Command(State::Authorized, |dice, body| {
            let wrong = ["payment.authorize", "payment.capture", "payment.void", "payment.refund"];
            with(body, "/type", json!(format!("orderflow.{}.v1", dice.one_of(&wrong))))
        }),
    ),
    (
        "payment gets a version in quotes",
        Fault::Command(State::Validated, |dice, body| {
            with(body, "/data/version", json!((1 + dice.below(9)).to_string()))
        }),
    ),
    (
        "payment gets an order number instead of an id",
        Fault::Command(State::Validated, |dice, body| {
            with(body, "/data/order_id", json!(format!("ORD-{}", 10_000 + dice.below(90_000))))
        }),
    ),
    (
        "stock gets another order's subject",
        Fault::Command(State::Authorized, |dice, body| {
            let other = dice.order_id();
            with(body, "/subject", json!(other))
        }),
    ),
    (
        "shipping gets a key twice",
        Fault::Command(State::Paid, |dice, body| {
            body.to_string().replacen('{', &format!("{{\"tenant\":\"{}\",", dice.word(3, 9)), 1)
        }),
    ),
    (
        "payment gets messages of a newer program",
        Fault::Command(State::Validated, |dice, body| {
            with(body, "/type", json!(format!("orderflow.payment.authorize.v{}", 4 + dice.below(4))))
        }),
    ),
    // ---- events that cannot be read
    (
        "notify gets a command",
        Fault::Event("notify.fifo", |_, body| with(body, "/type", json!("orderflow.order-history.exported.v1"))),
    ),
    (
        "notify gets an event of a newer program",
        Fault::Event("notify.fifo", |dice, body| {
            with(body, "/type", json!(format!("orderflow.order.accepted.v{}", 4 + dice.below(4))))
        }),
    ),
    (
        "notify gets an event of nobody's order",
        Fault::Event("notify.fifo", |dice, body| of_another_order(dice, body).to_string()),
    ),
    (
        "notify gets an event that says it otherwise",
        Fault::Event("notify.fifo", |dice, body| with(body, "/data/event", json!(format!("was_{}", dice.word(4, 9))))),
    ),
    ("archive gets no JSON", Fault::Event("archive", |dice, _| dice.text())),
    // ---- rows
    ("validate finds no order", Fault::Command(State::Accepted, |dice, body| of_another_order(dice, body).to_string())),
    ("stock finds no order", Fault::Command(State::Authorized, |dice, body| of_another_order(dice, body).to_string())),
    ("stock's row lacks a field", Fault::Row(State::Authorized, "orders", |item| drop(item.remove("lane")))),
    (
        "payment's row is of a newer program",
        Fault::Row(State::Validated, "orders", |item| {
            item.insert("state".to_owned(), text("on_hold"));
        }),
    ),
    (
        "payment's row is of an old backup",
        Fault::Row(State::Reserved, "orders", |item| {
            item.insert("version".to_owned(), lambda_queue::ports::store::number(2));
        }),
    ),
    ("shipping's address was erased", Fault::Row(State::Paid, "orders", |item| drop(item.remove("ship_to")))),
    ("payment's method was erased", Fault::Row(State::Validated, "orders", |item| drop(item.remove("payment_method")))),
    ("payment's row has no total", Fault::Row(State::Validated, "orders", |item| drop(item.remove("total")))),
    ("payment's receipt is gone", Fault::Row(State::Reserved, "orders", |item| drop(item.remove("payment")))),
    (
        "a price in the catalogue is no number",
        Fault::Row(State::Accepted, "stock", |item| {
            item.insert("price_minor".to_owned(), text("a lot"));
        }),
    ),
    // ---- tables
    ("validate's orders table throttles", Fault::Table(State::Accepted, "orders", |_| StoreFault::Throttle)),
    ("validate's stock table throttles", Fault::Table(State::Accepted, "stock", |_| StoreFault::Throttle)),
    (
        "stock's transactions meet others",
        Fault::Table(State::Authorized, "stock", |operation| {
            if operation == Operation::Transact { StoreFault::Conflict } else { StoreFault::None }
        }),
    ),
    ("payment's idempotency table throttles", Fault::Table(State::Validated, "idempotency", |_| StoreFault::Throttle)),
    (
        "stock's writes are lost",
        Fault::Table(State::Authorized, "stock", |operation| {
            if operation.writes() { StoreFault::Vanished } else { StoreFault::None }
        }),
    ),
    ("shipping's reads are lost", Fault::Table(State::Paid, "orders", |_| StoreFault::Vanished)),
    // ---- the payment provider
    (
        "the payment key is revoked",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(401, "invalid_request_error", Some("api_key_expired"), &dice.text()))
        }),
    ),
    (
        "the payment key may not do that",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(403, "invalid_request_error", Some("more_permissions_required_for_application"), &dice.text()))
        }),
    ),
    (
        "the payment provider takes a parameter no more",
        Fault::Answers(MONEY, "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(400, "invalid_request_error", Some("parameter_unknown"), &dice.text()))
        }),
    ),
    (
        "the payment to capture is unknown there",
        Fault::Answers(&[State::Reserved], "requires_capture", |_, dice| {
            Some(no(404, "invalid_request_error", Some("resource_missing"), &dice.text()))
        }),
    ),
    (
        "the payment provider throttles",
        Fault::Answers(MONEY, "requires_capture", |_, dice| {
            Some(no(429, "rate_limit_error", Some("rate_limit"), &dice.text()))
        }),
    ),
    (
        "authorizations end in 500",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked.ends("/confirm").then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    (
        "captures end in 503",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(503, "api_error", None, &dice.text()))
        }),
    ),
    (
        "captures are reset",
        Fault::Answers(&[State::Reserved], "requires_capture", |asked, _| asked.is_effect().then_some(Reply::Reset)),
    ),
    (
        "authorizations are answered by a proxy's page",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked.ends("/confirm").then(|| Reply::Page(200, format!("<html>{}</html>", dice.text())))
        }),
    ),
    (
        "voids end in 500",
        Fault::Answers(&[State::Voiding], "requires_capture", |asked, dice| {
            asked.is_effect().then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    (
        "refunds end in 500",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no(500, "api_error", None, &dice.text()))
        }),
    ),
    (
        "authorizations are met by silence",
        Fault::Silence(&[State::Validated], "requires_confirmation", |asked| asked.ends("/confirm")),
    ),
    ("nobody reaches the payment provider", Fault::NoConnection(MONEY)),
    (
        "a payment is made of another amount",
        Fault::Answers(&[State::Validated], "requires_confirmation", |asked, dice| {
            asked
                .ends("/payment_intents")
                .then(|| Reply::Json(200, intent("pi_new", "requires_confirmation", 7 + dice.below(40), "usd")))
        }),
    ),
    (
        "another amount is held",
        Fault::Answers(&[State::Validated], "requires_capture", |asked, dice| {
            let mut held = intent("pi_new", "requires_capture", 7 + dice.below(40), "usd");
            held["amount"] = json!(100_000 + dice.below(900));
            (asked.ends("/confirm") || !asked.is_effect()).then_some(Reply::Json(200, held))
        }),
    ),
    (
        "another amount is captured",
        Fault::Answers(&[State::Reserved], "succeeded", |asked, dice| {
            let id = asked.path.split('/').nth(3).unwrap_or_default();
            let amount = 7 + dice.below(40);
            (!asked.path.ends_with("/refunds")).then(|| Reply::Json(200, intent(id, "succeeded", amount, "usd")))
        }),
    ),
    (
        "the hold to void was captured",
        Fault::Answers(&[State::Voiding], "succeeded", |asked, dice| {
            asked
                .is_effect()
                .then(|| no(400, "invalid_request_error", Some("payment_intent_unexpected_state"), &dice.text()))
        }),
    ),
    (
        "what is to be captured was never held",
        Fault::Answers(&[State::Reserved], "requires_confirmation", |asked, dice| {
            asked
                .is_effect()
                .then(|| no(400, "invalid_request_error", Some("payment_intent_unexpected_state"), &dice.text()))
        }),
    ),
    (
        "there is no balance to refund from",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no(400, "invalid_request_error", Some("balance_insufficient"), &dice.text()))
        }),
    ),
    (
        "a refund is of a charge that is disputed",
        Fault::Answers(&[State::Refunding], "succeeded", |asked, dice| {
            asked.is_effect().then(|| no(400, "invalid_request_error", Some("charge_disputed"), &dice.text()))
        }),
    ),
    // ---- the carrier
    (
        "the carrier's key is revoked",
        Fault::Answers(&[State::Paid], "", |_, dice| Some(carrier_no(401, "unauthorized", dice))),
    ),
    (
        "the carrier has another parcel of that reference",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(409, "reference_conflict", dice))
        }),
    ),
    (
        "the carrier takes no such request",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| carrier_no(400, "service_unknown", dice))
        }),
    ),
    ("the carrier throttles", Fault::Answers(&[State::Paid], "", |_, dice| Some(carrier_no(429, "slow_down", dice)))),
    (
        "shipments end in 502",
        Fault::Answers(&[State::Paid], "", |asked, dice| {
            asked.is_effect().then(|| Reply::Page(502, format!("<html>{}</html>", dice.text())))
        }),
    ),
    ("nobody reaches the carrier", Fault::NoConnection(&[State::Paid])),
    // ---- programs that die, and programs with a bug
    ("payment is killed with its message", Fault::Killed(State::Validated, Meanwhile::Nothing)),
    ("stock is killed with its message", Fault::Killed(State::Authorized, Meanwhile::Nothing)),
    ("payment is killed, and its order is gone", Fault::Killed(State::Validated, Meanwhile::Gone)),
    ("shipping is killed, and its order moves on", Fault::Killed(State::Paid, Meanwhile::MovedOn)),
    ("stock is killed, and its table is away", Fault::Killed(State::Authorized, Meanwhile::TableAway)),
    ("shipping is killed, and its row is of a newer program", Fault::Killed(State::Paid, Meanwhile::Newer)),
    ("archive is killed with its events", Fault::KilledWithEvent("archive")),
    ("notify is killed with its event", Fault::KilledWithEvent("notify.fifo")),
    (
        "payment panics over an index",
        Fault::Panic(State::Reserved, |dice| {
            let length = dice.below(40);
            format!("index out of bounds: the len is {length} but the index is {}", length + dice.below(9))
        }),
    ),
    ("shipping panics over an overflow", Fault::Panic(State::Paid, |_| "attempt to add with overflow".to_owned())),
    // ---- mail, archive, topic
    ("the mail service rejects the mail", Fault::Mail(|| ProviderError::Refused { why: "MessageRejected".to_owned() })),
    (
        "the mail service takes no such request",
        Fault::Mail(|| ProviderError::Refused { why: "BadRequestException".to_owned() }),
    ),
    (
        "the mail service has suspended the account",
        Fault::Mail(|| ProviderError::NotRun { retry_after: None, why: "AccountSuspendedException".to_owned() }),
    ),
    ("the bucket refuses the archive", Fault::Bucket(|| StoreError::NotDone("AccessDenied".to_owned()))),
    ("the topic cannot deliver", Fault::Undelivered),
    // ---- recovery
    ("recovery finds a row of a newer program", Fault::Recovery(Recovery::Newer)),
    ("recovery finds a due row that owes nothing", Fault::Recovery(Recovery::NothingOwed)),
    ("recovery has nudged in vain", Fault::Recovery(Recovery::Stuck)),
];

/// The step that takes what an order in this state owes.
pub fn step_of(state: State) -> Step {
    match state {
        State::Accepted => Step::Validate,
        State::Authorized | State::Releasing => Step::Stock,
        State::Paid => Step::Shipping,
        _ => Step::Payment,
    }
}

fn no_json(dice: &Dice, body: Value) -> String {
    match dice.below(3) {
        0 => dice.text(),
        1 => format!("<order><id>{}</id><note>{}</note></order>", dice.below(100_000), dice.text()),
        _ => format!("order={}&note={}", dice.below(100_000), body["tenant"].as_str().unwrap_or_default()),
    }
}

pub fn half(dice: &Dice, body: Value) -> String {
    let text = body.to_string();
    let cut = 20 + usize::try_from(dice.below(text.len() as u64 - 30)).unwrap();
    text[..cut].to_owned()
}

fn of_another_order(dice: &Dice, body: Value) -> Value {
    let other = json!(dice.order_id());
    with_value(with_value(body, "/data/order_id", other.clone()), "/subject", other)
}

pub fn without(mut body: Value, name: &str) -> String {
    body.as_object_mut().unwrap().remove(name).unwrap();
    body.to_string()
}

pub fn with(body: Value, pointer: &str, value: Value) -> String {
    with_value(body, pointer, value).to_string()
}

fn with_value(mut body: Value, pointer: &str, value: Value) -> Value {
    *body.pointer_mut(pointer).unwrap() = value;
    body
}

pub fn carrier_no(status: u16, code: &str, dice: &Dice) -> Reply {
    Reply::Json(status, json!({ "code": code, "message": dice.text() }))
}
