//! CloudWatch metrics in the embedded metric format: one JSON document a line on stdout.
//!
//! [`Document`] is one document: build it, emit it. [`Metrics`] collects over an invocation and flushes when it ends,
//! fails or panics. CloudWatch drops a document that breaks a rule without a word; so what would break one is refused
//! when it is added, logged once, and the rest goes out. What is too much for one document goes out in several.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

mod collect;
mod names;
mod render;
mod settings;
mod sink;

pub use collect::{Metrics, Recorder, record};
pub use names::{IntoUnit, Number, Part, Refusal, Unit, Why};
pub use settings::{DEFAULT_NAMESPACE, Settings, SettingsError, init};
pub use sink::Sink;

use names::{LONGEST_DIMENSION_NAME, LONGEST_DIMENSION_VALUE, LONGEST_NAME, is_name, is_plain};

/// Most metrics that a document collects: over 100 go out in several. What a [`Recorder`] has beyond goes out before.
const MOST_METRICS: usize = 1_000;
/// Most values of all metrics together: over 100 of one go out in several documents.
const MOST_VALUES: usize = 10_000;
/// Most dimensions of a set, the process's default ones among them.
const MOST_DIMENSIONS: usize = 30;
/// Most sets.
const MOST_SETS: usize = 10;
/// Most properties.
const MOST_PROPERTIES: usize = 100;
/// Most bytes of names and values of dimensions and of their sets, as JSON may write them.
const MOST_DIMENSION_BYTES: usize = 96 * 1024;
/// Longest property as JSON, bytes.
const LONGEST_PROPERTY: usize = 800_000;
/// Refusals that are kept and logged; the others are counted.
const MOST_REFUSALS: usize = 16;
/// How old a metric may be, and how far ahead, milliseconds.
const OLDEST_MS: u64 = 14 * 24 * 3_600_000;
const AHEAD_MS: u64 = 2 * 3_600_000;

/// A name: mostly a constant.
type Name = Cow<'static, str>;

/// Names of members that a document has by itself.
fn is_reserved(name: &str) -> bool {
    matches!(name, "_aws" | "level" | "message" | "timestamp" | render::LOST)
}

#[derive(Clone, Debug)]
struct Metric {
    name: Name,
    unit: Unit,
    high_resolution: bool,
    first: Number,
    /// After the first: mostly none.
    more: Vec<Number>,
}

/// One document: metrics under one or several sets of dimensions, and properties that are only logged. Whatever the
/// service would not take is refused and logged when the document is emitted ([`Document::refusals`]).
#[derive(Clone, Debug)]
pub struct Document {
    settings: Arc<Settings>,
    message: Name,
    /// Beside the default ones.
    dimensions: Vec<(Name, String)>,
    /// Of these, the first so many make the first set.
    plain: usize,
    /// Further sets: places in `dimensions`.
    sets: Vec<Vec<usize>>,
    dimension_bytes: usize,
    metrics: Vec<Metric>,
    values: usize,
    /// Names with their values as JSON.
    properties: Vec<(Name, String)>,
    at_ms: Option<u64>,
    refusals: Vec<Refusal>,
    more_refusals: u64,
}

