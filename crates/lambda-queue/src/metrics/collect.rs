//! The metrics of one invocation, from wherever in it.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, PoisonError};

// In this crate's own unit tests the lock is shuttle's, which works only inside `shuttle::check_*`; every other test of what
// collects is an integration test.
#[cfg(test)]
use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use super::{Document, IntoUnit, Number, Sink};
use crate::Clock;

tokio::task_local! {
    static CURRENT: Recorder;
}

/// Adds to an invocation's metrics. Clones add to the same; handlers that run side by side may share one.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    document: Document,
    closed: bool,
}

impl Recorder {
    /// A metric, or one more value of it.
    pub fn metric(&self, name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) {
        self.open(|document| document.add(name.into(), unit.unit(), value.into(), false));
    }

    /// A metric that CloudWatch keeps by the second, or one more value of it.
    pub fn high_resolution(&self, name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) {
        self.open(|document| document.add(name.into(), unit.unit(), value.into(), true));
    }

    /// A dimension of the first set, of all that the invocation records.
    pub fn dimension(&self, name: impl Into<Cow<'static, str>>, value: &str) {
        self.open(|document| document.add_dimension(name, value));
    }

    /// A further set of dimensions.
    pub fn dimension_set(&self, set: &[(&'static str, &str)]) {
        self.open(|document| document.add_dimension_set(set));
    }

    /// A property: logged, not a metric. The last value of a name stands.
    pub fn property(&self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        self.open(|document| document.add_property(name.into(), value.into()));
    }

    fn open(&self, add: impl FnOnce(&mut Document)) {
        let mut state = self.state();
        if state.closed {
            tracing::error!("metrics: something was recorded after its invocation had ended; it is lost");
        } else {
            add(&mut state.document);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics of one invocation: one value for each, so that invocations which run side by side never mix. Whatever was
/// recorded goes out when it is dropped: the handler answered, failed or panicked.
#[derive(Debug)]
pub struct Metrics<'c, C: Clock> {
    recorder: Recorder,
    clock: &'c C,
    sink: Sink,
}

impl<'c, C: Clock> Metrics<'c, C> {
    /// Collects into this document, mostly `Document::new("...")` with its dimensions, and writes it to stdout.
    pub fn begin(clock: &'c C, document: Document) -> Self {
        Self::begin_to(clock, document, Sink::stdout())
    }

    /// The same with another sink.
    pub fn begin_to(clock: &'c C, document: Document, sink: Sink) -> Self {
        Self { recorder: Recorder(Arc::new(Mutex::new(State { document, closed: false }))), clock, sink }
    }

    /// What adds to them, to be handed down.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Runs `work` with [`record`] adding to these. An outer invocation's are not touched.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self.recorder(), work).await
    }

    /// Writes what was recorded so far. Dimensions and properties stay for what follows.
    pub fn flush(&self) {
        self.write(false);
    }

    fn write(&self, close: bool) {
        let mut document = {
            let mut state = self.recorder.state();
            state.closed |= close;
            if state.document.is_empty() {
                return;
            }
            let whole = state.document.clone();
            state.document.metrics.clear();
            state.document.values = 0;
            state.document.refusals.clear();
            state.document.more_refusals = 0;
            whole
        };
        self.sink.flush(&mut document, self.clock.now_ms());
    }
}

impl<C: Clock> Drop for Metrics<'_, C> {
    fn drop(&mut self) {
        self.write(true);
    }
}

/// Adds to the metrics of the invocation that this task runs under ([`Metrics::around`]). Outside of one it does nothing:
/// start-up, a tool, a test. A task that was spawned is outside: hand it a [`Recorder`].
pub fn record(name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) {
    CURRENT.try_with(|recorder| recorder.metric(name, unit, value)).ok();
}

#[cfg(test)]
#[path = "collect_shuttle.rs"]
mod under_shuttle;
