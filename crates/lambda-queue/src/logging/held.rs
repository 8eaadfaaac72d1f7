//! Debug lines of one invocation, held back until it is known whether anybody needs them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::Sink;

/// What is kept of each line beside its bytes.
const OVERHEAD: usize = 48;

/// When held lines are let out.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum LetOut {
    /// When a record fails, its own; when the invocation fails, all.
    #[default]
    Record,
    /// Only when the invocation fails.
    Invocation,
    /// Never: nothing is held back.
    Never,
}

#[derive(Debug)]
enum State {
    Holding,
    /// Lines go out at once: the invocation is sampled, or has failed.
    Open,
    /// The invocation has ended: lines of what it left behind go nowhere.
    Ended,
}

/// The buffer of one invocation. Bounded by lines and by bytes; the oldest gives way, and is counted.
#[derive(Debug)]
pub(super) struct Held {
    inner: Mutex<Inner>,
    max_lines: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Inner {
    state: State,
    /// The record's span, or 0, and the line.
    lines: VecDeque<(u64, Box<[u8]>)>,
    bytes: usize,
    dropped: u64,
}

/// What to do with a debug line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    Print,
    Hold,
    Drop,
}

impl Held {
    pub(super) fn new(open: bool, max_lines: usize, max_bytes: usize) -> Self {
        let state = if open { State::Open } else { State::Holding };
        let inner = Inner { state, lines: VecDeque::new(), bytes: 0, dropped: 0 };
        Self { inner: Mutex::new(inner), max_lines, max_bytes }
    }

    pub(super) fn fate(&self) -> Fate {
        match self.lock().state {
            State::Open => Fate::Print,
            State::Holding if self.max_lines > 0 && self.max_bytes > 0 => Fate::Hold,
            State::Holding | State::Ended => Fate::Drop,
        }
    }

    pub(super) fn push(&self, record: u64, line: &[u8]) {
        let mut inner = self.lock();
        if !matches!(inner.state, State::Holding) {
            return;
        }
        let cost = line.len() + OVERHEAD;
        while inner.lines.len() >= self.max_lines || inner.bytes + cost > self.max_bytes {
            let Some((_, oldest)) = inner.lines.pop_front() else { break };
            inner.bytes = inner.bytes.saturating_sub(oldest.len() + OVERHEAD);
            inner.dropped += 1;
        }
        if cost > self.max_bytes {
            inner.dropped += 1;
        } else {
            inner.bytes += cost;
            inner.lines.push_back((record, line.into()));
        }
    }

    /// Lets out the lines of one record, and says how many are gone of the whole invocation.
    pub(super) fn let_out_record(&self, record: u64, sink: &Arc<dyn Sink>) -> u64 {
        let mut inner = self.lock();
        let (out, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut inner.lines).into_iter().partition(|(of, _)| *of == record);
        inner.bytes = kept.iter().map(|(_, line)| line.len() + OVERHEAD).sum();
        inner.lines = kept;
        for (_, line) in out {
            sink.line(&line);
        }
        std::mem::take(&mut inner.dropped)
    }

    /// Lets everything out, and lines that follow go out at once. Answers how many are gone.
    pub(super) fn let_out(&self, sink: &Arc<dyn Sink>) -> u64 {
        let mut inner = self.lock();
        if matches!(inner.state, State::Holding) {
            inner.state = State::Open;
        }
        inner.bytes = 0;
        for (_, line) in std::mem::take(&mut inner.lines) {
            sink.line(&line);
        }
        std::mem::take(&mut inner.dropped)
    }

    /// Frees the buffer.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.state = State::Ended;
        inner.lines = VecDeque::new();
        inner.bytes = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_freed_at_the_end_and_takes_nothing_afterwards() {
        let held = Held::new(false, 10, 1_000);
        assert_eq!(held.fate(), Fate::Hold);
        held.push(0, b"line");
        assert_eq!(held.lock().lines.len(), 1);
        held.end();
        held.push(0, b"line");
        // One guard at a time: two in one statement would wait for each other.
        let capacity = held.lock().lines.capacity();
        let bytes = held.lock().bytes;
        assert_eq!((capacity, bytes, held.fate()), (0, 0, Fate::Drop));
    }
}
