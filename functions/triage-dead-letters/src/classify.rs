//! What kind of trouble a dead letter is: a table over what is known of it. Pure.
//!
//! | who gave it up | what is known | class |
//! | --- | --- | --- |
//! | its consumer | poison, the message newer than this program | skew |
//! | its consumer | any other poison | poison |
//! | its consumer | too old to be tried again, or tried too often (`expired`, `exhausted`) | transient |
//! | its consumer | a broken invariant at the last receive (`bug`) | bug |
//! | its consumer | a code that this program does not know | skew |
//! | its consumer | cut off as the time was up, at the last receive (`cut_off`) | as where SQS gave it up |
//! | SQS (`moved`) | the message newer than this program, or its row written by one | skew |
//! | SQS | no message of ours, or of no order | poison |
//! | SQS | of a version that the row has not got to | bug |
//! | SQS | the row is parked, owes something else, or nobody could look | transient |
//! | SQS | a command that the row still owes: its consumer died with it every time, or it would have said why | bug |
//! | SQS | an event | transient |
//! | the topic (`undelivered`) | a subscription could not be served | transient |

use lambda_queue::dead_letter::DeadLetter;
use order::Command;
use ports::CaseClass;

use crate::message::Body;

/// What became of the order that a letter is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowState {
    /// Nobody looked, or the table did not answer.
    NotAsked,
    /// There is no such order.
    Gone,
    /// This program cannot read the row.
    Unreadable(String),
    /// It is there.
    Read {
        /// Its version.
        version: u64,
        /// What it owes.
        owes: Option<Command>,
        /// Whether it waits for an operator.
        parked: bool,
    },
}

/// All that is known of a dead letter.
#[derive(Clone, Debug)]
pub struct Known<'a> {
    /// The step of its dead-letter queue.
    pub step: &'a str,
    /// What its consumer wrote, if that gave it up.
    pub letter: Option<&'a DeadLetter>,
    /// What it says.
    pub body: &'a Body,
    /// What became of its order.
    pub row: RowState,
}

/// What is found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What kind of trouble.
    pub class: CaseClass,
    /// For programs: `poison`, `expired`, `exhausted`, `bug`, `cut_off`, `moved`, `undelivered`.
    pub code: String,
    /// For people. Holds no customer data.
    pub reason: String,
}

/// The step of the topic's own dead-letter queue.
pub(crate) const OF_THE_TOPIC: &str = "events";

/// Whether its consumer gave it up as its time was up: what it was at nobody knows, so its row is looked at.
pub(crate) fn is_cut_off(letter: &DeadLetter) -> bool {
    letter.code == "cut_off"
}

