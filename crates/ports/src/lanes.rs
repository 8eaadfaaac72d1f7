//! Lanes: how late each one is, what a new order would wait, and whether it may still come.

use std::collections::BTreeMap;
use std::future::Future;

use lambda_queue::breaker::{self, State};
use lambda_queue::lag::{Row, Word};
use order::{Lane, Step};

use crate::{Dependency, StoreError};

/// Tells how late its queues are, through [`lambda_queue::lag::Teller`]. `breakers`: UpdateItem; the function's own queues:
/// GetQueueAttributes.
pub trait TellLanes {}

/// Reads what was told of the lanes. `breakers`: BatchGetItem.
pub trait ReadLanes {
    /// The rows that there are, eventually consistent.
    fn read_lanes(&self) -> impl Future<Output = Result<LaneRows, StoreError>> + Send;
}

/// For so long after its breaker's last change a step does not count, milliseconds. Its mapping is let through little by little
/// for up to 30 s, and that pace is in what a step told for half a minute and more.
pub const RECOVERS_MS: u64 = 90_000;

/// What was told of the lanes, and the breakers of those whom their steps call.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LaneRows {
    /// By lane.
    pub lanes: BTreeMap<Lane, Row>,
    /// Of the payment provider and the carrier; whose row there is not has never been open.
    pub breakers: BTreeMap<Dependency, breaker::Row>,
}

impl LaneRows {
    /// Estimates a lane.
    pub fn estimate(&self, lane: Lane, now_ms: u64) -> Estimate {
        self.lanes
            .get(&lane)
            .map_or_else(Estimate::default, |row| estimate(row, |step| !self.is_recovering(step, now_ms), now_ms))
    }

    /// How long what came to a lane's step had waited, milliseconds, where the step does not keep up: whatever was sent less long
    /// ago waits in its queue most likely. `None` where it keeps up, and where nobody told lately.
    pub fn late_by_ms(&self, lane: Lane, step: Step, now_ms: u64) -> Option<u64> {
        let word = self.lanes.get(&lane)?.steps.get(step.name())?;
        (word.is_fresh(now_ms) && word.is_late(now_ms)).then_some(word.lag_ms)
    }

    /// Whether whom the step calls is away, or has come back less than [`RECOVERS_MS`] ago.
    pub fn is_recovering(&self, step: Step, now_ms: u64) -> bool {
        let breaker = Dependency::of(step).and_then(|dependency| self.breakers.get(&dependency));
        breaker.is_some_and(|row| {
            let changed_ago_ms = now_ms.saturating_sub(row.changed_at_ms);
            row.state != State::Closed || row.changed_at_ms > 0 && changed_ago_ms < RECOVERS_MS
        })
    }
}

/// How often an order that goes well passes a step.
fn passes(step: Step) -> u64 {
    match step {
        Step::Payment => 2,
        Step::Validate | Step::Stock | Step::Shipping => 1,
    }
}

/// What a new order of a lane waits, by what its steps told.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Estimate {
    /// From acceptance to the last step's beginning, beyond what the work itself takes, milliseconds. 0 where nothing is
    /// known.
    pub wait_ms: u64,
    /// The steps that told lately, in the order in which an order meets them.
    pub steps: Vec<StepWait>,
}

/// A step's part in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepWait {
    /// Which.
    pub step: Step,
    /// What it waits for it: through the lag of one that keeps up, through what is ahead of one that is late (all steps before
    /// included), milliseconds. `None`: it is late, and how fast it goes is not known yet.
    pub wait_ms: Option<u64>,
}

