//! `transition` answers everything.

use order::{Next, Order, State, transition};
use proptest::prelude::*;

use crate::arbitrary;
use crate::world::judge_change;

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_outcome_of_any_row_has_an_answer(row in arbitrary::row(), outcome in arbitrary::outcome(), at_ms: u64) {
        let before = row.clone();
        match transition(&row, &outcome, at_ms) {
            Ok(Next::Changed(next)) => {
                judge_change(&row, &next, at_ms).map_err(TestCaseError::fail)?;
                prop_assert_eq!(transition(&row, &outcome, at_ms), Ok(Next::Changed(next)), "it is a function");
            }
            Ok(Next::Absorbed) => {}
            Err(bug) => {
                prop_assert_eq!((bug.order_id, bug.state, bug.version), (row.order_id, row.state, row.version));
                prop_assert!(bug.to_string().contains(row.state.name()));
            }
        }
        prop_assert_eq!(row, before);
    }

    #[test]
    fn a_parked_or_undone_row_owes_nothing(row in arbitrary::row()) {
        let ended = matches!(row.state, State::Rejected | State::Cancelled);
        if row.parked.is_some() || ended {
            prop_assert_eq!(row.next_command(), None);
        }
    }

    /// Any row, but most of them shipped.
    #[test]
    fn what_is_allowed_is_what_changes(row in arbitrary::row(), amount_minor in prop_oneof![0_u64..5_000, any::<u64>()]) {
        let row = if amount_minor % 8 != 0 { Order { state: State::Shipped, ..row } } else { row };
        let request = crate::fixtures::refund_requested(amount_minor, "a key that no row has");
        let next = transition(&row, &request, 0).unwrap();
        prop_assert_eq!(next != Next::Absorbed, row.refund_allowed(amount_minor).is_ok());
        if let Next::Changed(next) = next {
            let captured_minor = row.capture.map_or(0, |capture| capture.amount.amount_minor);
            prop_assert!(next.refunds_minor() <= captured_minor, "refunds never exceed the capture");
        }
    }
}

#[test]
fn times_and_versions_at_their_ends_do_not_panic() {
    let mut row: Order = crate::fixtures::story("valid authorized");
    row.version = u64::MAX;
    for at_ms in [0, u64::MAX] {
        for column in crate::fixtures::OUTCOMES {
            if let Ok(Next::Changed(next)) = transition(&row, &crate::fixtures::outcome(column), at_ms) {
                assert_eq!(next.version, u64::MAX);
            }
        }
    }
}