impl Document {
    /// An empty document whose `message` is this, under the process's settings.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with(settings::process(), message)
    }

    /// An empty document under these settings.
    pub fn with(settings: Arc<Settings>, message: impl Into<Cow<'static, str>>) -> Self {
        let defaults = &settings.defaults;
        let dimension_bytes = defaults.iter().map(|(name, value)| cost(name, value)).sum();
        Self {
            message: message.into(),
            dimensions: Vec::new(),
            plain: 0,
            sets: Vec::new(),
            dimension_bytes,
            metrics: Vec::new(),
            values: 0,
            properties: Vec::new(),
            at_ms: None,
            refusals: Vec::new(),
            more_refusals: 0,
            settings,
        }
    }

    /// A document of one metric: under dimensions that are only its own.
    pub fn single(name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) -> Self {
        Self::new("metric").metric(name, unit, value)
    }

    /// The document of a process's first invocation: `cold_start`, once, by function.
    pub fn cold_start(function: &str) -> Self {
        Self::new("cold start").dimension("function", function).metric("cold_start", Unit::Count, 1_u32)
    }

    /// A dimension of the first set: few values, never an order, customer or tenant. An empty value is left out, as the
    /// service takes none.
    #[must_use]
    pub fn dimension(mut self, name: impl Into<Cow<'static, str>>, value: &str) -> Self {
        self.add_dimension(name, value);
        self
    }

    /// A further set: every metric is published under each set, which costs a metric each. The default dimensions are in
    /// it too. A dimension that is in several sets has one value.
    #[must_use]
    pub fn dimension_set(mut self, set: &[(&'static str, &str)]) -> Self {
        self.add_dimension_set(set);
        self
    }

    /// A metric, or one more value of it. Units are CloudWatch's: [`Unit`], or their text.
    #[must_use]
    pub fn metric(mut self, name: impl Into<Cow<'static, str>>, unit: impl IntoUnit, value: impl Into<Number>) -> Self {
        self.add(name.into(), unit.unit(), value.into(), false);
        self
    }

    /// A metric that CloudWatch keeps by the second (`StorageResolution` 1).
    #[must_use]
    pub fn high_resolution(
        mut self,
        name: impl Into<Cow<'static, str>>,
        unit: impl IntoUnit,
        value: impl Into<Number>,
    ) -> Self {
        self.add(name.into(), unit.unit(), value.into(), true);
        self
    }

    /// A property: logged, searchable, not a metric. The last value of a name stands. One of over 32 KiB goes out in a
    /// line of its own.
    #[must_use]
    pub fn property(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.add_property(name.into(), value.into());
        self
    }

    /// The metrics are of then, UTC milliseconds, not of when they are emitted.
    #[must_use]
    pub fn at(mut self, at_ms: u64) -> Self {
        self.at_ms = Some(at_ms);
        self
    }

    /// What was refused so far; of very many the first.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Whether there is neither a metric nor a refusal to tell.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty() && self.refusals.is_empty()
    }

    fn add_dimension(&mut self, name: impl Into<Name>, value: &str) {
        let name = name.into();
        if value.is_empty() {
            return;
        }
        match self.place_of(&name, value) {
            Ok(Some(place)) if place < self.plain => {}
            Ok(_) if self.settings.defaults.len() + self.plain >= MOST_DIMENSIONS => {
                self.refuse(Part::Dimension, &name, Why::TooMany);
            }
            // It stands in another set: the plain ones are kept in front.
            Ok(Some(place)) => {
                let plain = self.plain;
                self.dimensions.swap(place, plain);
                for at in self.sets.iter_mut().flatten() {
                    *at = if *at == place {
                        plain
                    } else if *at == plain {
                        place
                    } else {
                        *at
                    };
                }
                self.plain += 1;
            }
            Ok(None) => {
                self.dimension_bytes += cost(&name, value);
                let plain = self.plain;
                self.dimensions.push((name, value.to_owned()));
                let last = self.dimensions.len() - 1;
                self.dimensions.swap(last, plain);
                for at in self.sets.iter_mut().flatten().filter(|at| **at == plain) {
                    *at = last;
                }
                self.plain += 1;
            }
            Err(why) => self.refuse(Part::Dimension, &name, why),
        }
    }

    fn add_dimension_set(&mut self, set: &[(&'static str, &str)]) {
        if self.sets.len() + 1 >= MOST_SETS {
            self.refuse(Part::Dimension, set.first().map_or("", |(name, _)| name), Why::TooMany);
            return;
        }
        let mut places: Vec<usize> = Vec::with_capacity(set.len());
        for (name, value) in set.iter().filter(|(_, value)| !value.is_empty()) {
            match self.place_of(name, value) {
                Ok(_) if self.settings.defaults.len() + places.len() >= MOST_DIMENSIONS => {
                    self.refuse(Part::Dimension, name, Why::TooMany);
                }
                Ok(Some(place)) => {
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
                Ok(None) => {
                    self.dimension_bytes += cost(name, value);
                    self.dimensions.push((Cow::Borrowed(name), (*value).to_owned()));
                    places.push(self.dimensions.len() - 1);
                }
                Err(why) => self.refuse(Part::Dimension, name, why),
            }
        }
        self.sets.push(places);
    }

    /// Where the dimension stands already, if it does; or why it cannot be one.
    fn place_of(&self, name: &str, value: &str) -> Result<Option<usize>, Why> {
        if !is_name(name, LONGEST_DIMENSION_NAME) {
            return Err(Why::Name);
        }
        if is_reserved(name) {
            return Err(Why::Reserved);
        }
        if self.settings.denies(name) {
            return Err(Why::Denied);
        }
        if !is_plain(value, LONGEST_DIMENSION_VALUE) {
            return Err(Why::Value);
        }
        if let Some(place) = self.dimensions.iter().position(|(there, _)| there == name) {
            let same = self.dimensions.get(place).is_some_and(|(_, there)| there == value);
            return if same { Ok(Some(place)) } else { Err(Why::Collision) };
        }
        if self.is_default(name) || self.is_metric(name) || self.is_property(name) {
            return Err(Why::Collision);
        }
        if self.dimension_bytes + cost(name, value) > MOST_DIMENSION_BYTES {
            return Err(Why::TooMany);
        }
        Ok(None)
    }

    /// Whether one more value of this name would not be too much.
    fn has_room_for(&self, name: &str) -> bool {
        self.values < MOST_VALUES && (self.metrics.len() < MOST_METRICS || self.is_metric(name))
    }

    fn add(&mut self, name: Name, unit: Option<Unit>, value: Number, high_resolution: bool) {
        if let Err(why) = self.try_add(&name, unit, value, high_resolution) {
            self.refuse(Part::Metric, &name, why);
        }
    }

    fn try_add(&mut self, name: &Name, unit: Option<Unit>, value: Number, high_resolution: bool) -> Result<(), Why> {
        let unit = unit.ok_or(Why::Unit)?;
        if !value.is_taken() {
            return Err(Why::Number);
        }
        if self.values >= MOST_VALUES {
            return Err(Why::TooMany);
        }
        if let Some(metric) = self.metrics.iter_mut().find(|metric| metric.name == *name) {
            if metric.unit != unit || metric.high_resolution != high_resolution {
                return Err(Why::Differs);
            }
            metric.more.push(value);
            self.values += 1;
            return Ok(());
        }
        if !is_name(name, LONGEST_NAME) {
            return Err(Why::Name);
        }
        if is_reserved(name) {
            return Err(Why::Reserved);
        }
        if self.is_default(name) || self.is_dimension(name) || self.is_property(name) {
            return Err(Why::Collision);
        }
        if self.metrics.len() >= MOST_METRICS {
            return Err(Why::TooMany);
        }
        self.metrics.push(Metric { name: name.clone(), unit, high_resolution, first: value, more: Vec::new() });
        self.values += 1;
        Ok(())
    }

    fn add_property(&mut self, name: Name, value: Value) {
        if let Err(why) = self.try_add_property(&name, &value) {
            self.refuse(Part::Property, &name, why);
        }
    }

    fn try_add_property(&mut self, name: &Name, value: &Value) -> Result<(), Why> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(Why::Name);
        }
        if is_reserved(name) {
            return Err(Why::Reserved);
        }
        if self.is_default(name) || self.is_dimension(name) || self.is_metric(name) {
            return Err(Why::Collision);
        }
        let value = value.to_string();
        if value.len() > LONGEST_PROPERTY {
            return Err(Why::TooMany);
        }
        if let Some((_, there)) = self.properties.iter_mut().find(|(there, _)| there == name) {
            *there = value;
        } else if self.properties.len() >= MOST_PROPERTIES {
            return Err(Why::TooMany);
        } else {
            self.properties.push((name.clone(), value));
        }
        Ok(())
    }

    fn is_default(&self, name: &str) -> bool {
        self.settings.defaults.iter().any(|(there, _)| there == name)
    }

    fn is_dimension(&self, name: &str) -> bool {
        self.dimensions.iter().any(|(there, _)| there == name)
    }

    fn is_metric(&self, name: &str) -> bool {
        self.metrics.iter().any(|metric| metric.name == name)
    }

    fn is_property(&self, name: &str) -> bool {
        self.properties.iter().any(|(there, _)| there == name)
    }

    fn refuse(&mut self, part: Part, name: &str, why: Why) {
        if self.refusals.len() < MOST_REFUSALS {
            let name = name.chars().filter(|c| !c.is_control()).take(64).collect();
            self.refusals.push(Refusal { part, name, why });
        } else {
            self.more_refusals += 1;
        }
    }

    /// The document's lines, without line ends, stamped with a time in UTC milliseconds. More than one where it does not
    /// fit one. Each is JSON of under 256 KiB, or of under 1 MB without metrics.
    pub fn lines(mut self, now_ms: u64) -> Vec<String> {
        let lines = self.render(now_ms, 0).into_iter();
        lines.map(|line| String::from_utf8_lossy(line.trim_ascii_end()).into_owned()).collect()
    }

    /// Writes the document to stdout, at this time in UTC milliseconds. Lines that could not be written are told by the
    /// next one that can (`metrics_lines_lost`).
    pub fn emit(self, now_ms: u64) {
        self.emit_to(&Sink::stdout(), now_ms);
    }

    /// Writes the document there.
    pub fn emit_to(mut self, sink: &Sink, now_ms: u64) {
        sink.flush(&mut self, now_ms);
    }

    /// Logs what was refused, once.
    fn tell_refusals(&mut self) {
        for refusal in self.refusals.drain(..) {
            tracing::error!(message_of = %self.message, %refusal, "metrics: a part of a document was refused");
        }
        if self.more_refusals > 0 {
            tracing::error!(message_of = %self.message, count = self.more_refusals, "metrics: more parts were refused");
            self.more_refusals = 0;
        }
    }
}

/// Bytes that a dimension may take as JSON: in the document, and its name in every set.
fn cost(name: &str, value: &str) -> usize {
    2 * (name.len() * (MOST_SETS + 1) + value.len()) + 8 * (MOST_SETS + 1)
}