/// Estimates a lane by its row. docs/adr/0014-overload.md has the formula and its reasons.
///
/// - Steps that keep up: the sum of their lags, each as often as an order passes.
/// - Steps that are late: the longest of ahead / rate, as steps work side by side, less the time since that was told. Ahead of a
///   step is what waits for it, and what waits before it and will come.
///
/// A word that is not fresh does not count, nor does one of a step that `counts` denies.
fn estimate(row: &Row, counts: impl Fn(Step) -> bool, now_ms: u64) -> Estimate {
    let fresh = |step: Step| row.steps.get(step.name()).filter(|word| word.is_fresh(now_ms) && counts(step));
    let depth = |step| fresh(step).filter(|word| word.is_late(now_ms)).and_then(|word| word.depth).unwrap_or(0);
    let [validate, payment, stock, shipping] = Step::ALL.map(depth);
    let ahead = |step| match step {
        Step::Validate => validate,
        // Whoever stands behind them stands there twice; what waits for stock comes back once.
        Step::Payment => 2 * (validate + payment) + stock,
        Step::Stock => validate + payment + stock,
        Step::Shipping => validate + payment + stock + shipping,
    };
    let wait = |step: Step, word: &Word| {
        if word.is_late(now_ms) {
            // It went on since, also where nobody told any more, as nothing was left.
            let since_ms = now_ms.saturating_sub(word.late_told_at_ms());
            word.capacity().map(|pace| pace.ms_for(ahead(step)).saturating_sub(since_ms))
        } else {
            Some(word.lag_ms.saturating_mul(passes(step)))
        }
    };
    let (mut keeping_up_ms, mut late_ms) = (0_u64, 0_u64);
    let mut steps = Vec::new();
    for step in Step::ALL {
        let Some(word) = fresh(step) else { continue };
        let wait_ms = wait(step, word);
        if word.is_late(now_ms) {
            late_ms = late_ms.max(wait_ms.unwrap_or(0));
        } else {
            keeping_up_ms = keeping_up_ms.saturating_add(wait_ms.unwrap_or(0));
        }
        steps.push(StepWait { step, wait_ms });
    }
    Estimate { wait_ms: keeping_up_ms.saturating_add(late_ms), steps }
}

/// Why a lane is shed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shed {
    /// The lane that is late: itself, or one above.
    pub late: Lane,
    /// By how much that is over its deadline, milliseconds.
    pub over_ms: u64,
}

/// How long an order of each lane may wait, milliseconds; 0: for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// Of express.
    pub express_ms: u64,
    /// Of standard.
    pub standard_ms: u64,
    /// Of bulk.
    pub bulk_ms: u64,
}

impl Deadlines {
    /// Nobody is ever turned away.
    pub const NONE: Self = Self { express_ms: 0, standard_ms: 0, bulk_ms: 0 };

    /// The lane's; `None`: it has none.
    pub fn of(&self, lane: Lane) -> Option<u64> {
        let deadline_ms = match lane {
            Lane::Express => self.express_ms,
            Lane::Standard => self.standard_ms,
            Lane::Bulk => self.bulk_ms,
        };
        (deadline_ms > 0).then_some(deadline_ms)
    }

    /// The lanes that are shed, and on whose account: those whose estimated wait (milliseconds) is over their deadline, and
    /// all below, unless they have no deadline. Of several that are late it is the one that will be for longest.
    pub fn shed(&self, wait_ms: impl Fn(Lane) -> u64) -> BTreeMap<Lane, Shed> {
        let mut shed = BTreeMap::new();
        let mut longest: Option<Shed> = None;
        // The most urgent first.
        for lane in Lane::ALL {
            let Some(deadline_ms) = self.of(lane) else { continue };
            let over_ms = wait_ms(lane).saturating_sub(deadline_ms);
            if over_ms > longest.map_or(0, |longest| longest.over_ms) {
                longest = Some(Shed { late: lane, over_ms });
            }
            shed.extend(longest.map(|longest| (lane, longest)));
        }
        shed
    }
}

#[cfg(test)]
mod tests {
    use lambda_queue::lag::{FOR_EVER_MS, SLOT_MS};

    use super::*;

    const NOW_MS: u64 = 2_000 * SLOT_MS;

