//! Who used the processors: ministack itself, the functions it runs, the sandbox, this program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

/// CPU time of a run, seconds, user and system together.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Cpu {
    /// The local AWS without the functions: every queue, table, topic and stream, and the event source mappings.
    pub ministack_s: f64,
    /// The functions' processes, those that ended included.
    pub functions_s: f64,
    /// Payment, carrier, tokens.
    pub sandbox_s: f64,
    /// Who places the orders and looks at the rows.
    pub driver_s: f64,
}

impl Cpu {
    /// What ministack used of the whole, 0 to 1; 0 where nothing is known.
    pub fn ministack_share(self) -> f64 {
        let all = self.ministack_s + self.functions_s + self.sandbox_s + self.driver_s;
        if all > 0.0 { self.ministack_s / all } else { 0.0 }
    }

    /// What was used since.
    pub fn since(self, before: Self) -> Self {
        Self {
            ministack_s: self.ministack_s - before.ministack_s,
            functions_s: self.functions_s - before.functions_s,
            sandbox_s: self.sandbox_s - before.sandbox_s,
            driver_s: self.driver_s - before.driver_s,
        }
    }

    /// What was used until now, as `/proc` tells it; `None` where there is no such thing.
    pub fn now(ministack: u32, sandbox: u32) -> Option<Self> {
        let ticks = rustix::param::clock_ticks_per_second();
        let seconds = |ticks_used: u64| {
            #[allow(clippy::cast_precision_loss, reason = "ticks of one run")]
            let (used, ticks) = (ticks_used as f64, ticks as f64);
            used / ticks
        };
        let processes = processes(Path::new("/proc"))?;
        let main = processes.get(&ministack)?;
        let descendants = processes.keys().filter(|pid| descends(&processes, **pid, ministack));
        let functions: u64 = descendants.filter_map(|pid| processes.get(pid)).map(|it| it.own + it.ended).sum();
        let whole = |pid: u32| processes.get(&pid).map_or(0, |it| it.own);
        Some(Self {
            ministack_s: seconds(main.own),
            functions_s: seconds(functions + main.ended),
            sandbox_s: seconds(whole(sandbox)),
            driver_s: seconds(whole(std::process::id())),
        })
    }
}

/// The processes below one, at any depth; none where the system does not tell.
pub(crate) fn descendants(of: u32) -> BTreeSet<u32> {
    let processes = processes(Path::new("/proc")).unwrap_or_default();
    processes.keys().copied().filter(|pid| descends(&processes, *pid, of)).collect()
}

/// A process: its parent, and its ticks.
struct Process {
    parent: u32,
    own: u64,
    /// Of children that ended and were waited for.
    ended: u64,
}

fn processes(proc: &Path) -> Option<BTreeMap<u32, Process>> {
    let entries = std::fs::read_dir(proc).ok()?;
    let pid = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<u32>().ok();
    // One that ends meanwhile is left out.
    let read = |pid: u32| Some((pid, stat(&std::fs::read_to_string(proc.join(format!("{pid}/stat"))).ok()?)?));
    Some(entries.filter_map(pid).filter_map(read).collect())
}

/// Reads a line of `/proc/<pid>/stat`, see proc_pid_stat(5): after the name in parentheses come state, parent, ...
fn stat(line: &str) -> Option<Process> {
    let (_, rest) = line.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        ended: number(13)? + number(14)?,
    })
}

fn descends(processes: &BTreeMap<u32, Process>, pid: u32, from: u32) -> bool {
    let mut at = pid;
    while let Some(process) = processes.get(&at).filter(|process| process.parent != at) {
        if process.parent == from {
            return true;
        }
        at = process.parent;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let line = "42 (a ) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 110 11 220 22 20 0 1 0 100 1 1";
        let process = stat(line).unwrap();
        assert_eq!((process.parent, process.own, process.ended), (7, 121, 242));
        assert!(stat("42 (short) S 7").is_none());
    }

    #[test]
    fn functions_are_what_ministack_started_and_what_those_started() {
        let process = |parent| Process { parent, own: 1, ended: 0 };
        let all = BTreeMap::from([(1, process(0)), (5, process(1)), (6, process(5)), (7, process(6)), (8, process(1))]);
        let below: Vec<u32> = all.keys().copied().filter(|pid| descends(&all, *pid, 5)).collect();
        assert_eq!(below, [6, 7]);
    }

    #[test]
    fn what_this_program_uses_is_counted() {
        let me = std::process::id();
        let before = Cpu::now(me, me).unwrap();
        let mut sum = 0_u64;
        while Cpu::now(me, me).unwrap().since(before).driver_s < 0.02 {
            sum = (0..100_000_u64).fold(sum, u64::wrapping_add);
        }
        let used = Cpu::now(me, me).unwrap().since(before);
        assert!(used.ministack_s >= 0.02 && used.ministack_share() > 0.0, "{used:?} {sum}");
    }
}
