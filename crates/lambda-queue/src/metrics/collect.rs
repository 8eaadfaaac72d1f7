//! The metrics of one invocation, from wherever in it.

use std::borrow::Cow;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::time::Instant;

use super::{Document, IntoUnit, Name, Number, Sink};
use crate::Clock;

tokio::task_local! {
    static CURRENT: Recorder;
}

/// Adds to an invocation's metrics. Clones add to the same; handlers that run side by side may share one.
///
/// Nothing is refused for being too much: what is more than a [`Document`] collects goes out while the invocation runs, with
/// the dimensions and properties that there are by then.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    sink: Sink,
    /// When it began, by the invocation's clock, UTC milliseconds. A recorder may outlive what it borrowed the clock from, so
    /// it counts on from there.
    began_ms: u64,
    began: Instant,
}

#[derive(Debug)]
struct State {
    document: Document,
    closed: bool,
}

impl State {
    /// What was recorded so far. Dimensions and properties stay for what follows.
    fn take(&mut self) -> Document {
        let metrics = std::mem::take(&mut self.document.metrics);
        let refusals = std::mem::take(&mut self.document.refusals);
        let more_refusals = std::mem::take(&mut self.document.more_refusals);
        self.document.values = 0;
        Document { metrics, refusals, more_refusals, ..self.document.clone() }
    }
}

impl Recorder {
    /// A metric, or one more value of it.
    pub fn metric(&self, name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) {
        self.measure(name.into(), unit, value.into(), false);
    }

    /// A metric that CloudWatch keeps by the second, or one more value of it.
    pub fn high_resolution(&self, name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) {
        self.measure(name.into(), unit, value.into(), true);
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

    fn measure(&self, name: Name, unit: impl IntoUnit, value: Number, high_resolution: bool) {
        let mut full = None;
        self.with(|state| {
            if !state.document.has_room_for(&name) {
                full = Some(state.take());
            }
            state.document.add(name, unit.unit(), value, high_resolution);
        });
        // Written while the others go on.
        if let Some(mut document) = full {
            let elapsed_ms = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.0.sink.flush(&mut document, self.0.began_ms.saturating_add(elapsed_ms));
        }
    }

    fn open(&self, add: impl FnOnce(&mut Document)) {
        self.with(|state| add(&mut state.document));
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if state.closed {
            tracing::error!("metrics: something was recorded after its invocation had ended; it is lost");
        } else {
            change(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metrics of one invocation: one value for each, so that invocations which run side by side never mix. Whatever was
/// recorded goes out when it is dropped: the handler answered, failed or panicked.
#[derive(Debug)]
pub struct Metrics<'c, C: Clock> {
    recorder: Recorder,
    clock: &'c C,
}

impl<'c, C: Clock> Metrics<'c, C> {
    /// Collects into this document, mostly `Document::new("...")` with its dimensions, and writes it to stdout.
    pub fn begin(clock: &'c C, document: Document) -> Self {
        Self::begin_to(clock, document, Sink::stdout())
    }

    /// The same with another sink.
    pub fn begin_to(clock: &'c C, document: Document, sink: Sink) -> Self {
        let state = Mutex::new(State { document, closed: false });
        let shared = Shared { state, sink, began_ms: clock.now_ms(), began: Instant::now() };
        Self { recorder: Recorder(Arc::new(shared)), clock }
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
            state.take()
        };
        self.recorder.0.sink.flush(&mut document, self.clock.now_ms());
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
