//! Which lines there are: levels by module, in `tracing`'s filter syntax.

use tracing::Metadata;
use tracing::metadata::LevelFilter;

/// Modules that say much, and nothing about our own work: their debug lines are not held back.
const QUIET: [&str; 7] = ["aws_", "h2", "hyper", "lambda_runtime", "opentelemetry", "reqwest", "rustls"];

/// `warn,my_crate=debug,my_crate::wire=off`: a level for everything, and others for modules, by the beginning of their
/// path. The longest beginning decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Levels {
    /// Longest first.
    modules: Vec<(String, LevelFilter)>,
    default: LevelFilter,
}

impl Levels {
    /// One level for everything.
    pub const fn all(level: LevelFilter) -> Self {
        Self { modules: Vec::new(), default: level }
    }

    /// Reads the syntax. What no directive names is at `info`. An error says which directive is wrong: a level that is
    /// none, an empty module, or a filter by span, which this does not know.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut levels = Self::all(LevelFilter::INFO);
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            match directive.split_once('=') {
                None => levels.default = level(directive).ok_or_else(|| format!("`{directive}` is no level"))?,
                Some((module, name)) => {
                    let module = module.trim();
                    if module.is_empty()
                        || !module.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:".contains(&byte))
                    {
                        return Err(format!("`{directive}` names no module"));
                    }
                    let level = level(name.trim()).ok_or_else(|| format!("`{directive}` has no level"))?;
                    levels.set(module, level);
                }
            }
        }
        Ok(levels)
    }

    /// The same, where modules that nobody asked for and that say much are silent.
    pub fn without_noise(mut self) -> Self {
        for quiet in QUIET {
            if !self.modules.iter().any(|(module, _)| module == quiet) {
                self.set(quiet, LevelFilter::OFF);
            }
        }
        self
    }

    /// The same, with nothing more verbose than this.
    pub fn at_most(mut self, most: LevelFilter) -> Self {
        self.default = self.default.min(most);
        for (_, level) in &mut self.modules {
            *level = (*level).min(most);
        }
        self
    }

    /// The most verbose of its levels.
    pub fn most(&self) -> LevelFilter {
        self.modules.iter().map(|(_, level)| *level).fold(self.default, LevelFilter::max)
    }

    /// Whether this callsite is on.
    pub fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let found = self.modules.iter().find(|(module, _)| metadata.target().starts_with(module.as_str()));
        *metadata.level() <= found.map_or(self.default, |(_, level)| *level)
    }

    fn set(&mut self, module: &str, level: LevelFilter) {
        self.modules.retain(|(known, _)| known != module);
        let at = self.modules.partition_point(|(known, _)| known.len() >= module.len());
        self.modules.insert(at, (module.to_owned(), level));
    }
}

/// A level by its name, in any case: `tracing`'s, and those of Lambda's logging controls and of other loggers. `FATAL`
/// and `CRITICAL` are `error`: `tracing` has nothing above it.
pub fn level(name: &str) -> Option<LevelFilter> {
    Some(match name.to_ascii_lowercase().as_str() {
        "off" => LevelFilter::OFF,
        "fatal" | "critical" | "error" => LevelFilter::ERROR,
        "warn" | "warning" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}
