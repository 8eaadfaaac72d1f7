//! Differences: none where the table was kept to, and each one that is planted.

use std::collections::BTreeMap;

use order::{Order, RefundStatus, State};
use ports::{CaseClass, CaseKind, PaymentStatus, PaymentView, RefundView};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use reconcile_payments::{Difference, Kind, Seen, differences};

use crate::story::{Story, moves, usd};

fn of(story: &Story) -> Vec<Difference> {
    story.payment.as_ref().map(|seen| differences(seen, Some(&story.row))).unwrap_or_default()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_order_whose_effects_all_went_by_the_table_never_makes_a_difference(moves in moves()) {
        let mut story = Story::new("one");
        for next in moves {
            story.act(next);
            prop_assert_eq!(of(&story), vec![], "{:?}", story);
        }
        story.drain();
        prop_assert_eq!(of(&story), vec![], "{:?}", story);
    }
}

/// A payment beside the order's own.
fn another(story: &Story, status: PaymentStatus) -> Seen {
    let amount = usd(500);
    let captured_minor = if status == PaymentStatus::Captured { 500 } else { 0 };
    Seen {
        order_id: story.row.order_id,
        payment_id: "pi_other".parse().unwrap(),
        view: PaymentView { status, amount, captured_minor, refunds: Vec::new() },
    }
}

/// What the provider would have to show for this kind of difference, where the story has what it takes.
fn plant(kind: Kind, story: &Story) -> Option<(Seen, Option<Order>)> {
    let row = Some(story.row.clone());
    let own = story.payment.clone();
    let captured = story.row.capture.is_some();
    let done = story.row.refunds.iter().find(|refund| refund.status == RefundStatus::Done);
    let done = done.and_then(|refund| refund.refund_id.clone());
    let with = |edit: &dyn Fn(&mut PaymentView)| {
        let mut seen = own.clone()?;
        edit(&mut seen.view);
        Some((seen, row.clone()))
    };
    let of_refund = |edit: &dyn Fn(&mut RefundView)| {
        let id = done.clone()?;
        with(&|view| view.refunds.iter_mut().filter(|refund| refund.refund_id == id).for_each(edit))
    };
    match kind {
        Kind::CapturedTwice => captured.then(|| (another(story, PaymentStatus::Captured), row)),
        Kind::CapturedForNoOrder => Some((another(story, PaymentStatus::Captured), None)),
        Kind::CaptureNotOnRow if captured => None,
        Kind::CaptureNotOnRow => match own {
            Some(mut seen) if story.row.payment.is_some() => {
                (seen.view.status, seen.view.captured_minor) = (PaymentStatus::Captured, seen.view.amount.amount_minor);
                Some((seen, row))
            }
            _ => Some((another(story, PaymentStatus::Captured), row)),
        },
        Kind::CaptureAmount => captured.then(|| with(&|view| view.captured_minor += 1))?,
        Kind::CaptureNotAtProvider => captured.then(|| {
            with(&|view| {
                (view.status, view.captured_minor) = (PaymentStatus::Held, 0);
                view.refunds.clear();
            })
        })?,
        Kind::RefundNotOnRow => captured.then(|| {
            with(&|view| {
                let by_hand =
                    RefundView { refund_id: "re_hand".to_owned(), ordinal: None, amount_minor: 7, failed: false };
                view.refunds.push(by_hand);
            })
        })?,
        Kind::RefundAmount => of_refund(&|refund| refund.amount_minor += 1),
        Kind::RefundFailed => of_refund(&|refund| refund.failed = true),
        Kind::RefundNotAtProvider => {
            let id = done.clone()?;
            with(&|view| view.refunds.retain(|refund| refund.refund_id != id))
        }
        Kind::OrphanedHold => {
            let over = matches!(story.row.state, State::Rejected | State::Cancelled) && !captured;
            if over && story.row.payment.is_some() {
                with(&|view| view.status = PaymentStatus::Held)
            } else {
                Some((another(story, PaymentStatus::Held), row))
            }
        }
    }
}

#[test]
fn each_planted_difference_is_found_and_is_the_only_one() {
    let mut runner = TestRunner::deterministic();
    let mut planted: BTreeMap<Kind, u32> = BTreeMap::new();
    for _ in 0..3_000 {
        let mut story = Story::new("one");
        moves().new_tree(&mut runner).unwrap().current().into_iter().for_each(|next| story.act(next));
        story.drain();
        for kind in Kind::ALL {
            let Some((seen, row)) = plant(kind, &story) else { continue };
            let found = differences(&seen, row.as_ref());
            let kinds: Vec<Kind> = found.iter().map(|difference| difference.kind).collect();
            assert_eq!(kinds, [kind], "{seen:?} {row:?}");
            *planted.entry(kind).or_default() += 1;
        }
    }
    for kind in Kind::ALL {
        assert!(planted.get(&kind).is_some_and(|count| *count >= 100), "{kind:?}: {planted:?}");
    }
}

