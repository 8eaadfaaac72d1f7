//! Stops a stack when the process that brought it up is gone, however it went: a test binary has no last test, and a
//! killed process runs no destructor.
//!
//! A second process of this program waits on a pipe that only its maker holds open, and stops the stack, by the process
//! ids and start times in its state folder, when the pipe closes.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

/// The hidden subcommand of the `run` binary that becomes the guard.
pub const SUBCOMMAND: &str = "stop-when-orphaned";

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
