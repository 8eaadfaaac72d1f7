//! Stops a stack when the process that brought it up is gone, however it went: a test binary has no last test, and a
//! killed process runs no destructor.
//!
//! A second process of this program waits on a pipe that only its maker holds open, and stops the stack, by the process
//! ids and start times in its state folder, when the pipe closes.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// The hidden subcommand of the `run` binary that becomes the guard.
pub const SUBCOMMAND: &str = "stop-when-orphaned";

/// State folders under one parent.
const MOST_BESIDE: u32 = 16;

/// The running guard. It acts when this is dropped or its process ends.
#[derive(Debug)]
pub struct Guard {
    /// Holds the pipe.
    _child: Child,
}

/// Starts a guard for the stack in `dir`. `run` is the path of the `run` binary.
///
/// # Errors
/// When it cannot be started.
pub fn watch(run: &Path, dir: &Path) -> anyhow::Result<Guard> {
    use std::os::unix::process::CommandExt as _;
    let child = Command::new(run)
        .arg(SUBCOMMAND)
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C meant for its maker does not reach it.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", run.display()))?;
    Ok(Guard { _child: child })
}

/// A state folder that no other process uses, as long as this lives.
#[derive(Debug)]
pub struct Owned {
    /// Holds the lock.
    _lock: File,
}

/// Takes a state folder for this process, and stops the stack that an owner now gone left there. `None` where another
/// process has it.
///
/// # Errors
/// When the folder cannot be made, or what is left in it cannot be read.
pub fn own(dir: &Path) -> anyhow::Result<Option<Owned>> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let lock = File::create(dir.join("owner.lock")).with_context(|| format!("cannot write in {}", dir.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error).context("cannot lock the state folder"),
    }
    orderflow::stack::down(dir)?;
    Ok(Some(Owned { _lock: lock }))
}

/// Takes the first folder under `parent` that no other process uses: `1`, `2`, ... So test runs beside each other do not
/// stop each other's stacks, and one after the other uses the same.
///
/// # Errors
/// When no folder can be taken.
pub fn own_one_of(parent: &Path) -> anyhow::Result<(PathBuf, Owned)> {
    for nth in 1..=MOST_BESIDE {
        let dir = parent.join(nth.to_string());
        if let Some(owned) = own(&dir)? {
            return Ok((dir, owned));
        }
    }
    bail!("{MOST_BESIDE} others use {} already", parent.display())
}

/// The guard's own work: waits for the end of standard input, then stops the stack.
///
/// # Errors
/// When the state file cannot be read.
pub fn serve(dir: &Path) -> anyhow::Result<()> {
    let mut nothing = Vec::new();
    // Whether it ends or breaks: nobody holds the other end.
    std::io::stdin().lock().read_to_end(&mut nothing).ok();
    orderflow::stack::down(dir)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_has_one_owner_at_a_time() {
        let parent = std::env::temp_dir().join(format!("orderflow-owned-{}", std::process::id()));
        let (first, owned) = own_one_of(&parent).unwrap();
        let (second, _other) = own_one_of(&parent).unwrap();
        assert_ne!(first, second);
        assert!(own(&first).unwrap().is_none());
        drop(owned);
        assert_eq!(own_one_of(&parent).unwrap().0, first);
        std::fs::remove_dir_all(&parent).unwrap();
    }
}
