//! The row of a dependency, as it lies in the table. Others read it: `control-breakers`, an operator's tool.

use std::collections::BTreeMap;

use super::limits::Counts;
use super::{MOST_PROBES, State};
use crate::ports::store::{Item, StoreError, Value, number_of, text, text_of};

/// Width of a bucket, milliseconds. The same for everybody who shares a row, so it is no setting.
pub const BUCKET_MS: u64 = 5_000;
/// Most buckets that are judged together: 30 s.
pub const BUCKETS: u64 = 6;

/// The table's key.
pub(super) const KEY: &str = "dependency";
const LEASE: &str = "lease_";
const BUCKET: &str = "bucket_";
const ACT: &str = "act_";

/// A dependency's breaker, as the table has it. Attributes of the item, all of them optional but the key:
///
/// | attribute | type | holds |
/// | --- | --- | --- |
/// | `dependency` | S | the key |
/// | `state` | S | `closed`, `open`, `half_open`; absent: closed |
/// | `epoch` | N | +1 with every change; absent: 0 |
/// | `forced` | BOOL | true: nothing automatic changes the row |
/// | `opened_at` | N | when it last opened, UTC milliseconds; absent while closed |
/// | `down_since` | N | when it was last closed and opened, UTC milliseconds: unlike `opened_at` it stays over failed probes; absent while closed |
/// | `wait` | N | from `opened_at` to the first probe, milliseconds; while closed the last one, which the next grows from; absent: none |
/// | `opening_wait` | N | the `wait` that it had when it was closed and opened, before failed probes made that longer, milliseconds: what stays as `wait` once probes close it; absent while closed |
/// | `changed_at` | N | of the last change, UTC milliseconds |
/// | `cause` | S | of the last change, for people |
/// | `who`, `reason` | S | of the last manual change; absent once something automatic followed |
/// | `by` | S | token of the last write of state: how a writer knows its own write again |
/// | `probes` | N | probes of this round that have to succeed; only while half-open |
/// | `probes_left` | N | of these, not yet taken |
/// | `probes_ok` | N | of these, succeeded |
/// | `lease_<epoch>_<token>` | N | one a probe under way: when its slot comes back, UTC milliseconds |
/// | `bucket_<epoch>_<slot>_calls`, `_failures`, `_slow` | N | counts of 5 s: `slot` is UTC milliseconds / 5,000 |
/// | `probed_at` | N | when somebody last claimed a probe apart, UTC milliseconds |
/// | `prober` | S | token of that claim |
/// | `act_<epoch>` | S | the act by hand that made this epoch, for people: JSON of `at_ms`, `who`, `reason`, `state`, `forced`; the last ten |
/// | `flush_<0..7>` | S | token of the last counts added by a process of this lane: how it knows its own write again |
///
/// Attributes that a reader does not know mean nothing to it: newer versions may add some.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Row {
    /// The dependency.
    pub dependency: String,
    /// `state`.
    pub state: State,
    /// `epoch`.
    pub epoch: u64,
    /// `forced`.
    pub forced: bool,
    /// `opened_at`.
    pub opened_at_ms: u64,
    /// `down_since`; 0 while closed, and where a program of before opened it.
    pub down_since_ms: u64,
    /// `wait`.
    pub wait_ms: u64,
    /// `opening_wait`; 0 while closed, and where a program of before opened it.
    pub opening_wait_ms: u64,
    /// `changed_at`.
    pub changed_at_ms: u64,
    /// `cause`.
    pub cause: Option<String>,
    /// `who`.
    pub who: Option<String>,
    /// `reason`.
    pub reason: Option<String>,
    /// `by`.
    pub by: Option<String>,
    /// `probes`.
    pub probes: u64,
    /// `probes_left`.
    pub probes_left: u64,
    /// `probes_ok`.
    pub probes_ok: u64,
    /// `lease_<epoch>_<token>`: epoch and token, and end.
    pub leases: BTreeMap<(u64, String), u64>,
    /// `bucket_<epoch>_<slot>_...`: by epoch and slot.
    pub buckets: BTreeMap<(u64, u64), Counts>,
    /// `probed_at`; 0: never.
    pub probed_at_ms: u64,
    /// `prober`.
    pub(super) prober: Option<String>,
    /// `act_<epoch>`: by epoch, as they are.
    pub acts: BTreeMap<u64, String>,
    /// `flush_<lane>`.
    pub(super) flushes: BTreeMap<String, String>,
}

