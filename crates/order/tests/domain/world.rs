//! A small world around one order: a payment provider, a carrier, a stock, the effect records, and workers that read,
//! call and commit in steps of their own, so that any of them may be overtaken, repeated, or die between two steps.
//! Only what could have happened reaches `transition`; a [`Violation`] is a rule of DESIGN.md broken.

use std::collections::{BTreeMap, BTreeSet};

use order::{Capture, Command, Next, Order, Outcome, ReasonCode, State, transition};

use crate::fixtures::{CREATED_AT, TOTAL_MINOR, name, outcome, parked, payment, placed, reason, refund_requested, usd};

/// What was broken.
pub type Violation = String;

/// How a worker's next step goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// As one would wish.
    Good,
    /// The business says no, where it can.
    Bad,
    /// As one would wish, but the answer is lost.
    GoodLost,
    /// The business says no, and the answer is lost.
    BadLost,
    /// The worker dies before its call.
    Crash,
    /// As one would wish, but so slowly that the lease ends: another may look the effect up and tell it first.
    Overrun,
    /// The worker gives up and parks the order.
    GiveUp,
}

/// What the world does next. Numbers pick among what is there.
#[derive(Clone, Debug)]
pub enum Move {
    /// A queue delivers a message that was sent at any time, perhaps not for the first time.
    Deliver(usize),
    /// A worker does its next step.
    Step(usize, Luck),
    /// The customer asks to cancel.
    Cancel,
    /// Somebody asks for so much back, under one of a few keys.
    Refund(u64, u8),
    /// An operator lets a parked order go on.
    Resume,
    /// An operator gives a parked order up.
    Abandon,
    /// The hold expires at the provider.
    Expire,
    /// A fact that the row has already is told again.
    Repeat(usize),
    /// The message of the present version is delivered, for the first time or sent again by recovery.
    DeliverOwed,
}

/// An effect outside the database: its command and, for refunds, the ordinal.
type Effect = (Command, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Leased { worker: u64 },
    InDoubt,
    Completed,
    Skipped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Never,
    Held,
    Captured,
    Voided,
    Expired,
}

/// A worker between two of its steps.
#[derive(Debug)]
struct Worker {
    id: u64,
    command: Command,
    effect: Option<Effect>,
    /// The row as it read it last.
    read: Order,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Read,
    Leased,
    Commit(Outcome),
}

/// The world.
pub struct World {
    pub row: Order,
    /// Every change that was seen: from, by, to.
    pub seen: BTreeSet<(State, &'static str, State)>,
    /// Whether a skip leaves a record that keeps the effect from starting afterwards.
    fenced: bool,
    clock_ms: u64,
    sent: Vec<(Command, u64)>,
    workers: Vec<Worker>,
    hired: u64,
    records: BTreeMap<Effect, Record>,
    provider: BTreeMap<Effect, Outcome>,
    hold: Hold,
    shipments: u32,
    refunds: BTreeMap<usize, u64>,
    stock_taken: bool,
    facts: Vec<Outcome>,
}

fn ensure(holds: bool, rule: impl Into<String>) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(rule.into()) }
}

impl World {
    pub fn new(fenced: bool) -> Self {
        let row = placed();
        Self {
            sent: row.next_command().map(|command| (command, row.version)).into_iter().collect(),
            row,
            seen: BTreeSet::new(),
            fenced,
            clock_ms: CREATED_AT,
            workers: Vec::new(),
            hired: 0,
            records: BTreeMap::new(),
            provider: BTreeMap::new(),
            hold: Hold::Never,
            shipments: 0,
            refunds: BTreeMap::new(),
            stock_taken: false,
            facts: Vec::new(),
        }
    }

    pub fn act(&mut self, next: &Move) -> Result<(), Violation> {
        self.clock_ms += 7;
        match next {
            Move::Deliver(message) => self.deliver(self.sent[message % self.sent.len()]),
            Move::Step(_, _) if self.workers.is_empty() => {}
            Move::Step(worker, luck) => self.step(worker % self.workers.len(), *luck)?,
            Move::Cancel => {
                self.apply(&Outcome::CancelRequested)?;
            }
            Move::Refund(amount_minor, key) => {
                self.apply(&refund_requested(*amount_minor, &format!("key {key}")))?;
            }
            Move::Resume => {
                self.apply(&Outcome::Resumed)?;
            }
            Move::Abandon => {
                self.apply(&Outcome::Abandoned)?;
            }
            Move::Expire if self.hold == Hold::Held => self.hold = Hold::Expired,
            Move::Expire => {}
            Move::Repeat(_) if self.facts.is_empty() => {}
            Move::Repeat(fact) => {
                let fact = self.facts[fact % self.facts.len()].clone();
                let again = transition(&self.row, &fact, self.clock_ms).map_err(|bug| bug.to_string())?;
                ensure(again == Next::Absorbed, format!("{} counted twice at {}", name(&fact), self.row.state))?;
            }
            Move::DeliverOwed => self.deliver_owed(),
        }
        Ok(())
    }