    /// A step that does so many a second, and has been late for long.
    fn late(lag_ms: u64, depth: u64, per_second: u64) -> Word {
        let slot = NOW_MS / SLOT_MS;
        let done: BTreeMap<u64, u64> = (slot - 10..=slot).map(|slot| (slot, per_second * SLOT_MS / 1_000)).collect();
        Word { lag_ms, at_ms: NOW_MS, late_at_ms: NOW_MS, depth: Some(depth), late: done.clone(), done }
    }

    fn keeps_up(lag_ms: u64) -> Word {
        Word { lag_ms, at_ms: NOW_MS, ..Word::default() }
    }

    fn row(steps: &[(Step, Word)]) -> Row {
        Row { steps: steps.iter().map(|(step, word)| (step.name().to_owned(), word.clone())).collect() }
    }

    fn estimate(row: &Row, now_ms: u64) -> Estimate {
        let rows = LaneRows { lanes: BTreeMap::from([(Lane::Bulk, row.clone())]), ..LaneRows::default() };
        rows.estimate(Lane::Bulk, now_ms)
    }

    fn wait_ms(steps: &[(Step, Word)]) -> u64 {
        estimate(&row(steps), NOW_MS).wait_ms
    }

    #[test]
    fn a_lane_that_keeps_up_waits_what_its_steps_lag_payment_twice() {
        let steps = [
            (Step::Validate, keeps_up(100)),
            (Step::Payment, keeps_up(200)),
            (Step::Stock, keeps_up(300)),
            (Step::Shipping, keeps_up(400)),
        ];
        assert_eq!(wait_ms(&steps), 100 + 2 * 200 + 300 + 400);
        assert_eq!(wait_ms(&[]), 0, "nothing is known: nothing is feared");
        // An order a minute: its pace says nothing of what the step can do.
        let mut rare = keeps_up(1_900);
        rare.done.insert(NOW_MS / SLOT_MS, 1);
        assert_eq!(wait_ms(&[(Step::Stock, rare)]), 1_900);
    }

    #[test]
    fn behind_a_backlog_it_waits_for_the_slowest_step_with_all_that_will_come_to_it() {
        // 300 orders before validation, which does 30 a second.
        let validate = (Step::Validate, late(5_000, 300, 30));
        assert_eq!(wait_ms(std::slice::from_ref(&validate)), 10_000);
        // Payment does 20 a second, and each of the 300 comes to it twice, as do the 40 that wait there.
        let payment = (Step::Payment, late(3_000, 40, 20));
        assert_eq!(wait_ms(&[validate.clone(), payment.clone()]), (2 * 340) * 1_000 / 20);
        // Stock is quick, and hands on one capture for each of its 20.
        let stock = (Step::Stock, late(2_000, 20, 1_000));
        assert_eq!(wait_ms(&[validate.clone(), payment.clone(), stock.clone()]), (2 * 340 + 20) * 1_000 / 20);
        // The parcels are what takes longest: 2 a second for all that is anywhere. Lags of late steps are not added.
        let shipping = (Step::Shipping, late(600_000, 100, 2));
        assert_eq!(wait_ms(&[validate, payment, stock, shipping]), (300 + 40 + 20 + 100) * 1_000 / 2);
        // Those of the others are.
        assert_eq!(wait_ms(&[(Step::Validate, keeps_up(500)), (Step::Shipping, late(5_000, 10, 1))]), 10_500);
    }

    #[test]
    fn a_late_step_that_is_not_known_long_enough_or_has_an_empty_queue_turns_nobody_away() {
        let mut sudden = late(60_000, 5_000, 1);
        let now = NOW_MS / SLOT_MS;
        sudden.late.retain(|slot, _| *slot + 2 >= now);
        sudden.done.retain(|slot, _| *slot + 2 >= now);
        let estimated = estimate(&row(&[(Step::Payment, sudden)]), NOW_MS);
        assert_eq!(estimated, Estimate { wait_ms: 0, steps: vec![StepWait { step: Step::Payment, wait_ms: None }] });
        // The last of a backlog is as old as that was, and there is nothing behind it.
        assert_eq!(wait_ms(&[(Step::Payment, late(600_000, 0, 10))]), 0);
    }