impl Row {
    /// The row of a dependency that has none: closed, in epoch 0.
    pub fn absent(dependency: &str) -> Self {
        Self { dependency: dependency.to_owned(), ..Self::default() }
    }

    /// The key of a dependency's row.
    pub fn key(dependency: &str) -> Item {
        Item::from([(KEY.to_owned(), text(dependency))])
    }

    /// The key of an item of the table.
    pub fn dependency_of(item: &Item) -> Option<&str> {
        text_of(item, KEY)
    }

    /// Reads an item.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] for a state that this program does not know, or a number that is none.
    pub fn from_item(dependency: &str, item: &Item) -> Result<Self, StoreError> {
        let unreadable = |name: &str| StoreError::Unreadable(format!("breaker {dependency}: {name}"));
        let number = |name: &str| match item.get(name) {
            None => Ok(0),
            Some(_) => number_of(item, name).ok_or_else(|| unreadable(name)),
        };
        let words = |name: &str| text_of(item, name).map(str::to_owned);
        let state = match item.get("state") {
            None => State::Closed,
            Some(_) => text_of(item, "state").and_then(State::from_name).ok_or_else(|| unreadable("state"))?,
        };
        let mut row = Self {
            dependency: dependency.to_owned(),
            state,
            epoch: number("epoch")?,
            forced: matches!(item.get("forced"), Some(Value::Bool(true))),
            opened_at_ms: number("opened_at")?,
            down_since_ms: number("down_since")?,
            wait_ms: number("wait")?,
            opening_wait_ms: number("opening_wait")?,
            changed_at_ms: number("changed_at")?,
            cause: words("cause"),
            who: words("who"),
            reason: words("reason"),
            by: words("by"),
            probes: number("probes")?,
            probes_left: number("probes_left")?,
            probes_ok: number("probes_ok")?,
            probed_at_ms: number("probed_at")?,
            prober: words("prober"),
            ..Self::default()
        };
        for name in item.keys() {
            if let Some((epoch, token)) = lease_of(name) {
                row.leases.insert((epoch, token.to_owned()), number(name)?);
            } else if let Some((epoch, slot, which)) = bucket_of(name) {
                let (counts, value) = (row.buckets.entry((epoch, slot)).or_default(), number(name)?);
                match which {
                    "calls" => counts.calls = value,
                    "failures" => counts.failures = value,
                    _ => counts.slow = value,
                }
            } else if let Some(epoch) = act_of(name) {
                row.acts.extend(words(name).map(|act| (epoch, act)));
            } else if name.starts_with("flush_") {
                row.flushes.extend(words(name).map(|token| (name.clone(), token)));
            }
        }
        Ok(row)
    }

    /// When probes may begin, UTC milliseconds; 0 while closed.
    pub fn probes_from_ms(&self) -> u64 {
        if self.state == State::Closed { 0 } else { self.opened_at_ms.saturating_add(self.wait_ms) }
    }

    /// The counts of this epoch's last six buckets. A bucket of the next five seconds counts too: clocks differ.
    pub fn counts(&self, now_ms: u64) -> Counts {
        let slot = now_ms / BUCKET_MS;
        let range = (self.epoch, (slot + 1).saturating_sub(BUCKETS))..=(self.epoch, slot + 1);
        self.buckets.range(range).fold(Counts::default(), |mut sum, (_, counts)| {
            sum.plus(*counts);
            sum
        })
    }

