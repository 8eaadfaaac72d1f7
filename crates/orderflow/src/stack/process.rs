//! Child processes: told apart by pid and start time, so that a number that was given to someone else since is never
//! signalled, and stopped as a group, so that the function processes of ministack go with it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, test_kill_process_group, waitpid};

/// How long a process group may take to end by itself.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
/// How long a process may take to write down its state.
const LONGEST_END: Duration = Duration::from_secs(60);

/// A process of ours: the leader of its own process group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// When it started, as the system tells it: an opaque text.
    pub(crate) started: String,
}

impl Process {
    /// Starts `command` in a process group of its own (a Ctrl-C meant for us does not reach it), its output in `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let out = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log file")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let pid = child.id();
        Ok(Self { pid, started: start_time(pid).unwrap_or_default() })
    }

    /// Whether it is still there, and still the process that was recorded.
    pub(crate) fn is_running(&self) -> bool {
        self.reap();
        start_time(self.pid).is_some_and(|started| started == self.started)
    }

    /// Ends it and everything in its group: first asked to, then made to.
    pub(crate) fn stop(&self) {
        if !self.is_running() {
            return;
        }
        let Some(group) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        for signal in [Signal::TERM, Signal::KILL] {
            if kill_process_group(group, signal).is_err() {
                return;
            }
            let until = Instant::now() + GRACE;
            while Instant::now() < until {
                self.reap();
                if test_kill_process_group(group).is_err() {
                    return;
                }
                std::thread::sleep(POLL);
            }
        }
    }

    /// Ends it at once, as a crash would (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(&self) {
        if !self.is_running() {
            return;
        }
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        if kill_process(pid, Signal::KILL).is_err() {
            return;
        }
        let until = Instant::now() + GRACE;
        while self.is_running() && Instant::now() < until {
            std::thread::sleep(POLL);
        }
    }

    /// Asks it alone to end (SIGTERM), waits as long as it takes to write down its state, then kills what is left of its
    /// group.
    pub(crate) async fn end(&self) -> anyhow::Result<()> {
        let group = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no process id")?;
        ensure!(self.is_running(), "process {} is gone already", self.pid);
        kill_process(group, Signal::TERM).context("it cannot be told to end")?;
        let until = Instant::now() + LONGEST_END;
        while self.is_running() {
            ensure!(Instant::now() < until, "process {} does not end within {LONGEST_END:?}", self.pid);
            tokio::time::sleep(POLL).await;
        }
        // Where nothing is left, there is nothing to kill.
        kill_process_group(group, Signal::KILL).ok();
        Ok(())
    }

    /// Collects it if it is our own child and has ended, so that no zombie is taken for a running process.
    fn reap(&self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // Not our child (another command started it), or not ended yet: both leave nothing to do.
            waitpid(Some(pid), WaitOptions::NOHANG).ok();
        }
    }
}

/// Start time of a live process, from `/proc` where there is one, else from `ps`.
fn start_time(pid: u32) -> Option<String> {
    if Path::new("/proc/self/stat").exists() {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name is in parentheses and may hold anything; the fields that matter come after it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?;
        // state is field 3, start time field 22 (proc(5))
        return (state != "Z").then(|| fields.nth(18).map(ToOwned::to_owned)).flatten();
    }
    let out = Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let line = String::from_utf8(out.stdout).ok()?;
    let (state, started) = line.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// Stops its processes when dropped, the last started first: a failure, a cancelled future or a panicking test leaves
/// nothing behind.
#[derive(Default)]
pub(crate) struct Guard {
    processes: Vec<Process>,
}

impl Guard {
    pub(crate) fn watch(&mut self, process: &Process) {
        self.processes.push(process.clone());
    }

    /// Lets them live on.
    pub(crate) fn release(mut self) {
        self.processes.clear();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        for process in self.processes.iter().rev() {
            process.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Process {
        let mut command = Command::new("sh");
        // A child of its own, as ministack has.
        command.args(["-c", "sleep 60 & wait"]);
        Process::start(command, &std::env::temp_dir().join("orderflow-process-test.log")).unwrap()
    }

    #[test]
    fn a_dropped_guard_stops_the_whole_group() {
        let process = sleeper();
        let group = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
        let mut guard = Guard::default();
        guard.watch(&process);
        assert!(process.is_running());
        drop(guard);
        assert!(!process.is_running());
        assert!(test_kill_process_group(group).is_err(), "a member of the group is left");
    }

    #[tokio::test]
    async fn a_process_that_is_told_to_end_leaves_no_child() {
        let process = sleeper();
        let group = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
        process.end().await.unwrap();
        assert!(!process.is_running());
        let gone = (0..200).any(|_| {
            std::thread::sleep(POLL);
            test_kill_process_group(group).is_err()
        });
        assert!(gone, "a member of the group is left");
        assert!(process.end().await.is_err(), "it is gone already");
    }

    #[test]
    fn a_killed_process_is_gone_and_a_stranger_is_not_killed() {
        let process = sleeper();
        let stranger = Process { started: "1".to_owned(), ..process.clone() };
        stranger.kill();
        assert!(process.is_running());
        process.kill();
        assert!(!process.is_running());
        // Its child, if it came to start one, lives on in the group.
        let group = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
        kill_process_group(group, Signal::KILL).ok();
    }

    #[test]
    fn a_reused_pid_is_not_taken_for_ours() {
        let process = sleeper();
        let stranger = Process { started: "1".to_owned(), ..process.clone() };
        stranger.stop();
        assert!(process.is_running());
        process.stop();
    }
}