    /// Lets everybody finish and follows what is owed, all going well, until nothing is. Then judges the end.
    pub fn drain(&mut self) -> Result<(), Violation> {
        for _ in 0..400 {
            if !self.workers.is_empty() {
                self.act(&Move::Step(0, Luck::Good))?;
            } else if self.row.parked.is_some() {
                self.act(&Move::Resume)?;
            } else if self.row.next_command().is_some() {
                self.deliver_owed();
            } else {
                return self.judge_end();
            }
        }
        Err(format!("{} has no way to an end", self.row.state))
    }

    pub fn deliver_owed(&mut self) {
        if let Some(command) = self.row.next_command() {
            self.deliver((command, self.row.version));
        }
    }

    pub fn has_workers(&self) -> bool {
        !self.workers.is_empty()
    }

    /// A handler acts if the row is at the message's version.
    fn deliver(&mut self, (command, version): (Command, u64)) {
        if version != self.row.version || self.row.next_command() != Some(command) {
            return;
        }
        let effect = match command {
            Command::ValidateOrder | Command::ReserveStock | Command::ReleaseStock => None,
            Command::AuthorizePayment | Command::CapturePayment | Command::CreateShipment | Command::VoidPayment => {
                Some((command, 0))
            }
            Command::RefundPayment => self.row.pending_refund().map(|(ordinal, _)| (command, ordinal)),
        };
        self.hired += 1;
        let worker = Worker { id: self.hired, command, effect, read: self.row.clone(), stage: Stage::Read };
        self.workers.push(worker);
    }

    fn step(&mut self, at: usize, luck: Luck) -> Result<(), Violation> {
        let worker = self.workers.remove(at);
        let left = match worker.stage {
            Stage::Read => self.begin(worker, luck),
            Stage::Leased => self.call(worker, luck)?,
            Stage::Commit(_) => self.commit(worker)?,
        };
        self.workers.extend(left);
        Ok(())
    }

    fn begin(&mut self, mut worker: Worker, luck: Luck) -> Option<Worker> {
        let cancel = worker.read.cancel_requested;
        let bad = matches!(luck, Luck::Bad | Luck::BadLost);
        let Some(effect) = worker.effect else {
            let undoes = worker.command == Command::ReleaseStock;
            let validates = worker.command == Command::ValidateOrder;
            worker.stage = Stage::Commit(match (undoes, validates, bad) {
                (true, _, _) => Outcome::Released,
                // A step may find out that there is nothing to do for it before or after it looked at the wish to cancel.
                (false, _, false) if cancel && luck == Luck::Good => Outcome::Skipped,
                (false, true, true) => outcome("invalid"),
                (false, true, false) => outcome("valid"),
                (false, false, true) => outcome("out_of_stock"),
                (false, false, false) => Outcome::Reserved,
            });
            return Some(worker);
        };
        let payments = |(command, _): &Effect| command.step() == order::Step::Payment;
        let overlaps = self.records.iter().any(|(other, record)| {
            matches!(record, Record::Leased { .. }) && (*other == effect || (payments(other) && payments(&effect)))
        });
        let forward =
            matches!(worker.command, Command::AuthorizePayment | Command::CapturePayment | Command::CreateShipment);
        match self.records.get(&effect) {
            Some(Record::Completed | Record::Skipped) => return None,
            _ if overlaps => return None,
            None if cancel && forward => worker.stage = Stage::Commit(Outcome::Skipped),
            // In doubt: looked up first. What is found is adopted, else the same key is used again.
            Some(Record::InDoubt) | None => {
                worker.stage = match self.provider.get(&effect) {
                    Some(found) => Stage::Commit(found.clone()),
                    None => Stage::Leased,
                };
                self.records.insert(effect, Record::Leased { worker: worker.id });
            }
            Some(Record::Leased { .. }) => return None,
        }
        Some(worker)
    }

