//! The file behind the ledger: effects and state changes, appended in groups and fsynced before any answer.
//!
//! One request's lines form a group; its last line carries `commit`, the state the request left behind. A group
//! without its commit line was never answered, so a start cuts it off: effect, state and stored answer stand or
//! fall together. A thread of its own takes whatever has gathered and writes it with one fsync, so a hundred
//! effects a second share a few dozen fsyncs.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ledger::LedgerEntry;
use crate::world::Commit;

/// The lines of one request.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) entries: Vec<LedgerEntry>,
    pub(crate) commit: Commit,
}

/// What a file says, and how much of it counts.
pub(crate) struct Replay {
    pub(crate) groups: Vec<Group>,
    /// Bytes up to and including the last commit line.
    pub(crate) committed_len: u64,
}

#[derive(Serialize)]
struct LineOut<'a> {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    entry: Option<&'a LedgerEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a Commit>,
}

/// The part of a line that says what the line is.
#[derive(Deserialize)]
struct Probe {
    effect: Option<serde::de::IgnoredAny>,
    commit: Option<Commit>,
}

/// Parses a journal. Only its end may be incomplete.
pub(crate) fn replay(bytes: &[u8]) -> anyhow::Result<Replay> {
    let mut replay = Replay { groups: Vec::new(), committed_len: 0 };
    let mut entries = Vec::new();
    let mut read_len = 0_u64;
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if line.last() != Some(&b'\n') {
            break;
        }
        read_len += line.len() as u64;
        let probe: Probe =
            serde_json::from_slice(line).with_context(|| format!("the ledger is damaged at line {}", index + 1))?;
        if probe.effect.is_some() {
            let entry: LedgerEntry =
                serde_json::from_slice(line).with_context(|| format!("the ledger is damaged at line {}", index + 1))?;
            entries.push(entry);
        }
        if let Some(commit) = probe.commit {
            replay.groups.push(Group { entries: std::mem::take(&mut entries), commit });
            replay.committed_len = read_len;
        }
    }
    Ok(replay)
}

/// How far the file has been made durable, or that it no longer can be.
#[derive(Debug, Clone, Copy)]
struct Progress {
    durable: u64,
    failed: bool,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Number of the last group handed in.
    last: u64,
    closing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Condvar,
}

/// Writer of the journal. Dropping it writes out what was handed in.
#[derive(Debug)]
pub(crate) struct Journal {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the file, cuts off what was never answered, and returns what the rest says.
    ///
    /// The file is locked: two sandboxes on one ledger would each miss the other's effects.
    pub(crate) fn open(path: &Path) -> anyhow::Result<(Self, Vec<Group>)> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("cannot open the ledger {}", path.display()))?;
        if let Err(error) = file.try_lock() {
            bail!("the ledger {} is in use by another sandbox: {error}", path.display());
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let replay = replay(&bytes)?;
        if replay.committed_len < bytes.len() as u64 {
            file.set_len(replay.committed_len)?;
        }
        file.seek(SeekFrom::Start(replay.committed_len))?;
        file.sync_all()?;
        sync_folder(path)?;

        let shared = Arc::new(Shared::default());
        let (tell, progress) = watch::channel(Progress { durable: 0, failed: false });
        let writer = std::thread::Builder::new().name("ledger".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || write_groups(&shared, &mut file, &tell)
        })?;
        Ok((Self { shared, progress, writer: Some(writer) }, replay.groups))
    }

    /// Hands in one group; returns its number, to wait for with [`Journal::durable`].
    pub(crate) fn append(&self, entries: &[LedgerEntry], commit: &Commit) -> serde_json::Result<u64> {
        let mut lines = Vec::with_capacity(2048);
        let (last, before) = match entries.split_last() {
            Some((last, before)) => (Some(last), before),
            None => (None, entries),
        };
        for entry in before {
            serde_json::to_writer(&mut lines, &LineOut { entry: Some(entry), commit: None })?;
            lines.push(b'\n');
        }
        serde_json::to_writer(&mut lines, &LineOut { entry: last, commit: Some(commit) })?;
        lines.push(b'\n');

        let mut pending = lock(&self.shared.pending);
        pending.bytes.extend_from_slice(&lines);
        pending.last += 1;
        let number = pending.last;
        drop(pending);
        self.shared.wake.notify_one();
        Ok(number)
    }

    /// Number of the last group handed in: whoever read the state has to wait for it before telling.
    pub(crate) fn last(&self) -> u64 {
        lock(&self.shared.pending).last
    }

    /// Waits until group `number` is on disk; false when the file cannot be written any more.
    pub(crate) async fn durable(&self, number: u64) -> bool {
        let mut progress = self.progress.clone();
        match progress.wait_for(|now| now.failed || now.durable >= number).await {
            Ok(now) => now.durable >= number,
            Err(_) => false,
        }
    }

    pub(crate) fn healthy(&self) -> bool {
        !self.progress.borrow().failed
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        lock(&self.shared.pending).closing = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the ledger's writer panicked");
        }
    }
}

fn write_groups(shared: &Shared, file: &mut File, tell: &watch::Sender<Progress>) {
    let mut batch = Vec::new();
    loop {
        let last = {
            let pending = lock(&shared.pending);
            let mut pending = shared
                .wake
                .wait_while(pending, |pending| pending.bytes.is_empty() && !pending.closing)
                .unwrap_or_else(PoisonError::into_inner);
            if pending.bytes.is_empty() {
                return;
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut pending.bytes);
            pending.last
        };
        if let Err(error) = file.write_all(&batch).and_then(|()| file.sync_data()) {
            // After a failed fsync nobody knows what the disk holds. Answering on would break the one promise.
            tracing::error!(%error, "the ledger cannot be written: every answer from here on is a failure");
            tell.send_modify(|progress| progress.failed = true);
            return;
        }
        tell.send_modify(|progress| progress.durable = last);
    }
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