    #[test]
    fn silence_after_a_late_word_makes_its_wait_no_longer() {
        // Payment does ten a second, and 160 wait for it: 32 s. Then the queue is empty, and nobody tells.
        let last = row(&[(Step::Payment, late(9_000, 160, 10))]);
        let waits = |after_ms| estimate(&last, NOW_MS + after_ms).wait_ms;
        assert_eq!([0, 2_000, 25_000, 30_000, 31_000].map(waits), [32_000, 30_000, 7_000, 2_000, 0]);
    }

    #[test]
    fn two_processes_of_which_one_is_late_do_not_open_and_shut_the_lane_in_turns() {
        let mut word = late(9_000, 1_600, 10);
        (word.lag_ms, word.at_ms) = (50, NOW_MS + 4_000);
        let last = row(&[(Step::Payment, word)]);
        let waits = |after_ms| estimate(&last, NOW_MS + after_ms).wait_ms;
        assert_eq!([4_000, 10_000].map(waits), [316_000, 310_000]);
        assert_eq!(waits(10_001), 100, "nobody says so any more");
    }

    #[test]
    fn a_step_at_a_standstill_takes_for_ever() {
        let mut stuck = late(9_000, 3, 0);
        assert_eq!(wait_ms(&[(Step::Stock, stuck.clone())]), FOR_EVER_MS);
        stuck.depth = Some(0);
        assert_eq!(wait_ms(&[(Step::Stock, stuck)]), 0, "nothing waits: the next one may go well");
    }

    #[test]
    fn a_single_late_record_after_half_a_minute_of_punctual_ones_turns_nobody_away() {
        let slot = NOW_MS / SLOT_MS;
        let mut word = keeps_up(3_000);
        word.depth = Some(2);
        word.late = BTreeMap::from([(slot - 8, 10), (slot - 2, 1)]);
        word.done = BTreeMap::from([(slot - 8, 10), (slot - 6, 50), (slot - 4, 50), (slot - 3, 50), (slot - 2, 1)]);
        assert_eq!(wait_ms(&[(Step::Payment, word)]), 0);
    }

    #[test]
    fn a_step_whose_provider_is_away_or_just_back_does_not_count() {
        let steps = row(&[(Step::Payment, late(600_000, 3_000, 2)), (Step::Stock, late(5_000, 50, 10))]);
        let mut rows = LaneRows { lanes: BTreeMap::from([(Lane::Bulk, steps)]), ..LaneRows::default() };
        let waits = |rows: &LaneRows| rows.estimate(Lane::Bulk, NOW_MS).wait_ms;
        assert_eq!(waits(&rows), (2 * 3_000 + 50) * 1_000 / 2, "it was never away");
        for (state, closed_ago_ms, counts) in [
            (State::Open, 600_000, false),
            (State::HalfOpen, 600_000, false),
            (State::Closed, 0, false),
            (State::Closed, RECOVERS_MS - 1, false),
            (State::Closed, RECOVERS_MS, true),
        ] {
            let mut breaker = breaker::Row::absent("payment");
            (breaker.state, breaker.epoch, breaker.changed_at_ms) = (state, 3, NOW_MS - closed_ago_ms);
            rows.breakers.insert(Dependency::Payment, breaker);
            // What waits for it counts for no other step either: nobody knows when that comes.
            let expected = if counts { 3_025_000 } else { 5_000 };
            assert_eq!(waits(&rows), expected, "{state:?} for {closed_ago_ms} ms");
        }
        // Another one's breaker says nothing of payment.
        let mut carrier = breaker::Row::absent("carrier");
        carrier.state = State::Open;
        rows.breakers = BTreeMap::from([(Dependency::Carrier, carrier)]);
        assert_eq!(waits(&rows), 3_025_000);
    }