    fn call(&mut self, mut worker: Worker, luck: Luck) -> Result<Option<Worker>, Violation> {
        let effect = worker.effect.ok_or("a lease is of an effect")?;
        match luck {
            Luck::Crash => {
                self.records.insert(effect, Record::InDoubt);
                Ok(None)
            }
            Luck::GiveUp => {
                self.records.insert(effect, Record::InDoubt);
                worker.stage = Stage::Commit(parked());
                Ok(Some(worker))
            }
            Luck::Good | Luck::Bad | Luck::GoodLost | Luck::BadLost | Luck::Overrun => {
                let answer = self.provide(effect, &worker.read, matches!(luck, Luck::Bad | Luck::BadLost))?;
                if matches!(luck, Luck::GoodLost | Luck::BadLost) {
                    self.records.insert(effect, Record::InDoubt);
                    return Ok(None);
                }
                if luck == Luck::Overrun {
                    self.records.insert(effect, Record::InDoubt);
                }
                worker.stage = Stage::Commit(answer);
                Ok(Some(worker))
            }
        }
    }

    /// The outside world: an effect happens once, and its key is answered the same ever after.
    fn provide(&mut self, effect: Effect, read: &Order, bad: bool) -> Result<Outcome, Violation> {
        if let Some(before) = self.provider.get(&effect) {
            return Ok(before.clone());
        }
        let (command, ordinal) = effect;
        let answer = match command {
            Command::AuthorizePayment if bad => outcome("declined"),
            Command::AuthorizePayment => {
                ensure(self.hold == Hold::Never, "I6: a second hold")?;
                self.hold = Hold::Held;
                Outcome::Authorized(payment("pi_1"))
            }
            Command::CapturePayment => {
                ensure(self.hold != Hold::Captured, "I3: a second capture")?;
                ensure(self.hold != Hold::Voided, "a capture after the hold was given up")?;
                ensure(self.stock_taken, "a capture of what is not reserved")?;
                if bad || self.hold == Hold::Expired {
                    self.hold = Hold::Expired;
                    Outcome::CaptureRefused(reason(ReasonCode::CaptureRefused))
                } else {
                    self.hold = Hold::Captured;
                    Outcome::Captured(Capture { amount: usd(TOTAL_MINOR) })
                }
            }
            Command::CreateShipment if bad => outcome("undeliverable"),
            Command::CreateShipment => {
                ensure(self.hold == Hold::Captured && self.refunds.is_empty(), "I4: shipped, not captured")?;
                ensure(self.stock_taken, "I7: shipped from nowhere")?;
                self.shipments += 1;
                ensure(self.shipments == 1, "I5: shipped twice")?;
                outcome("shipment_created")
            }
            Command::VoidPayment => {
                ensure(self.hold != Hold::Captured, "what is captured was voided")?;
                if self.hold == Hold::Held {
                    self.hold = Hold::Voided;
                }
                Outcome::Voided
            }
            Command::RefundPayment => {
                let amount_minor = read.refunds.get(ordinal).map_or(0, |refund| refund.amount_minor);
                ensure(self.hold == Hold::Captured && amount_minor > 0, "a refund of nothing")?;
                self.refunds.insert(ordinal, amount_minor);
                ensure(self.refunds.values().sum::<u64>() <= TOTAL_MINOR, "I3: refunded more than was captured")?;
                Outcome::Refunded { ordinal, refund_id: format!("re_{ordinal}") }
            }
            Command::ValidateOrder | Command::ReserveStock | Command::ReleaseStock => {
                return Err("no effect outside".into());
            }
        };
        self.provider.insert(effect, answer.clone());
        Ok(answer)
    }

    /// One transaction over the row, the stock and the effect's record, conditional on the version that was read. The one
    /// that loses reads again, and tells its outcome to the row that it finds.
    fn commit(&mut self, mut worker: Worker) -> Result<Option<Worker>, Violation> {
        let Stage::Commit(outcome) = &worker.stage else { return Ok(None) };
        let outcome = outcome.clone();
        if worker.read.version != self.row.version {
            worker.read = self.row.clone();
            return Ok(Some(worker));
        }
        let skips = outcome == Outcome::Skipped;
        if self.fenced && skips && worker.effect.is_some_and(|effect| self.records.contains_key(&effect)) {
            return Ok(None); // It began meanwhile, so it is settled first.
        }
        let changed = self.apply(&outcome)?;
        if changed && outcome == Outcome::Reserved {
            self.stock_taken = true;
        } else if changed && outcome == Outcome::Released {
            self.stock_taken = false;
        }
        ensure(self.stock_taken == self.row.state.holds_stock(), format!("I7: stock at {}", self.row.state))?;
        if let Some(effect) = worker.effect {
            if skips && self.fenced {
                self.records.insert(effect, Record::Skipped);
            } else if !skips && self.records.get(&effect) == Some(&Record::Leased { worker: worker.id }) {
                self.records.insert(effect, Record::Completed);
            }
        }
        Ok(None)
    }

