//! Every write to the row, each one conditional on the epoch that its writer read.

use std::collections::BTreeMap;

use super::State;
use super::events::Cause;
use super::limits::{Counts, Wait};
use super::manual::Manual;
use super::row::{self, Row};
use crate::ports::store::{Item, Value, Write, number, text};

/// Collects one update. Placeholders are the attributes' own names, since some of them are words of DynamoDB's.
pub(crate) struct Draft {
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    conditions: Vec<String>,
    write: Write,
}

impl Draft {
    /// A write by whoever asks for nothing.
    pub(crate) fn of(table: &str, key: Item) -> Self {
        let none = Vec::new;
        let write = Write::update(table, key, "");
        Self { sets: none(), removes: none(), adds: none(), conditions: none(), write }
    }

    /// A write by whoever read `row`: refused once anybody changed it.
    fn on(table: &str, row: &Row) -> Self {
        let mut draft = Self::of(table, Row::key(&row.dependency));
        let epoch = draft.name("epoch");
        if row.epoch == 0 {
            draft.conditions.push(format!("attribute_not_exists({epoch})"));
        } else {
            let was = draft.value(number(row.epoch));
            draft.conditions.push(format!("{epoch} = {was}"));
        }
        draft
    }

    fn name(&mut self, attribute: &str) -> String {
        let placeholder = format!("#{attribute}");
        self.write.names.insert(placeholder.clone(), attribute.to_owned());
        placeholder
    }

    fn value(&mut self, value: Value) -> String {
        let placeholder = format!(":v{}", self.write.values.len());
        self.write.values.insert(placeholder.clone(), value);
        placeholder
    }

    pub(crate) fn set(mut self, attribute: &str, value: Value) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.sets.push(format!("{name} = {value}"));
        self
    }

    pub(crate) fn remove(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.removes.push(name);
        self
    }

    pub(crate) fn add(mut self, attribute: &str, value: i64) -> Self {
        let (name, value) = (self.name(attribute), self.value(number(value)));
        self.adds.push(format!("{name} {value}"));
        self
    }

    fn when(mut self, attribute: &str, compare: &str, value: Value) -> Self {
        let (name, value) = (self.name(attribute), self.value(value));
        self.conditions.push(format!("{name} {compare} {value}"));
        self
    }

    fn when_absent(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_not_exists({name})"));
        self
    }

    fn when_there(mut self, attribute: &str) -> Self {
        let name = self.name(attribute);
        self.conditions.push(format!("attribute_exists({name})"));
        self
    }

    pub(crate) fn done(self) -> Write {
        let clauses = [("SET", &self.sets), ("REMOVE", &self.removes), ("ADD", &self.adds)];
        let clauses = clauses.iter().filter(|(_, parts)| !parts.is_empty());
        let expression: Vec<String> = clauses.map(|(word, parts)| format!("{word} {}", parts.join(", "))).collect();
        let mut write = self.write;
        if let crate::ports::store::Action::Update { expression: empty, .. } = &mut write.action {
            *empty = expression.join(" ").into();
        }
        write.condition = (!self.conditions.is_empty()).then(|| self.conditions.join(" AND ").into());
        write
    }
}

/// Who writes, when, and the token by which it knows its write again.
#[derive(Clone, Debug)]
pub(super) struct Pen<'a> {
    pub table: &'a str,
    pub token: &'a str,
    pub now_ms: u64,
}

