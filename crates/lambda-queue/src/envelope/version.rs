//! Versions of messages: the last part of the type, `spec.name.vN`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Data, Envelope};
use crate::Failure;

/// A newer message waits this long for a newer program, milliseconds.
pub const NEWER_WAITS_MS: u64 = 60_000;
/// And this often, before it is poison.
pub const NEWER_RECEIVES: u32 = 10;

/// `spec.name.v3` is `spec.name` in version 3. `None` where the last part is no version.
pub fn split_version(kind: &str) -> Option<(&str, u32)> {
    let (name, version) = kind.rsplit_once(".v")?;
    (!name.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0'))
        .then_some(())?;
    version.parse().ok().map(|version| (name, version))
}

/// What becomes of a message that is newer than this program: it waits 60 s at a time for a newer program, and is poison
/// once it was received `limit` times. A rolling deployment ends long before [`NEWER_RECEIVES`].
pub fn newer_version(receive_count: u32, now_ms: u64, limit: u32) -> Failure {
    if receive_count < limit {
        let why = "the message's version is newer than this program".to_owned();
        Failure::Defer { until_ms: now_ms.saturating_add(NEWER_WAITS_MS), why }
    } else {
        Failure::Poison { reason: format!("version_newer: still newer than this program after {limit} receives") }
    }
}

/// Why a message's version is not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VersionError {
    /// The type does not end in `.vN`.
    #[error("version_missing: the type does not end in a version")]
    None,
    /// A type that this consumer does not take.
    #[error("type_unknown: not a type of this consumer")]
    Unknown,
    /// Newer than this program: see [`newer_version`].
    #[error("version_newer: version {version} is newer than {current}")]
    Newer {
        /// The message's.
        version: u32,
        /// The newest that is known here.
        current: u32,
    },
    /// Older than the previous version, and no chain of upcasters leads from it.
    #[error("version_older: version {version} is too old, {current} and the one before are taken")]
    Older {
        /// The message's.
        version: u32,
        /// The newest that is known here.
        current: u32,
    },
    /// An upcaster could not read what its version promises.
    #[error("version_upcast: version {from} could not be brought up: {why}")]
    Upcast {
        /// From which version.
        from: u32,
        /// The upcaster's words. They quote no content.
        why: String,
    },
    /// Only JSON can be brought up.
    #[error("version_data: the data of an older version is no JSON")]
    NoJson,
}

impl VersionError {
    /// What the batch loop does with it: newer waits ([`newer_version`] with [`NEWER_RECEIVES`]), all else is poison.
    pub fn into_failure(self, receive_count: u32, now_ms: u64) -> Failure {
        match self {
            Self::Newer { .. } => newer_version(receive_count, now_ms, NEWER_RECEIVES),
            Self::None | Self::Unknown | Self::Older { .. } | Self::Upcast { .. } | Self::NoJson => {
                Failure::Poison { reason: self.to_string() }
            }
        }
    }
}

type Upcaster = Box<dyn Fn(Value) -> Result<Value, String> + Send + Sync>;

/// The versions that a consumer takes, and how older data becomes newer.
///
/// The current and the previous version are always taken. An upcaster turns the data of one version into that of the
/// next; a chain of them makes still older versions welcome. Pure functions: the same data always becomes the same.
#[derive(Default)]
pub struct Versions {
    current: BTreeMap<String, u32>,
    steps: BTreeMap<(String, u32), Upcaster>,
}

impl Versions {
    /// Takes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes messages of this name (the type without its version) up to this version.
    #[must_use]
    pub fn takes(mut self, name: impl Into<String>, current: u32) -> Self {
        self.current.insert(name.into(), current);
        self
    }

    /// Data of version `from` becomes data of version `from + 1` so. An error must not quote the data.
    #[must_use]
    pub fn upcast(
        mut self,
        name: impl Into<String>,
        from: u32,
        step: impl Fn(Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.steps.insert((name.into(), from), Box::new(step));
        self
    }

    /// Brings a message up as far as the upcasters lead; its type then names the version that it has. That is the
    /// current one or, where no upcaster leads from it, the previous one.
    pub fn bring_up(&self, mut message: Envelope<Data>) -> Result<Envelope<Data>, VersionError> {
        let (name, was) = split_version(&message.kind).ok_or(VersionError::None)?;
        let name = name.to_owned();
        let current = *self.current.get(&name).ok_or(VersionError::Unknown)?;
        if was > current {
            return Err(VersionError::Newer { version: was, current });
        }
        let mut version = was;
        while version < current {
            let Some(step) = self.steps.get(&(name.clone(), version)) else { break };
            let Data::Json(data) = message.data else { return Err(VersionError::NoJson) };
            let data = step(data).map_err(|why| VersionError::Upcast { from: version, why })?;
            message.data = Data::Json(data);
            version = version.saturating_add(1);
        }
        if version.saturating_add(1) < current {
            return Err(VersionError::Older { version: was, current });
        }
        if version != was {
            message.kind = format!("{name}.v{version}");
            // It was the schema of the version that it had.
            message.dataschema = None;
        }
        Ok(message)
    }
}

impl std::fmt::Debug for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps: Vec<_> = self.steps.keys().collect();
        f.debug_struct("Versions").field("current", &self.current).field("upcast", &steps).finish()
    }
}