    #[test]
    fn a_word_that_is_old_does_not_count() {
        let mut old = late(600_000, 5_000, 1);
        old.at_ms = NOW_MS - 30_001;
        let estimated = estimate(&row(&[(Step::Payment, old), (Step::Validate, late(4_000, 10, 10))]), NOW_MS);
        assert_eq!(estimated.wait_ms, 1_000, "its depth neither");
        assert_eq!(estimated.steps.len(), 1);
    }

    #[test]
    fn by_how_much_a_step_is_late_is_what_it_told_last_while_that_is_fresh() {
        let rows = LaneRows {
            lanes: BTreeMap::from([(
                Lane::Bulk,
                row(&[(Step::Payment, late(90_000, 10, 1)), (Step::Stock, keeps_up(1_900))]),
            )]),
            ..LaneRows::default()
        };
        for (lane, step, now_ms, expected) in [
            (Lane::Bulk, Step::Payment, NOW_MS, Some(90_000)),
            (Lane::Bulk, Step::Payment, NOW_MS + 30_000, Some(90_000)),
            (Lane::Bulk, Step::Payment, NOW_MS + 30_001, None),
            (Lane::Bulk, Step::Stock, NOW_MS, None),
            (Lane::Bulk, Step::Validate, NOW_MS, None),
            (Lane::Express, Step::Payment, NOW_MS, None),
        ] {
            assert_eq!(rows.late_by_ms(lane, step, now_ms), expected, "{lane} {step:?} at {now_ms}");
        }
    }

    #[test]
    fn a_lane_that_is_late_takes_the_lower_ones_with_it_and_none_that_has_no_deadline() {
        let deadlines = Deadlines { express_ms: 60_000, standard_ms: 300_000, bulk_ms: 3_600_000 };
        let shed = |deadlines: Deadlines, waits: [u64; 3]| {
            let of = deadlines.shed(|lane| waits[Lane::ALL.iter().position(|other| *other == lane).unwrap()]);
            Lane::ALL.map(|lane| of.get(&lane).map(|shed| shed.over_ms))
        };
        for (waits, expected) in [
            ([0, 0, 0], [None, None, None]),
            ([60_000, 300_000, 3_600_000], [None, None, None]),
            ([0, 0, 3_600_001], [None, None, Some(1)]),
            ([0, 301_000, 0], [None, Some(1_000), Some(1_000)]),
            ([61_000, 0, 0], [Some(1_000), Some(1_000), Some(1_000)]),
            ([61_000, 0, 3_700_000], [Some(1_000), Some(1_000), Some(100_000)]),
            ([90_000, 301_000, 0], [Some(30_000), Some(30_000), Some(30_000)]),
        ] {
            assert_eq!(shed(deadlines, waits), expected, "{waits:?}");
        }
        let no_standard = Deadlines { standard_ms: 0, ..deadlines };
        assert_eq!(shed(no_standard, [61_000, u64::MAX, 0]), [Some(1_000), None, Some(1_000)]);
        assert_eq!(shed(no_standard, [0, u64::MAX, 0]), [None, None, None]);
        assert_eq!(shed(Deadlines::NONE, [u64::MAX; 3]), [None, None, None]);
        // On whose account bulk is shed.
        let late = |waits: [u64; 3]| deadlines.shed(|lane| waits[Lane::ALL.iter().position(|of| *of == lane).unwrap()]);
        for (waits, expected) in [
            ([61_000, 0, 0], Lane::Express),
            ([61_000, 303_000, 0], Lane::Standard),
            ([61_000, 301_000, 0], Lane::Express),
            ([61_000, 0, 3_700_000], Lane::Bulk),
        ] {
            assert_eq!(late(waits)[&Lane::Bulk].late, expected, "{waits:?}");
        }
    }
}
