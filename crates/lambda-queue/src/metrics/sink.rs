//! Where documents are written to.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::Document;
use crate::stdout;

/// Where documents go: stdout, which Lambda hands to CloudWatch Logs, or any writer. Clones are the same sink.
#[derive(Clone)]
pub struct Sink(Arc<Inner>);

struct Inner {
    /// `None` is stdout.
    writer: Option<Mutex<Box<dyn Write + Send>>>,
    /// Lines that could not be written, not yet told.
    lost: AtomicU64,
}

impl Sink {
    /// The process's stdout.
    pub fn stdout() -> Self {
        static STDOUT: OnceLock<Sink> = OnceLock::new();
        STDOUT.get_or_init(|| Self(Arc::new(Inner { writer: None, lost: AtomicU64::new(0) }))).clone()
    }

    /// Any writer. Every line is one `write_all`, under a lock.
    pub fn to(writer: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Inner { writer: Some(Mutex::new(Box::new(writer))), lost: AtomicU64::new(0) }))
    }

    /// Lines that could not be written and that no later line has told of yet.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    pub(super) fn flush(&self, document: &mut Document, now_ms: u64) {
        let before = self.0.lost.swap(0, Ordering::Relaxed);
        let lines = document.render(now_ms, before);
        document.tell_refusals();
        let (mut failed, mut told, mut why) = (0, false, None);
        for line in &lines {
            match self.write(line) {
                // Every line tells.
                Ok(()) => told = true,
                Err(error) => {
                    failed += 1;
                    why = Some(error);
                }
            }
        }
        if let Some(error) = why {
            self.0.lost.fetch_add(failed + if told { 0 } else { before }, Ordering::Relaxed);
            tracing::error!(%error, lines = failed, "metrics: lines could not be written");
        }
    }

    /// Runs `work`, whose documents and log lines for stdout go out in one write. Those that could not be written are told by
    /// the next line that can.
    pub(crate) fn together<T>(work: impl FnOnce() -> T) -> T {
        let lost = |lost: stdout::Lost| {
            Self::stdout().0.lost.fetch_add(lost.lines, Ordering::Relaxed);
            tracing::error!(error = %lost.why, lines = lost.lines, "metrics: lines could not be written");
        };
        stdout::together(lost, work)
    }

    fn write(&self, line: &[u8]) -> std::io::Result<()> {
        match &self.0.writer {
            None => stdout::line(line),
            Some(writer) => writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(line),
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = if self.0.writer.is_some() { "writer" } else { "stdout" };
        f.debug_struct("Sink").field("to", &to).field("lost", &self.lost()).finish()
    }
}
