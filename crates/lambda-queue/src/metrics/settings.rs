//! What all documents of a process have in common.

use std::sync::{Arc, OnceLock};

use super::names::{LONGEST_DIMENSION_NAME, LONGEST_DIMENSION_VALUE, is_name, is_namespace, is_plain};

/// The namespace where nothing says another.
pub const DEFAULT_NAMESPACE: &str = "LambdaQueue";
/// Most default dimensions.
const MOST_DEFAULTS: usize = 10;

/// Names that no dimension may have, as [`folded`] writes them: their values are too many, and each is a metric of its
/// own on the bill.
const DENIED: [&str; 20] = [
    "order",
    "orderid",
    "customer",
    "customerid",
    "tenant",
    "tenantid",
    "user",
    "userid",
    "account",
    "accountid",
    "email",
    "ip",
    "requestid",
    "messageid",
    "traceid",
    "spanid",
    "correlationid",
    "causationid",
    "sessionid",
    "idempotencykey",
];

/// Settings that cannot hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not 1 to 255 of CloudWatch's characters, or AWS's own.
    #[error("{0:?} is not a namespace that CloudWatch takes")]
    Namespace(String),
    /// Not a dimension, denied, one twice, or the eleventh.
    #[error("{0:?} cannot be a default dimension")]
    Dimension(String),
    /// [`init`] came after the first document, or twice.
    #[error("the process's metrics are set up already")]
    Late,
}

/// Namespace, default dimensions, and names that are denied as dimensions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub(super) namespace: String,
    pub(super) defaults: Vec<(String, String)>,
    denied: Vec<String>,
}

impl Settings {
    /// Of this namespace, without default dimensions.
    pub fn new(namespace: impl Into<String>) -> Result<Self, SettingsError> {
        let namespace = namespace.into();
        if !is_namespace(&namespace) {
            return Err(SettingsError::Namespace(namespace));
        }
        Ok(Self { namespace, defaults: Vec::new(), denied: DENIED.map(str::to_owned).to_vec() })
    }

    /// From the environment, as Powertools reads it: the namespace from `LAMBDA_QUEUE_METRICS_NAMESPACE`, else
    /// `POWERTOOLS_METRICS_NAMESPACE`, else [`DEFAULT_NAMESPACE`]; the default dimension `service` from
    /// `LAMBDA_QUEUE_SERVICE`, else `POWERTOOLS_SERVICE_NAME`, else none.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// The same from any variables.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let first = |names: [&str; 2]| names.into_iter().filter_map(&var).find(|value| !value.is_empty());
        let namespace = first(["LAMBDA_QUEUE_METRICS_NAMESPACE", "POWERTOOLS_METRICS_NAMESPACE"]);
        let settings = Self::new(namespace.unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))?;
        match first(["LAMBDA_QUEUE_SERVICE", "POWERTOOLS_SERVICE_NAME"]) {
            Some(service) => settings.dimension("service", service),
            None => Ok(settings),
        }
    }

    /// A dimension of every set of every document; at most ten.
    pub fn dimension(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, SettingsError> {
        let (name, value) = (name.into(), value.into());
        let taken = is_name(&name, LONGEST_DIMENSION_NAME)
            && is_plain(&value, LONGEST_DIMENSION_VALUE)
            && !super::is_reserved(&name)
            && !self.denies(&name)
            && self.defaults.len() < MOST_DEFAULTS
            && !self.defaults.iter().any(|(there, _)| *there == name);
        if !taken {
            return Err(SettingsError::Dimension(name));
        }
        self.defaults.push((name, value));
        Ok(self)
    }

    /// Denies these as dimensions, in place of the list that it begins with. Case, `_`, `-`, `.` and blanks do not count.
    #[must_use]
    pub fn deny<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.denied = names.into_iter().map(|name| folded(name.as_ref()).collect()).collect();
        self
    }

    pub(super) fn denies(&self, name: &str) -> bool {
        self.denied.iter().any(|denied| denied.chars().eq(folded(name)))
    }
}

fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ')).map(|c| c.to_ascii_lowercase())
}

static PROCESS: OnceLock<Arc<Settings>> = OnceLock::new();

/// Sets the process's settings, before its first document. Without it they are [`Settings::from_env`].
pub fn init(settings: Settings) -> Result<(), SettingsError> {
    PROCESS.set(Arc::new(settings)).map_err(|_| SettingsError::Late)
}

/// The process's settings. An environment that cannot hold is logged, and the defaults are used.
pub(super) fn process() -> Arc<Settings> {
    let fallback = || Settings { namespace: DEFAULT_NAMESPACE.to_owned(), defaults: Vec::new(), denied: Vec::new() };
    let from_env = || {
        Settings::from_env().unwrap_or_else(|error| {
            tracing::error!(%error, "metrics: the environment's settings cannot hold; the defaults are used");
            fallback().deny(DENIED)
        })
    };
    Arc::clone(PROCESS.get_or_init(|| Arc::new(from_env())))
}
