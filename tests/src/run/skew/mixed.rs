//! Which program finished which record, from when each function got its program.

use orderflow::stack::Program;

use super::fleet::Change;
use crate::logs::RecordLine;

/// How many records each program finished while functions of both were deployed: (the one that ships, the next).
pub(super) fn finished_while_mixed(changes: &[Change], records: &[RecordLine]) -> (usize, usize) {
    let (mut shipped, mut next) = (0, 0);
    for record in records {
        let Some(at_ms) = record.finished_ms() else { continue };
        if !is_mixed(changes, at_ms) {
            continue;
        }
        match program_at(changes, &record.function, at_ms) {
            Some(Program::Shipped) => shipped += 1,
            Some(Program::Next) => next += 1,
            None => {}
        }
    }
    (shipped, next)
}

fn is_mixed(changes: &[Change], at_ms: u64) -> bool {
    let has = |program| changes.iter().any(|change| program_at(changes, &change.function, at_ms) == Some(program));
    has(Program::Shipped) && has(Program::Next)
}

/// The program that a function had. `None` where it was being changed, or never is.
fn program_at(changes: &[Change], function: &str, at_ms: u64) -> Option<Program> {
    let mut own = changes.iter().filter(|change| change.function == function).peekable();
    let first = own.peek()?;
    let mut has = Some(match first.program {
        Program::Shipped => Program::Next,
        Program::Next => Program::Shipped,
    });
    for change in own {
        if change.done_ms <= at_ms {
            has = Some(change.program);
        } else if change.began_ms <= at_ms {
            has = None;
        }
    }
    has
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(function: &str, at_s: u32) -> RecordLine {
        RecordLine {
            timestamp: format!("1970-01-01T00:00:{at_s:02}Z"),
            function: function.to_owned(),
            request_id: String::new(),
            message_id: String::new(),
            order_id: None,
            queue: String::new(),
            verdict: "done".to_owned(),
            latency_ms: 1,
            receive_count: 1,
            calls: std::collections::BTreeMap::new(),
        }
    }

    fn change(function: &str, program: Program, from_s: u64) -> Change {
        let function = function.to_owned();
        Change { function, program, began_ms: from_s * 1_000, done_ms: (from_s + 2) * 1_000 }
    }

    #[test]
    fn a_record_is_its_functions_program_of_then_and_counts_while_there_are_both() {
        let changes = [change("ship-order", Program::Next, 10), change("accept-order", Program::Next, 20)];
        for (function, at_s, expected) in [
            // Before the first change, and in it.
            ("ship-order", 9, (0, 0)),
            ("ship-order", 11, (0, 0)),
            ("accept-order", 11, (0, 0)),
            ("ship-order", 13, (0, 1)),
            ("accept-order", 13, (1, 0)),
            // While the last one changes there are no longer both for sure; then there is one.
            ("ship-order", 21, (0, 0)),
            ("accept-order", 30, (0, 0)),
            ("notify-customer", 13, (0, 0)),
        ] {
            assert_eq!(finished_while_mixed(&changes, &[record(function, at_s)]), expected, "{function} at {at_s}");
        }
        let back = [changes.as_slice(), &[change("ship-order", Program::Shipped, 30)]].concat();
        assert_eq!(finished_while_mixed(&back, &[record("ship-order", 25)]), (0, 0), "all had the next one");
        assert_eq!(finished_while_mixed(&back, &[record("ship-order", 40), record("accept-order", 40)]), (1, 1));
    }
}
