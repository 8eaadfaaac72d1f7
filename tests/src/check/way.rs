//! The table of DESIGN.md, written down a second time: what may follow what in an order's story. It shares nothing with
//! the domain's own table but the names.

use order::{EventKind, State};

/// An order's way, replayed from its timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Way {
    /// Where the order stands.
    pub state: State,
    /// Whether a cancel is asked for and not yet refused.
    pub cancel_requested: bool,
    /// Whether it waits for an operator.
    pub parked: bool,
    /// Whether an operator has given it up: told as a parking of what is parked.
    pub given_up: bool,
    /// Whether the money was captured on the way, as far as the events tell.
    pub paid: bool,
    /// Refunds asked for, less refunds done.
    pub refunds_open: u32,
}

/// The state that an event leads to, where it leads to one.
fn state_of(event: EventKind) -> Option<State> {
    match event {
        EventKind::Accepted => Some(State::Accepted),
        EventKind::Validated => Some(State::Validated),
        EventKind::Authorized => Some(State::Authorized),
        EventKind::Reserved => Some(State::Reserved),
        EventKind::Paid => Some(State::Paid),
        EventKind::Shipped | EventKind::CancelRefused => Some(State::Shipped),
        EventKind::Releasing => Some(State::Releasing),
        EventKind::Voiding => Some(State::Voiding),
        EventKind::Refunding => Some(State::Refunding),
        EventKind::Rejected => Some(State::Rejected),
        EventKind::Cancelled => Some(State::Cancelled),
        EventKind::CancelRequested
        | EventKind::RefundRequested
        | EventKind::Refunded
        | EventKind::Parked
        | EventKind::Resumed => None,
    }
}

/// Whether the table has this step. `cancel` says that a cancel was asked for.
fn leads(from: State, to: State, cancel: bool) -> bool {
    match (from, to) {
        (State::Accepted, State::Validated | State::Rejected)
        | (State::Validated, State::Authorized | State::Rejected)
        | (State::Authorized, State::Reserved | State::Voiding)
        | (State::Reserved, State::Paid | State::Releasing)
        | (State::Paid, State::Shipped | State::Releasing)
        | (State::Releasing, State::Refunding | State::Voiding)
        | (State::Voiding, State::Rejected | State::Cancelled)
        | (State::Refunding, State::Cancelled) => true,
        (State::Accepted, State::Cancelled) | (State::Validated, State::Voiding | State::Cancelled) => cancel,
        (
            State::Accepted
            | State::Validated
            | State::Authorized
            | State::Reserved
            | State::Paid
            | State::Shipped
            | State::Releasing
            | State::Voiding
            | State::Refunding
            | State::Rejected
            | State::Cancelled,
            _,
        ) => false,
    }
}

impl Way {
    /// A new order's.
    pub fn begin() -> Self {
        Self {
            state: State::Accepted,
            cancel_requested: false,
            parked: false,
            given_up: false,
            paid: false,
            refunds_open: 0,
        }
    }

