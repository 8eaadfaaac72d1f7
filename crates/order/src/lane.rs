//! Priority lanes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A priority lane. An order stays on its lane for life; each lane has its own queue for every command step and its
/// own concurrency, so no lane can starve another. Ordered by priority: `Bulk < Standard < Express`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Large imports and back orders: slow, but never starved.
    Bulk,
    /// Everyday orders.
    #[default]
    Standard,
    /// Paid or promised speed.
    Express,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Express, Self::Standard, Self::Bulk];

    /// The name in queue names, messages and tokens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Express => "express",
            Self::Standard => "standard",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a lane: use express, standard or bulk")]
pub struct UnknownLane;

impl FromStr for Lane {
    type Err = UnknownLane;
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|lane| lane.name() == name).ok_or(UnknownLane)
    }
}