    /// Tells the row, and answers whether it changed.
    fn apply(&mut self, outcome: &Outcome) -> Result<bool, Violation> {
        let next = match transition(&self.row, outcome, self.clock_ms) {
            Ok(Next::Changed(next)) => *next,
            Ok(Next::Absorbed) => return Ok(false),
            Err(bug) => return Err(format!("a bug that is none: {bug}")),
        };
        let before = std::mem::replace(&mut self.row, next);
        judge_change(&before, &self.row, self.clock_ms)?;
        judge_receipts(&before, &self.row)?;
        self.seen.insert((before.state, name(outcome), self.row.state));
        if !matches!(outcome, Outcome::Parked(_) | Outcome::Resumed | Outcome::Abandoned) {
            self.facts.push(outcome.clone());
        }
        self.sent.extend(self.row.next_command().map(|command| (command, self.row.version)));
        Ok(true)
    }

    fn judge_end(&self) -> Result<(), Violation> {
        let back: u64 = self.refunds.values().sum();
        let done = self.row.refunds.iter().map(|refund| refund.amount_minor).collect::<Vec<_>>();
        ensure(done == self.refunds.values().copied().collect::<Vec<_>>(), "I3: refunds asked for are refunds done")?;
        match self.row.state {
            State::Shipped => {
                ensure(self.hold == Hold::Captured && self.shipments == 1, "I4: shipped and paid")?;
                ensure(self.stock_taken, "I7: what shipped is gone")
            }
            State::Rejected | State::Cancelled => {
                ensure(self.shipments == 0, "an undone order shipped")?;
                ensure(!self.stock_taken, "I7: stock of an undone order")?;
                ensure(self.hold != Hold::Held, "I6: an orphaned hold")?;
                ensure(self.hold != Hold::Captured || back == TOTAL_MINOR, "I6: money of an undone order")?;
                ensure(self.hold != Hold::Captured || self.row.state == State::Cancelled, "refunded, so cancelled")
            }
            State::Accepted
            | State::Validated
            | State::Authorized
            | State::Reserved
            | State::Paid
            | State::Releasing
            | State::Voiding
            | State::Refunding => Err(format!("I1: {} owes nothing and has not ended", self.row.state)),
        }
    }
}

/// What holds of every change of a row that came about, besides.
fn judge_receipts(before: &Order, after: &Order) -> Result<(), Violation> {
    ensure(before.payment.is_none() || after.payment == before.payment, "the hold's receipt stays")?;
    ensure(before.capture.is_none() || after.capture == before.capture, "the capture's receipt stays")?;
    ensure(before.shipment.is_none() || after.shipment == before.shipment, "the shipment's receipt stays")?;
    let captured = after.capture.as_ref().map_or(0, |capture| capture.amount.amount_minor);
    ensure(after.refunds_minor() <= captured, "I3: refunds never exceed the capture")
}

/// What holds of every change of any row, even of one that makes no sense.
pub fn judge_change(before: &Order, after: &Order, at_ms: u64) -> Result<(), Violation> {
    ensure(after.version == before.version + 1, "I8: version +1")?;
    ensure(after.timeline.len() == before.timeline.len() + 1, "one timeline entry a version")?;
    ensure(after.timeline.starts_with(&before.timeline), "the timeline is only added to")?;
    let last = after.last_event().ok_or("a timeline")?;
    ensure((last.version, last.at_ms) == (after.version, at_ms), "the entry is of this version and time")?;
    ensure(after.due_at.is_some() == after.next_command().is_some(), "due exactly while a command is owed")?;
    ensure(after.due_at.is_none_or(|due_at| due_at >= at_ms), "due later than now")?;
    ensure(after.nudges == 0, "a new version is not nudged yet")?;
    ensure(after.parked.is_none() || after.next_command().is_none(), "parked owes nothing")?;
    ensure(!before.state.is_terminal() || after.state == before.state, "I8: terminal absorbs")?;
    let same = |row: &Order| {
        let lines: Vec<_> = row.lines.iter().map(|line| (line.sku.clone(), line.quantity)).collect();
        (
            row.order_id,
            row.tenant.clone(),
            row.customer.clone(),
            row.lane,
            row.fingerprint.clone(),
            row.created_at,
            lines,
        )
    };
    ensure(same(before) == same(after), "what was asked for stays")
}