    /// Takes the next event, or says why it cannot follow.
    ///
    /// # Errors
    /// When the table has no such step.
    pub fn follow(&mut self, event: EventKind) -> Result<(), String> {
        let refuse = |way: &Self| Err(format!("{event} after {}", way.state));
        match (event, state_of(event)) {
            (EventKind::CancelRefused, Some(_)) => {
                if self.state != State::Paid || !self.cancel_requested {
                    return refuse(self);
                }
                (self.state, self.cancel_requested) = (State::Shipped, false);
            }
            (_, Some(to)) => {
                if !leads(self.state, to, self.cancel_requested) {
                    return refuse(self);
                }
                if to == State::Shipped && self.cancel_requested {
                    return Err("shipped although a cancel was asked for, and not told so".to_owned());
                }
                self.paid |= to == State::Paid;
                // A capture that met a cancel leads to Releasing without the state Paid, so only this side is certain.
                if to == State::Voiding && self.paid {
                    return Err("the hold is voided after it was captured".to_owned());
                }
                self.state = to;
                // What was under way when it was parked is a fact all the same, and may end it.
                self.parked &= !matches!(to, State::Rejected | State::Cancelled);
                self.given_up &= self.parked;
            }
            (EventKind::CancelRequested, None) => {
                let open = matches!(
                    self.state,
                    State::Accepted | State::Validated | State::Authorized | State::Reserved | State::Paid
                );
                if !open || self.cancel_requested {
                    return refuse(self);
                }
                self.cancel_requested = true;
            }
            (EventKind::RefundRequested, None) if self.state == State::Shipped && !self.given_up => {
                self.refunds_open += 1;
            }
            (EventKind::Refunded, None) if self.state == State::Shipped && self.refunds_open > 0 => {
                self.refunds_open -= 1;
            }
            (EventKind::Parked, None) if self.parked => {
                let undoing =
                    matches!(self.state, State::Shipped | State::Releasing | State::Voiding | State::Refunding);
                if !undoing || self.given_up {
                    return refuse(self);
                }
                self.given_up = true;
            }
            (EventKind::Parked, None) => {
                let owes = match self.state {
                    State::Rejected | State::Cancelled => false,
                    State::Shipped => self.refunds_open > 0,
                    State::Accepted
                    | State::Validated
                    | State::Authorized
                    | State::Reserved
                    | State::Paid
                    | State::Releasing
                    | State::Voiding
                    | State::Refunding => true,
                };
                if !owes {
                    return refuse(self);
                }
                self.parked = true;
            }
            (EventKind::Resumed, None) if self.parked => (self.parked, self.given_up) = (false, false),
            (_, None) => return refuse(self),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use EventKind::{
        Authorized, CancelRefused, CancelRequested, Cancelled, Paid, Parked, RefundRequested, Refunded, Refunding,
        Rejected, Releasing, Reserved, Resumed, Shipped, Validated, Voiding,
    };

    fn walk(events: &[EventKind]) -> Result<Way, String> {
        let mut way = Way::begin();
        events.iter().try_for_each(|event| way.follow(*event))?;
        Ok(way)
    }

    #[test]
    fn the_ways_of_the_design_are_legal() {
        for events in [
            &[Validated, Authorized, Reserved, Paid, Shipped, RefundRequested, Refunded][..],
            &[Rejected],
            &[Validated, Rejected],
            &[Validated, Authorized, Voiding, Rejected],
            &[Validated, Authorized, Reserved, Releasing, Voiding, Rejected],
            &[Validated, Authorized, Reserved, Paid, Releasing, Refunding, Cancelled],
            &[CancelRequested, Cancelled],
            &[Validated, CancelRequested, Voiding, Cancelled],
            &[Validated, Authorized, Reserved, CancelRequested, Releasing, Refunding, Cancelled],
            &[Validated, Authorized, Reserved, Paid, CancelRequested, CancelRefused, RefundRequested, Parked, Resumed],
            &[Validated, Parked, CancelRequested, Resumed, Cancelled],
            &[Validated, Parked, Authorized, Resumed, Voiding, Parked, Rejected],
            &[Validated, Authorized, Voiding, Parked, Parked, Resumed, Parked, Parked, Rejected],
            &[
                Validated,
                Authorized,
                Reserved,
                Paid,
                Shipped,
                RefundRequested,
                Parked,
                Parked,
                Resumed,
                RefundRequested,
            ],
        ] {
            walk(events).unwrap();
        }
    }

    #[test]
    fn what_the_design_does_not_have_is_refused() {
        for events in [
            &[Authorized][..],
            &[Validated, Reserved],
            &[Validated, Cancelled],
            &[Validated, Authorized, Reserved, Shipped],
            &[Validated, Authorized, Reserved, Paid, Releasing, Voiding],
            &[Validated, Authorized, Reserved, Paid, Shipped, Releasing],
            &[Validated, Authorized, Reserved, Paid, CancelRequested, Shipped],
            &[Validated, Authorized, Reserved, Paid, CancelRefused],
            &[Rejected, Validated],
            &[Rejected, Parked],
            &[CancelRequested, CancelRequested],
            &[RefundRequested],
            &[Validated, Authorized, Reserved, Paid, Shipped, Refunded],
            &[Validated, Authorized, Reserved, Paid, Shipped, CancelRequested],
            &[Resumed],
            &[Parked, Parked],
            &[Validated, Authorized, Voiding, Parked, Parked, Parked],
            &[Validated, Authorized, Reserved, Paid, Shipped, RefundRequested, Parked, Parked, RefundRequested],
        ] {
            assert!(walk(events).is_err(), "{events:?}");
        }
    }
}