    /// The counts of the newest bucket, of the newest two, and so on to those of [`Self::counts`].
    pub(super) fn newest(&self, now_ms: u64) -> impl Iterator<Item = Counts> {
        let slot = now_ms / BUCKET_MS;
        ((slot + 1).saturating_sub(BUCKETS)..=slot + 1).rev().scan(Counts::default(), |sum, slot| {
            sum.plus(self.buckets.get(&(self.epoch, slot)).copied().unwrap_or_default());
            Some(*sum)
        })
    }

    /// Probes of this round that are under way, or whose probers died: token and end of lease.
    pub fn probes_taken(&self) -> impl Iterator<Item = (&str, u64)> {
        let mine = self.leases.iter().filter(|((epoch, _), _)| *epoch == self.epoch);
        mine.map(|((_, token), until_ms)| (token.as_str(), *until_ms))
    }

    /// Whether all probes of the round succeeded, so that it may be closed. A row that somebody made half-open without
    /// saying how many it takes has no such round.
    pub(super) fn round_is_complete(&self) -> bool {
        self.state == State::HalfOpen && self.probes > 0 && self.probes_ok >= self.probes
    }

    /// Attributes of probes of other rounds than that of this epoch: their probers' results no longer count.
    pub(super) fn spent_leases(&self, epoch: u64) -> impl Iterator<Item = String> {
        let spent = self.leases.keys().filter(move |(of, _)| *of != epoch).take(MOST_PROBES as usize);
        spent.map(|(epoch, token)| lease(*epoch, token))
    }

    /// Attributes of acts by hand that make room for another one.
    pub(super) fn old_acts(&self) -> impl Iterator<Item = String> {
        let too_many = (self.acts.len() + 1).saturating_sub(MOST_ACTS);
        self.acts.keys().take(too_many).map(|epoch| act(*epoch))
    }

    /// Attributes of buckets that nobody judges any more: those of earlier epochs, and those twice as old (or as far in
    /// the future) as a window is long, since clocks differ. At most [`MOST_SWEPT`] buckets' at a time.
    pub(super) fn swept(&self, epoch: u64, now_ms: u64) -> Vec<String> {
        let slot = now_ms / BUCKET_MS;
        let live = slot.saturating_sub(2 * BUCKETS)..=slot + 2 * BUCKETS;
        let dead = |(of, slot): &&(u64, u64)| *of != epoch || !live.contains(slot);
        let dead = self.buckets.keys().filter(dead).take(MOST_SWEPT);
        dead.flat_map(|(epoch, slot)| PARTS.map(|part| bucket(*epoch, *slot, part))).collect()
    }
}

/// Buckets removed with one write, so that its expression stays under 4 KB.
pub(super) const MOST_SWEPT: usize = 12;

/// Acts by hand that stand on the row, so that it stays small.
pub(super) const MOST_ACTS: usize = 10;

/// What a bucket counts.
pub(super) const PARTS: [&str; 3] = ["calls", "failures", "slow"];

/// The name of a bucket's attribute.
pub(super) fn bucket(epoch: u64, slot: u64, part: &str) -> String {
    format!("{BUCKET}{epoch}_{slot}_{part}")
}

/// The name of a probe's attribute.
pub(super) fn lease(epoch: u64, token: &str) -> String {
    format!("{LEASE}{epoch}_{token}")
}

/// The name of the attribute of an act by hand.
pub(super) fn act(epoch: u64) -> String {
    format!("{ACT}{epoch}")
}

fn act_of(name: &str) -> Option<u64> {
    name.strip_prefix(ACT)?.parse().ok()
}

fn lease_of(name: &str) -> Option<(u64, &str)> {
    let (epoch, token) = name.strip_prefix(LEASE)?.split_once('_')?;
    Some((epoch.parse().ok()?, token))
}

fn bucket_of(name: &str) -> Option<(u64, u64, &str)> {
    let mut parts = name.strip_prefix(BUCKET)?.splitn(3, '_');
    let (epoch, slot, which) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    PARTS.contains(&which).then_some((epoch, slot, which))
}
