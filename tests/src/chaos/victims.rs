//! The functions' processes: who holds the other end of a connection, and ending one at once.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::run::descendants;

/// A function's process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Victim {
    /// Its process id.
    pub pid: u32,
    /// `process-payment`.
    pub function: String,
}

/// Every function process that ministack runs.
pub fn all(ministack: u32, stack: &str) -> Vec<Victim> {
    below(ministack).into_iter().filter_map(|pid| victim(pid, stack)).collect()
}

/// Every process descends from 0, also those of somebody else's stack.
fn below(ministack: u32) -> BTreeSet<u32> {
    if ministack == 0 { BTreeSet::new() } else { descendants(ministack) }
}

/// Reads a process's own environment; only a function has the name of one in it.
fn victim(pid: u32, stack: &str) -> Option<Victim> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let name = environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok())
        .find_map(|entry| entry.strip_prefix("AWS_LAMBDA_FUNCTION_NAME="))?;
    let function = name.strip_prefix(stack)?.strip_prefix('-')?;
    Some(Victim { pid, function: function.to_owned() })
}

/// The function that holds the connection from this loopback port to that one.
pub fn holder(ministack: u32, stack: &str, from: u16, to: u16) -> Option<Victim> {
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let inode = inode(&table, from, to)?;
    let socket = format!("socket:[{inode}]");
    let holds = |pid: &u32| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| std::fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&socket)))
    };
    below(ministack).into_iter().find(holds).and_then(|pid| victim(pid, stack))
}

/// The inode of a socket between two loopback ports, of `/proc/net/tcp`, see proc_pid_net(5): `sl local remote st
/// tx:rx tr:tm retrnsmt uid timeout inode`.
fn inode(table: &str, from: u16, to: u16) -> Option<&str> {
    let (from, to) = (format!("0100007F:{from:04X}"), format!("0100007F:{to:04X}"));
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(1) == Some(&from.as_str()) && fields.get(2) == Some(&to.as_str());
        is_it.then(|| fields.get(9).copied()).flatten().filter(|inode| *inode != "0")
    })
}

/// SIGKILL. Answers whether there was a process to kill.
pub fn kill(victim: &Victim) -> bool {
    let pid = i32::try_from(victim.pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_by_its_two_ports() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     \x20  0: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 111 1\n\
                     \x20  1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 222 1\n";
        assert_eq!(inode(table, 50_000, 8_080), Some("222"));
        assert_eq!(inode(table, 8_080, 50_000), Some("111"));
        assert_eq!(inode(table, 1, 2), None);
    }

    #[test]
    fn only_a_function_of_the_stack_is_a_victim() {
        let mut function = std::process::Command::new("sleep")
            .arg("60")
            .env("AWS_LAMBDA_FUNCTION_NAME", "orderflow-ship-order")
            .spawn()
            .unwrap();
        let stranger = std::process::Command::new("sleep").arg("60").spawn();
        let mut stranger = stranger.unwrap();
        let find = || all(std::process::id(), "orderflow").into_iter().find(|victim| victim.pid == function.id());
        // Its environment shows once it has become `sleep`.
        let victim = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            find()
        });
        let victim = victim.unwrap();
        assert_eq!(victim.function, "ship-order");
        let all = all(std::process::id(), "orderflow");
        assert!(all.iter().all(|victim| victim.pid != stranger.id()));
        assert_eq!(super::all(0, "orderflow"), [], "where there is no ministack, nobody is a victim");
        assert!(kill(&victim));
        assert!(!function.wait().unwrap().success());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