impl Pen<'_> {
    /// A new state in a new epoch: what belonged to the old one goes, buckets and leases included.
    fn turn(&self, row: &Row, state: State, cause: &Cause) -> Draft {
        let epoch = row.epoch + 1;
        let mut draft = Draft::on(self.table, row)
            .set("state", text(state.name()))
            .set("epoch", number(epoch))
            .set("changed_at", number(self.now_ms))
            .set("cause", text(cause.to_string()))
            .set("by", text(self.token));
        for name in row.spent_leases(epoch).chain(row.swept(epoch, self.now_ms)) {
            draft = draft.remove(&name);
        }
        draft
    }

    fn automatic(&self, row: &Row, state: State, cause: &Cause) -> Draft {
        self.turn(row, state, cause).remove("who").remove("reason").remove("forced")
    }

    fn no_probes(draft: Draft) -> Draft {
        draft.remove("probes").remove("probes_left").remove("probes_ok")
    }

    /// The wait that the next one grows from; 0 where it begins anew, as it has been closed for a calm time.
    fn last_wait_ms(&self, row: &Row, wait: &Wait) -> u64 {
        let closed_ms = self.now_ms.saturating_sub(row.changed_at_ms);
        if row.state == State::Closed && closed_ms >= wait.calm_ms { 0 } else { row.wait_ms }
    }

    fn opened(&self, draft: Draft, row: &Row, wait_ms: u64) -> Draft {
        let draft = draft.set("opened_at", number(self.now_ms)).set("wait", number(wait_ms));
        Self::no_probes(self.down(draft, row, wait_ms))
    }

    /// Of a row that was closed: since when it is not, and the wait that it began with.
    fn down(&self, draft: Draft, row: &Row, wait_ms: u64) -> Draft {
        if row.state == State::Closed {
            draft.set("down_since", number(self.now_ms)).set("opening_wait", number(wait_ms))
        } else {
            draft
        }
    }

    fn closed(draft: Draft) -> Draft {
        Self::no_probes(draft.remove("opened_at").remove("down_since").remove("opening_wait"))
    }

    /// Closed or half-open to open, or open to open once more: the next wait.
    pub fn open(&self, row: &Row, wait: &Wait, cause: &Cause) -> Write {
        self.opened(self.automatic(row, State::Open, cause), row, wait.after(self.last_wait_ms(row, wait))).done()
    }

    /// Probes went well. Whether that lasts is not known yet, so the wait of this opening stays on the row; what failed probes
    /// added to it goes, as one long outage is no sign of the next one.
    pub fn close(&self, row: &Row, cause: &Cause) -> Write {
        let draft = self.automatic(row, State::Closed, cause);
        let draft = if row.opening_wait_ms > 0 { draft.set("wait", number(row.opening_wait_ms)) } else { draft };
        Self::closed(draft).done()
    }

    /// A round of probes whose first is ours until `lease_ms`.
    pub fn begin_round(&self, row: &Row, probes: u32, lease_ms: u64, cause: &Cause) -> Write {
        self.automatic(row, State::HalfOpen, cause)
            .set("probes", number(probes))
            .set("probes_left", number(probes.saturating_sub(1)))
            .set("probes_ok", number(0))
            .set(&row::lease(row.epoch + 1, self.token), number(lease_ms))
            .done()
    }

    /// A free slot of the round.
    pub fn take_slot(&self, row: &Row, lease_ms: u64) -> Write {
        let lease = row::lease(row.epoch, self.token);
        Draft::on(self.table, row)
            .set(&lease, number(lease_ms))
            .add("probes_left", -1)
            .when("probes_left", ">", number(0))
            .when_absent(&lease)
            .done()
    }

    /// The slot of a prober whose lease is over.
    pub fn take_over(&self, row: &Row, dead: &str, dead_until_ms: u64, lease_ms: u64) -> Write {
        let dead = row::lease(row.epoch, dead);
        Draft::on(self.table, row)
            .set(&row::lease(row.epoch, self.token), number(lease_ms))
            .remove(&dead)
            .when(&dead, "=", number(dead_until_ms))
            .done()
    }

    /// Our probe succeeded.
    pub fn probe_ok(&self, row: &Row) -> Write {
        let lease = row::lease(row.epoch, self.token);
        Draft::on(self.table, row).add("probes_ok", 1).remove(&lease).when_there(&lease).done()
    }

    /// Our probe says nothing: its slot is free again.
    pub fn give_back(&self, row: &Row) -> Write {
        let lease = row::lease(row.epoch, self.token);
        Draft::on(self.table, row).add("probes_left", 1).remove(&lease).when_there(&lease).done()
    }

    /// Our probe failed: open again, if the probe is still ours. `probe` is its token.
    pub fn probe_failed(&self, row: &Row, probe: &str, wait: &Wait) -> Write {
        let lease = row::lease(row.epoch, probe);
        let draft = self.automatic(row, State::Open, &Cause::ProbeFailed);
        // The row at hand may be older than the lease.
        let known = row.probes_taken().any(|(token, _)| token == probe);
        let draft = if known { draft } else { draft.remove(&lease) };
        self.opened(draft, row, wait.after(self.last_wait_ms(row, wait))).when_there(&lease).done()
    }

    /// A probe apart succeeded, and more have to.
    pub fn probe_apart_ok(&self, row: &Row, probes: u32) -> Write {
        self.automatic(row, State::HalfOpen, &Cause::ProbesSucceeded)
            .set("probes", number(probes))
            .set("probes_left", number(0))
            .set("probes_ok", number(row.probes_ok + 1))
            .done()
    }

    /// A probe apart is ours, unless another one was claimed less than `every_ms` ago. A time ahead of ours is a broken
    /// clock's: nobody waits for it.
    pub fn claim_probe(&self, row: &Row, every_ms: u64) -> Write {
        let mut draft =
            Draft::on(self.table, row).set("probed_at", number(self.now_ms)).set("prober", text(self.token));
        let name = draft.name("probed_at");
        let (before, after) = (number(self.now_ms.saturating_sub(every_ms)), number(self.now_ms));
        let (before, after) = (draft.value(before), draft.value(after));
        draft.conditions.push(format!("(attribute_not_exists({name}) OR {name} <= {before} OR {name} > {after})"));
        draft.done()
    }

    /// Somebody's word. Opened by hand, it waits the first wait; closed by hand, the next one is the first.
    pub fn manual(&self, row: &Row, state: State, manual: &Manual, wait: &Wait, probes: u32) -> Write {
        let cause = Cause::Manual { who: manual.who.clone(), reason: manual.reason.clone() };
        let act = serde_json::json!({
            "at_ms": self.now_ms, "who": manual.who, "reason": manual.reason, "state": state.name(), "forced": manual.forced,
        });
        let mut draft = self.turn(row, state, &cause).set(&row::act(row.epoch + 1), text(act.to_string()));
        for old in row.old_acts() {
            draft = draft.remove(&old);
        }
        let draft = draft
            .set("who", text(manual.who.as_str()))
            .set("reason", text(manual.reason.as_str()))
            .set("forced", Value::Bool(manual.forced));
        match state {
            State::Closed => Self::closed(draft.remove("wait")),
            State::Open if row.state == State::Closed => self.opened(draft, row, wait.first_ms),
            State::Open => self.opened(draft, row, wait.first_ms).set("opening_wait", number(wait.first_ms)),
            State::HalfOpen => {
                let last_wait_ms = self.last_wait_ms(row, wait);
                let wait_ms = if last_wait_ms == 0 { wait.first_ms } else { last_wait_ms };
                let opened_at_ms = if row.state == State::Closed { self.now_ms } else { row.opened_at_ms };
                self.down(draft, row, wait_ms)
                    .set("opened_at", number(opened_at_ms))
                    .set("wait", number(wait_ms))
                    .set("probes", number(probes))
                    .set("probes_left", number(probes))
                    .set("probes_ok", number(0))
            }
        }
        .done()
    }

    /// Counts, each to its own bucket; the write is known again by the lane's token.
    pub fn flush(&self, row: &Row, lane: &str, counts: &BTreeMap<u64, Counts>) -> Write {
        let mut draft = Draft::on(self.table, row);
        let name = draft.name(lane);
        let token = draft.value(text(self.token));
        draft.conditions.push(format!("(attribute_not_exists({name}) OR {name} <> {token})"));
        draft.sets.push(format!("{name} = {token}"));
        for (slot, counts) in counts {
            for (part, count) in row::PARTS.into_iter().zip([counts.calls, counts.failures, counts.slow]) {
                if count > 0 {
                    draft = draft.add(&row::bucket(row.epoch, *slot, part), i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
        }
        for name in row.swept(row.epoch, self.now_ms) {
            draft = draft.remove(&name);
        }
        draft.done()
    }
}
