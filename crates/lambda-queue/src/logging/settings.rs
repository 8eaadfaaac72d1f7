//! What the logger has to be told, and the logger made of it.

use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use tracing::Dispatch;
use tracing::metadata::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry;

use super::deny::Denied;
use super::held::LetOut;
use super::layer::{Lines, Wanted};
use super::level::{Levels, level};
use super::line::{SUBJECT_NAME, is_taken};
use super::text::string;
use super::{Now, Sink, Stdout};

/// How lines are written. [`from_env`](Self::from_env) reads them; a test or a tool sets what it wants.
#[derive(Clone)]
pub struct Settings {
    /// `service` of every line: `SERVICE_NAME`, else `OTEL_SERVICE_NAME`. Empty is left out.
    pub service: String,
    /// `function`: `AWS_LAMBDA_FUNCTION_NAME`. Empty is left out.
    pub function: String,
    /// `function_version`: `AWS_LAMBDA_FUNCTION_VERSION`. Empty is left out.
    pub function_version: String,
    /// What lines and exported spans call the subject of a record ([`RecordIds::subject`](super::RecordIds::subject)): `subject`
    /// unless a program knows better, such as `order_id`. Not from the environment: queries go by it.
    pub subject_name: String,
    /// What is printed at once.
    pub print: Levels,
    /// What is held back, or printed at once in a sampled invocation.
    pub debug: Levels,
    /// When held lines are let out.
    pub let_out: LetOut,
    /// Most held lines of an invocation.
    pub held_lines: usize,
    /// Most bytes of held lines of an invocation.
    pub held_bytes: usize,
    /// The share of invocations whose debug lines go out at once, 0 to 1.
    pub sample_rate: f64,
    /// Fields that are not printed.
    pub denied: Denied,
    /// What was wrong with the environment: said in one warning each by [`init`](Self::init).
    pub notes: Vec<String>,
    /// Tells the time. The process's clock, unless a test has its own.
    pub now: Now,
    /// Where spans go. `None`: nowhere.
    #[cfg(feature = "otlp")]
    pub otlp: Option<crate::otlp::Endpoint>,
}

impl Default for Settings {
    /// Those of an empty environment.
    fn default() -> Self {
        Self {
            service: String::new(),
            function: String::new(),
            function_version: String::new(),
            subject_name: SUBJECT_NAME.to_owned(),
            print: Levels::all(LevelFilter::INFO),
            debug: Levels::all(LevelFilter::DEBUG).without_noise(),
            let_out: LetOut::Record,
            held_lines: 200,
            held_bytes: 64 * 1024,
            sample_rate: 0.0,
            denied: Denied::default(),
            notes: Vec::new(),
            now: Arc::new(system_ms),
            #[cfg(feature = "otlp")]
            otlp: None,
        }
    }
}

impl Settings {
    /// Reads the process's environment.
    pub fn from_env() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads variables from wherever `variable` has them. An empty one counts as not set.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable =
            |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut settings = Self {
            service: variable("SERVICE_NAME").or_else(|| variable("OTEL_SERVICE_NAME")).unwrap_or_default(),
            function: variable("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default(),
            function_version: variable("AWS_LAMBDA_FUNCTION_VERSION").unwrap_or_default(),
            ..Self::default()
        };
        let notes = &mut settings.notes;
        let own = variable("LOG_LEVEL").and_then(|text| noted(notes, "LOG_LEVEL", "info", Levels::parse(&text)));
        let lambda = variable("AWS_LAMBDA_LOG_LEVEL").and_then(|name| {
            let read = level(&name).ok_or_else(|| format!("`{name}` is no level"));
            noted(notes, "AWS_LAMBDA_LOG_LEVEL", "LOG_LEVEL", read)
        });
        if let (Some(own), Some(lambda)) = (&own, lambda)
            && own.most() > lambda
        {
            notes.push(format!(
                "LOG_LEVEL is more verbose than AWS_LAMBDA_LOG_LEVEL, which lets through {lambda} at most"
            ));
        }
        let most = lambda.unwrap_or(LevelFilter::TRACE);
        settings.print = own.unwrap_or_else(|| Levels::all(lambda.unwrap_or(LevelFilter::INFO))).at_most(most);

        match variable("LOG_HELD").as_deref() {
            Some("off" | "OFF") => settings.let_out = LetOut::Never,
            Some(text) => {
                if let Some(debug) = noted(notes, "LOG_HELD", "debug", Levels::parse(text)) {
                    settings.debug = debug.without_noise();
                }
            }
            None => {}
        }
        settings.debug = settings.debug.at_most(most);
        match variable("LOG_HELD_UNTIL").as_deref() {
            Some("invocation") if settings.let_out != LetOut::Never => settings.let_out = LetOut::Invocation,
            None | Some("record" | "invocation") => {}
            Some(other) => {
                notes.push(format!("LOG_HELD_UNTIL: `{other}` is neither `record` nor `invocation`; record holds"))
            }
        }
        let count = |notes: &mut Vec<String>, name: &str, default: usize| {
            variable(name).and_then(|text| noted(notes, name, default, parse(&text))).unwrap_or(default)
        };
        settings.held_lines = count(notes, "LOG_HELD_LINES", settings.held_lines).min(10_000);
        settings.held_bytes = count(notes, "LOG_HELD_BYTES", settings.held_bytes).min(16 * 1024 * 1024);
        if let Some(text) = variable("LOG_SAMPLE_RATE") {
            let rate = parse::<f64>(&text).and_then(|rate| {
                (0.0..=1.0).contains(&rate).then_some(rate).ok_or_else(|| format!("`{text}` is not between 0 and 1"))
            });
            settings.sample_rate = noted(notes, "LOG_SAMPLE_RATE", 0, rate).unwrap_or(0.0);
        }
        if let Some(names) = variable("LOG_REDACT") {
            settings.denied = settings.denied.and(names.split(','));
        }
        #[cfg(feature = "otlp")]
        {
            settings.otlp = crate::otlp::Endpoint::read(variable, notes);
        }
        settings
    }

