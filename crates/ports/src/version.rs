//! Versions of command messages: which are known, and which one is sent (ADR 15).

use std::fmt;

use lambda_queue::Failure;
use lambda_queue::envelope::{Data, Envelope, Versions};
use serde_json::Value;

use crate::CommandData;
#[cfg(any(test, feature = "rehearse-next"))]
use crate::rehearsal;

/// The newest version of command messages that this program reads; it reads the one before as well.
pub const COMMAND_VERSION: u32 = if cfg!(feature = "rehearse-next") { 2 } else { 1 };

/// The version that commands are sent in where nobody says otherwise: one that the program before this one reads too.
const SENT: u32 = 1;

/// A version that this program can send commands in: the newest that it reads, or the one before.
///
/// Which one a stack sends is its parameter `CommandVersion`, in the environment `EMITTED_COMMAND_VERSION`. It is raised once
/// every function of the stack reads the newer one, and lowered before a program that does not is deployed again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommandVersion(u32);

/// A version that this program cannot send.
///
/// A program that is a rehearsal says so here: every function has these words in its binary, by which a rehearsal is known
/// wherever it lies (`orderflow`'s packaging refuses it).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[cfg_attr(
    not(feature = "rehearse-next"),
    error("no version of commands that this program sends: it can send {oldest} to {newest}")
)]
#[cfg_attr(
    feature = "rehearse-next",
    error("no version of commands that this rehearsal of the next version sends: it can send {oldest} to {newest}")
)]
pub struct UnknownVersion {
    oldest: u32,
    newest: u32,
}

impl CommandVersion {
    /// Reads `2`. Refused where this program does not know that version, or does not read it any more.
    ///
    /// # Errors
    /// Says which ones it can send.
    pub fn parse(text: &str) -> Result<Self, UnknownVersion> {
        Self::parse_among(text, COMMAND_VERSION)
    }

    /// Each version that this program can be told to send, the oldest first.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::all_of(COMMAND_VERSION)
    }

    /// Those of a program that reads up to this one.
    pub(crate) fn all_of(newest: u32) -> impl Iterator<Item = Self> {
        (oldest(newest)..=newest).map(Self)
    }

    fn parse_among(text: &str, newest: u32) -> Result<Self, UnknownVersion> {
        let asked: Option<u32> = text.parse().ok();
        let known = Self::all_of(newest).find(|known| Some(known.0) == asked);
        known.ok_or(UnknownVersion { oldest: oldest(newest), newest })
    }

    /// What the data of a command looks like in it.
    pub(crate) fn write(self, data: &CommandData) -> Value {
        #[cfg(any(test, feature = "rehearse-next"))]
        if self.0 == rehearsal::VERSION {
            return rehearsal::write(data);
        }
        serde_json::json!(data)
    }
}

fn oldest(newest: u32) -> u32 {
    newest.saturating_sub(1).max(1)
}

impl Default for CommandVersion {
    fn default() -> Self {
        Self(SENT)
    }
}

impl fmt::Display for CommandVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions of one command that a program reads whose newest is this, and how an older one becomes the newest.
pub(crate) fn versions(name: &str, newest: u32) -> Versions {
    let versions = Versions::new().takes(name, newest);
    #[cfg(any(test, feature = "rehearse-next"))]
    let versions = versions.upcast(name, rehearsal::VERSION - 1, rehearsal::upcast);
    versions
}

/// Reads the data of a message that was brought up to this version.
pub(crate) fn read(message: Envelope<Data>, newest: u32) -> Result<Envelope<CommandData>, Failure> {
    #[cfg(any(test, feature = "rehearse-next"))]
    if newest == rehearsal::VERSION {
        return Ok(rehearsal::read(message)?);
    }
    debug_assert_eq!(newest, 1, "no shape of that version");
    Ok(message.typed()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_sends_the_newest_version_that_it_reads_and_the_one_before_and_refuses_all_others() {
        let can = |text: &str, newest: u32| CommandVersion::parse_among(text, newest).map(|version| version.0).ok();
        for (newest, expected) in [(1, [None, Some(1), None, None]), (2, [None, Some(1), Some(2), None])] {
            assert_eq!(["0", "1", "2", "3"].map(|text| can(text, newest)), expected, "newest {newest}");
        }
        assert_eq!([can("1", 3), can("2", 3), can("3", 3)], [None, Some(2), Some(3)]);
        for (newest, all) in [(1, vec![1]), (2, vec![1, 2]), (3, vec![2, 3])] {
            assert_eq!(
                CommandVersion::all_of(newest).map(|version| version.0).collect::<Vec<_>>(),
                all,
                "newest {newest}"
            );
        }
        let all: Vec<CommandVersion> = CommandVersion::all().collect();
        assert!(all.contains(&CommandVersion::default()) && all.len() <= 2, "{all:?}");
        for text in ["", "v1", "1.0", "-1", "newest", "4294967296"] {
            assert!(CommandVersion::parse(text).is_err(), "{text}");
        }
        let refused = CommandVersion::parse_among("3", 2).unwrap_err().to_string();
        assert!(refused.ends_with("it can send 1 to 2"), "{refused}");
    }

    #[test]
    fn what_is_sent_without_a_word_is_sent_by_this_program_and_read_by_the_one_before() {
        let sent = CommandVersion::default();
        assert_eq!(CommandVersion::parse(&sent.to_string()), Ok(sent));
        assert!(sent.0 <= COMMAND_VERSION.saturating_sub(1).max(1), "the program before does not read it");
    }
}