/// Finds what kind of trouble it is: the table above.
pub fn classify(known: &Known<'_>) -> Finding {
    let found = |class, code: &str, reason: String| Finding { class, code: code.to_owned(), reason };
    let newer = match known.body {
        Body::Newer { version, .. } => Some(format!("version_newer: the message is of version {version}")),
        Body::Command { .. } | Body::Other { .. } | Body::Unreadable { .. } => None,
    };
    let cut_off = known.letter.filter(|letter| is_cut_off(letter));
    if let (Some(letter), None) = (known.letter, cut_off) {
        let reason = letter.reason.clone();
        let says_newer = reason.starts_with("version_newer");
        let class = match letter.code.as_str() {
            "poison" if says_newer || newer.is_some() => CaseClass::Skew,
            "poison" => CaseClass::Poison,
            "expired" | "exhausted" => CaseClass::Transient,
            "bug" => CaseClass::Bug,
            _ => CaseClass::Skew,
        };
        return found(class, &letter.code, reason);
    }
    let code = match cut_off {
        Some(letter) => &letter.code,
        None if known.step == OF_THE_TOPIC => "undelivered",
        None => "moved",
    };
    // What it was cut off at is more than that it gave no reason.
    let said = |silent: &str| cut_off.map_or_else(|| silent.to_owned(), |letter| letter.reason.clone());
    if let Some(reason) = newer {
        return found(CaseClass::Skew, code, reason);
    }
    let (class, reason) = match (known.body, &known.row) {
        (Body::Unreadable { why }, _) => (CaseClass::Poison, why.clone()),
        (Body::Other { .. } | Body::Newer { .. }, _) if code == "undelivered" => {
            (CaseClass::Transient, "the topic could not deliver it to a subscription".to_owned())
        }
        (Body::Other { .. } | Body::Newer { .. }, _) => {
            (CaseClass::Transient, said("received too often, and its consumer gave no reason"))
        }
        (Body::Command { .. }, RowState::NotAsked) => {
            (CaseClass::Transient, "received too often, and the row could not be looked at".to_owned())
        }
        (Body::Command { .. }, RowState::Gone) => (CaseClass::Poison, "no such order".to_owned()),
        (Body::Command { .. }, RowState::Unreadable(_)) => (CaseClass::Skew, "its row cannot be read".to_owned()),
        (Body::Command { version, .. }, RowState::Read { version: row, .. }) if version > row => {
            (CaseClass::Bug, "of a version that its row has not got to".to_owned())
        }
        (Body::Command { .. }, RowState::Read { parked: true, .. }) => {
            (CaseClass::Transient, "received too often, and its order is parked by now".to_owned())
        }
        (Body::Command { command, version, .. }, RowState::Read { version: row, owes, .. })
            if version == row && *owes == Some(*command) =>
        {
            (CaseClass::Bug, said("received too often without an answer: its consumer died with it every time"))
        }
        (Body::Command { .. }, RowState::Read { .. }) => {
            (CaseClass::Transient, "received too often, and its order has moved on since".to_owned())
        }
    };
    found(class, code, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Body {
        let order_id = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293".parse().unwrap();
        Body::Command { command: Command::AuthorizePayment, order_id, version: 2, tenant: None }
    }

    fn row(version: u64, owes: Option<Command>, parked: bool) -> RowState {
        RowState::Read { version, owes, parked }
    }

    #[test]
    fn every_line_of_the_table() {
        let (newer, other) = (
            Body::Newer { version: 2, order_id: None, tenant: None },
            Body::Other { order_id: None, version: None, tenant: None },
        );
        let unreadable = Body::Unreadable { why: "not_json: not JSON".to_owned() };
        let says = |code: &str, reason: &str| DeadLetter {
            code: code.to_owned(),
            reason: reason.to_owned(),
            ..DeadLetter::default()
        };
        let due = Some(Command::AuthorizePayment);
        for (letter, body, row, class, code) in [
            (
                Some(says("poison", "version_newer: still newer")),
                command(),
                RowState::NotAsked,
                CaseClass::Skew,
                "poison",
            ),
            (Some(says("poison", "not an order event")), newer.clone(), RowState::NotAsked, CaseClass::Skew, "poison"),
            (Some(says("poison", "no such order")), command(), RowState::NotAsked, CaseClass::Poison, "poison"),
            (Some(says("expired", "503")), command(), RowState::NotAsked, CaseClass::Transient, "expired"),
            (Some(says("exhausted", "503")), command(), RowState::NotAsked, CaseClass::Transient, "exhausted"),
            (Some(says("bug", "panic: boom")), command(), RowState::NotAsked, CaseClass::Bug, "bug"),
            (Some(says("of-tomorrow", "?")), command(), RowState::NotAsked, CaseClass::Skew, "of-tomorrow"),
            (Some(says("cut_off", "the time ran out")), command(), row(2, due, false), CaseClass::Bug, "cut_off"),
            (Some(says("cut_off", "the time ran out")), command(), RowState::Gone, CaseClass::Poison, "cut_off"),
            (
                Some(says("cut_off", "the time ran out")),
                other.clone(),
                RowState::NotAsked,
                CaseClass::Transient,
                "cut_off",
            ),
            (None, newer, RowState::NotAsked, CaseClass::Skew, "moved"),
            (None, unreadable, RowState::NotAsked, CaseClass::Poison, "moved"),
            (None, other, RowState::NotAsked, CaseClass::Transient, "moved"),
            (None, command(), RowState::NotAsked, CaseClass::Transient, "moved"),
            (None, command(), RowState::Gone, CaseClass::Poison, "moved"),
            (None, command(), RowState::Unreadable(String::new()), CaseClass::Skew, "moved"),
            (None, command(), row(1, due, false), CaseClass::Bug, "moved"),
            (None, command(), row(2, due, false), CaseClass::Bug, "moved"),
            (None, command(), row(2, None, true), CaseClass::Transient, "moved"),
            (None, command(), row(3, Some(Command::ReserveStock), false), CaseClass::Transient, "moved"),
            (None, command(), row(2, Some(Command::ReserveStock), false), CaseClass::Transient, "moved"),
        ] {
            let known = Known { step: "payment", letter: letter.as_ref(), body: &body, row };
            let found = classify(&known);
            assert_eq!((found.class, found.code.as_str()), (class, code), "{known:?}");
            assert!(!found.reason.is_empty());
        }
    }

    #[test]
    fn what_the_topic_could_not_deliver_says_so() {
        let body = Body::Other { order_id: None, version: None, tenant: None };
        let found = classify(&Known { step: OF_THE_TOPIC, letter: None, body: &body, row: RowState::NotAsked });
        assert_eq!((found.class, found.code.as_str()), (CaseClass::Transient, "undelivered"));
    }
}
