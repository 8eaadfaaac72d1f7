//! `stack.json`: where a running stack is.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::process::Process;

/// How ministack is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Launcher {
    /// With the patches of `tools/ministack/launch.py`: small answers are not held back, FIFO mappings honour
    /// MaximumConcurrency, a quicker HTTP server.
    Patched,
    /// As it comes.
    Plain,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Patched => "patched",
            Self::Plain => "plain",
        })
    }
}

/// A running stack, as `stack.json` in its state folder tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackInfo {
    /// Process id of ministack, the leader of its process group.
    pub ministack_pid: u32,
    /// Its start time as the system tells it, so that a reused pid is not taken for it.
    pub ministack_started: String,
    /// Process id of the sandbox.
    pub sandbox_pid: u32,
    /// Its start time.
    pub sandbox_started: String,
    /// ministack's address, to be used as `AWS_ENDPOINT_URL`.
    pub endpoint: String,
    /// The sandbox's address.
    pub sandbox_url: String,
    /// The HTTP API's base address, for curl as it is.
    pub api_url: String,
    /// The sandbox's ledger: what the payment provider and the carrier really did.
    pub ledger: PathBuf,
    /// CloudFormation stack name.
    pub stack_name: String,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
    /// How ministack was started.
    pub launcher: Launcher,
}

impl StackInfo {
    /// The file's path in a state folder.
    #[must_use]
    pub fn path(dir: &Path) -> PathBuf {
        dir.join("stack.json")
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn load(dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = Self::path(dir);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let info = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a stack file of this version; remove it", path.display()))?;
        Ok(Some(info))
    }

    pub(crate) fn save(&self, dir: &Path) -> anyhow::Result<()> {
        let path = Self::path(dir);
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        // Whole or not at all: another command may be reading.
        let draft = dir.join("stack.json.new");
        std::fs::write(&draft, text).with_context(|| format!("cannot write {}", draft.display()))?;
        std::fs::rename(&draft, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    pub(crate) fn forget(dir: &Path) -> anyhow::Result<()> {
        let path = Self::path(dir);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        }
    }

    /// An output of the stack.
    ///
    /// # Errors
    /// When the stack has no such output.
    pub fn output(&self, name: &str) -> anyhow::Result<&str> {
        super::cloud::output(&self.outputs, name)
    }

    /// Whether any of its processes is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.processes().iter().any(Process::is_running)
    }

    pub(crate) fn processes(&self) -> [Process; 2] {
        [self.ministack(), self.sandbox()]
    }

    pub(crate) fn ministack(&self) -> Process {
        Process { pid: self.ministack_pid, started: self.ministack_started.clone() }
    }

    pub(crate) fn sandbox(&self) -> Process {
        Process { pid: self.sandbox_pid, started: self.sandbox_started.clone() }
    }
}