#[test]
fn money_that_is_even_is_no_difference() {
    let story = Story::shipped("one");
    let back =
        |amount_minor| RefundView { refund_id: "re_hand".to_owned(), ordinal: None, amount_minor, failed: false };
    let mut twice = another(&story, PaymentStatus::Captured);
    twice.view.refunds = vec![back(499)];
    assert_eq!(differences(&twice, Some(&story.row))[0].kind, Kind::CapturedTwice);
    assert!(differences(&twice, Some(&story.row))[0].words.starts_with("0.01 USD"), "only what is left");
    twice.view.refunds = vec![back(500)];
    assert_eq!(differences(&twice, Some(&story.row)), []);
    assert_eq!(differences(&twice, None), []);
    twice.view.refunds[0].failed = true;
    assert_eq!(differences(&twice, Some(&story.row))[0].kind, Kind::CapturedTwice);
}

#[test]
fn a_capture_that_was_given_back_is_even_only_where_the_order_is_over() {
    let mut story = Story::shipped("one");
    let view = &mut story.payment.as_mut().unwrap().view;
    let amount_minor = view.captured_minor;
    view.refunds = vec![RefundView { refund_id: "re_hand".to_owned(), ordinal: None, amount_minor, failed: false }];
    let kinds = |state: State| {
        let row = Order { state, capture: None, ..story.row.clone() };
        let found = differences(story.payment.as_ref().unwrap(), Some(&row));
        found.into_iter().map(|difference| difference.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(State::Cancelled), []);
    // It would be taken for captured, and shipped for nothing.
    assert_eq!(kinds(State::Reserved), [Kind::CaptureNotOnRow]);
}

#[test]
fn the_hold_that_a_parked_authorization_may_have_made_is_not_orphaned() {
    let story = Story::shipped("one");
    let held = another(&story, PaymentStatus::Held);
    let parked =
        order::Parked { case_id: "c-1".parse().unwrap(), reason: "stuck".to_owned(), at_ms: 0, abandoned: false };
    let row = |parked| Order { state: State::Validated, payment: None, capture: None, parked, ..story.row.clone() };
    assert_eq!(differences(&held, Some(&row(Some(parked)))), []);
    assert_eq!(differences(&held, Some(&row(None)))[0].kind, Kind::OrphanedHold);
}

#[test]
fn the_same_difference_is_the_same_case_and_another_is_another() {
    let story = Story::refunded("one", 700);
    let mut ids = std::collections::BTreeSet::new();
    for kind in Kind::ALL {
        let Some((seen, row)) = plant(kind, &story) else { continue };
        let [difference] = &differences(&seen, row.as_ref())[..] else { panic!("{kind:?}") };
        let (case, again) = (difference.case(1).unwrap(), difference.case(2).unwrap());
        assert_eq!((&case.case_id, &case.digest), (&again.case_id, &again.digest));
        assert!(ids.insert(case.case_id.to_string()), "{kind:?}");
        assert_eq!((case.kind, case.class, case.step.as_str()), (CaseKind::Difference, CaseClass::Bug, "reconcile"));
        assert_eq!(case.order_id, story.row.order_id.to_string());
        assert!(case.fingerprint.starts_with(&format!("reconcile/{}/", kind.name())), "{}", case.fingerprint);
        assert_eq!(case.tenant.is_some(), row.is_some());
        // Nothing of the customer.
        let text = format!("{case:?}");
        assert!(
            !["Ada ", "ada.private", "Hidden", "pm_card", "Words of"].iter().any(|word| text.contains(word)),
            "{text}"
        );
    }
    assert_eq!(ids.len(), 9, "all but a capture that the row does not have");
}

#[test]
fn a_difference_of_another_amount_is_the_same_case_in_other_words() {
    let story = Story::shipped("one");
    let of = |amount_minor| {
        let mut seen = story.payment.clone().unwrap();
        seen.view.refunds =
            vec![RefundView { refund_id: "re_hand".to_owned(), ordinal: None, amount_minor, failed: false }];
        differences(&seen, Some(&story.row)).remove(0).case(1).unwrap()
    };
    let (one, other) = (of(7), of(8));
    assert_eq!((one.case_id, one.fingerprint), (other.case_id, other.fingerprint));
    assert_ne!(one.digest, other.digest);
}

#[test]
fn each_kind_has_a_name_of_its_own_a_line_of_advice_and_a_section_in_the_runbook() {
    let runbook = include_str!("../../../../docs/runbooks/reconciliation.md");
    let mut names = std::collections::BTreeSet::new();
    for kind in Kind::ALL {
        assert!(names.insert(kind.name()));
        assert!(!kind.advice().is_empty());
        assert!(runbook.contains(&format!("\n## {}\n", kind.name())), "{}", kind.name());
    }
}
