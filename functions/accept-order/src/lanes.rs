//! Which lanes take no new orders for the moment.

use std::collections::BTreeMap;
use std::time::Duration;

use lambda_queue::meter;
use order::Lane;
use ports::{Clock, Deadlines, Random, ReadLanes, Shed};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a process goes by what it has read, milliseconds.
const CACHE_MS: u64 = 2_000;
/// Longest wait for the table, milliseconds: an order is not held up by what may turn it away.
const PATIENCE_MS: u64 = 300;
/// Longest `Retry-After`, seconds, before its jitter: by then much may have changed.
const LONGEST_S: u64 = 300;

/// Lanes whose deadline cannot be met, as their consumers told lately. By whatever cannot be read nobody is turned away.
#[derive(Debug)]
pub struct Lanes {
    deadlines: Deadlines,
    /// One reader at a time: the others want what it reads.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    read_at_ms: Option<u64>,
    /// The lanes that are shed, and on whose account.
    shed: BTreeMap<Lane, Shed>,
}

/// A new order is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    /// Its lane.
    pub lane: Lane,
    /// The lane that is late: the same, or one above.
    pub late: Lane,
    /// The next better lane that takes orders, of those that the token allows.
    pub better: Option<Lane>,
    /// When to come back, seconds from now.
    pub wait_s: u64,
}

impl Lanes {
    /// By these deadlines.
    pub fn new(deadlines: Deadlines) -> Self {
        Self { deadlines, known: Mutex::default() }
    }

    /// Whether a new order of this lane is to be turned away: until the estimate is below, with a quarter more at most, so that
    /// not all come back at once. Better lanes are looked for up to `max_lane`. At most one read in two seconds a process.
    pub async fn shed(&self, ports: &(impl ReadLanes + Clock + Random), lane: Lane, max_lane: Lane) -> Option<Full> {
        if self.deadlines == Deadlines::NONE {
            return None;
        }
        let (Shed { late, over_ms }, better) = {
            let mut known = self.known.lock().await;
            let now_ms = ports.now_ms();
            if known.read_at_ms.is_none_or(|read_at_ms| now_ms.abs_diff(read_at_ms) >= CACHE_MS) {
                let shed = self.read(ports).await;
                if shed.keys().ne(known.shed.keys()) {
                    let lanes: Vec<&str> = shed.keys().map(|lane| lane.name()).collect();
                    tracing::warn!(lanes = lanes.join(" "), "lanes that take no new orders");
                }
                *known = Known { read_at_ms: Some(now_ms), shed };
            }
            let shed = *known.shed.get(&lane)?;
            let is_open = |other: &Lane| *other > lane && *other <= max_lane && !known.shed.contains_key(other);
            (shed, Lane::ALL.into_iter().filter(is_open).min())
        };
        let wait_s = over_ms.div_ceil(1_000).clamp(1, LONGEST_S);
        Some(Full { lane, late, better, wait_s: wait_s + ports.below(wait_s / 4 + 1) })
    }

    async fn read(&self, ports: &(impl ReadLanes + Clock)) -> BTreeMap<Lane, Shed> {
        let read = timeout(Duration::from_millis(PATIENCE_MS), ports.read_lanes());
        let why = match meter::apart("lanes", read).await {
            Ok(Ok(rows)) => {
                let now_ms = ports.now_ms();
                return self.deadlines.shed(|lane| rows.estimate(lane, now_ms).wait_ms);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(why, "how late the lanes are cannot be read: all are open");
        BTreeMap::new()
    }
}