    /// Makes it the process's logger, writing to stdout, and says what was wrong with the settings. Where there is a
    /// logger already, that one stays.
    pub fn init(self) {
        let notes = self.notes.clone();
        let (dispatch, failed) = self.build(Arc::new(Stdout));
        if tracing::dispatcher::set_global_default(dispatch).is_err() {
            return;
        }
        for note in notes.into_iter().chain(failed) {
            tracing::warn!(setting = note, "a setting of the logger is wrong");
        }
    }

    /// A logger that writes to `sink`, for `tracing::dispatcher::with_default` or `WithSubscriber`.
    pub fn dispatch(self, sink: Arc<dyn Sink>) -> Dispatch {
        self.build(sink).0
    }

    /// The logger, and what of the settings could not be done.
    fn build(self, sink: Arc<dyn Sink>) -> (Dispatch, Vec<String>) {
        let mut notes = Vec::new();
        let subject = if self.subject_name.is_empty() || is_taken(&self.subject_name) {
            let name = &self.subject_name;
            notes.push(format!("subject_name: `{name}` is another field of a line; {SUBJECT_NAME} holds"));
            SUBJECT_NAME.to_owned()
        } else {
            self.subject_name
        };
        let denied = Arc::new(self.denied);
        // A rate of 1 is all, and of 0 is none: not even the request whose hash is 0.
        let sampled_below = (self.sample_rate > 0.0).then_some((self.sample_rate * u64::MAX as f64) as u64);
        let debug = (self.let_out != LetOut::Never || sampled_below.is_some()).then_some(self.debug);
        let wanted = Wanted { print: self.print.clone(), debug };
        let mut head = Vec::new();
        for (name, value) in
            [("service", &self.service), ("function", &self.function), ("function_version", &self.function_version)]
        {
            if !value.is_empty() {
                head.extend_from_slice(format!(",\"{name}\":").as_bytes());
                string(&mut head, |text| text.write_str(value));
            }
        }
        #[cfg(feature = "otlp")]
        let exporter = match self.otlp.map(|endpoint| endpoint.exporter(Arc::clone(&denied), subject.clone())) {
            None => None,
            Some(Ok(exporter)) => Some(Arc::new(exporter)),
            Some(Err(why)) => {
                notes.push(format!("OTEL_EXPORTER_OTLP_ENDPOINT: {why}; no spans are exported"));
                None
            }
        };
        let lines = Lines {
            print: self.print,
            let_out: self.let_out,
            held_lines: self.held_lines,
            held_bytes: self.held_bytes,
            sampled_below,
            denied,
            subject,
            head,
            now: self.now,
            sink,
            #[cfg(feature = "otlp")]
            exporter: exporter.clone(),
        };
        #[cfg(feature = "otlp")]
        if let Some(exporter) = exporter {
            let subscriber = registry().with(exporter.layer()).with(lines.with_filter(wanted));
            return (Dispatch::new(subscriber), notes);
        }
        (Dispatch::new(registry().with(lines.with_filter(wanted))), notes)
    }
}

/// A value, or a note that another holds.
fn noted<T>(notes: &mut Vec<String>, name: &str, holds: impl std::fmt::Display, read: Result<T, String>) -> Option<T> {
    read.map_err(|why| notes.push(format!("{name}: {why}; {holds} holds"))).ok()
}

fn parse<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of that kind"))
}

/// The process's clock.
#[expect(clippy::disallowed_methods, reason = "what a line is stamped with unless `Settings::now` says otherwise")]
pub(crate) fn system_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
