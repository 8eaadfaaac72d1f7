//! Which call what happens to: a function of the seed, the service, the operation and how many such calls there were.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use super::call::Call;

/// What happens to a call between a function and AWS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AwsFault {
    /// Refused as too many, in the service's own words. Nothing is done.
    Throttle,
    /// An internal error, in the service's own words. Nothing is done.
    Error5xx,
    /// The connection is cut before the request gets there. Nothing is done.
    Reset,
    /// Answered late, but in time.
    Latency,
    /// Done, and the connection is cut before the answer.
    LostAnswer,
    /// Done, and answered after the SDK has given the attempt up.
    SlowAnswer,
    /// Some entries of a batch are left out and reported failed.
    Partial,
    /// The calling process is killed before the request gets there.
    KilledBefore,
    /// Done, and the calling process is killed before the answer.
    KilledAfter,
}

impl AwsFault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Throttle,
        Self::Error5xx,
        Self::Reset,
        Self::Latency,
        Self::LostAnswer,
        Self::SlowAnswer,
        Self::Partial,
        Self::KilledBefore,
        Self::KilledAfter,
    ];

    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttle => "aws_throttle",
            Self::Error5xx => "aws_error_5xx",
            Self::Reset => "aws_reset",
            Self::Latency => "aws_latency",
            Self::LostAnswer => "aws_lost_answer",
            Self::SlowAnswer => "aws_slow_answer",
            Self::Partial => "aws_partial_failure",
            Self::KilledBefore => "kill_function_before_call",
            Self::KilledAfter => "kill_function_after_call",
        }
    }

    /// How often, of all calls; of the batch calls for [`AwsFault::Partial`].
    fn usual(self) -> f64 {
        match self {
            Self::Throttle => 0.006,
            Self::Error5xx | Self::Reset | Self::LostAnswer => 0.004,
            Self::Latency => 0.008,
            Self::SlowAnswer => 0.0008,
            Self::Partial => 0.02,
            Self::KilledBefore | Self::KilledAfter => 0.0006,
        }
    }
}

/// The calls that can fail in part.
fn is_batch(call: &Call) -> bool {
    matches!(
        (call.service.as_str(), call.operation.as_str()),
        ("sqs", "SendMessageBatch" | "ChangeMessageVisibilityBatch")
            | ("sns", "PublishBatch")
            | ("events", "PutEvents")
            | ("dynamodb", "BatchGetItem")
    )
}

/// The services whose calls are thrown for.
const SERVICES: [&str; 7] = ["dynamodb", "sqs", "sns", "events", "ses", "s3", "secretsmanager"];

/// How often what happens.
#[derive(Clone, PartialEq, Debug)]
pub struct Odds(Vec<(AwsFault, f64)>);

impl Odds {
    /// The usual odds, times `intensity`.
    pub fn usual(intensity: f64) -> Self {
        Self(AwsFault::ALL.into_iter().map(|fault| (fault, fault.usual() * intensity)).collect())
    }

    /// Always this.
    pub fn always(fault: AwsFault) -> Self {
        Self(vec![(fault, 1.0)])
    }
}

/// What is to happen to one call.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Throw {
    pub(super) fault: AwsFault,
    /// For latency, and which entries fail.
    pub(super) rolls: [f64; 2],
}

impl Throw {
    /// Between 50 and 500 ms.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_secs_f64(0.05 + 0.45 * self.rolls[0])
    }

    /// Past the attempt's 2 s, and within the operation's 5.
    pub(super) fn slowness(&self) -> Duration {
        Duration::from_secs_f64(2.2 + 1.5 * self.rolls[0])
    }

    /// Which of `count` entries fail: at least one.
    pub(super) fn failing(&self, count: usize) -> Vec<usize> {
        #[allow(clippy::cast_precision_loss, reason = "at most a hundred entries")]
        let first = (self.rolls[0] * count as f64) as usize;
        let more = self.rolls[1];
        let is_one = |at: &usize| *at == first.min(count.saturating_sub(1)) || (more < 0.3 && at % 2 == 1);
        (0..count).filter(is_one).collect()
    }
}

/// The dice. The n-th call of an operation meets the same under the same seed, whatever runs beside it.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    odds: Odds,
    seen: HashMap<(String, String), u64>,
}

impl Dice {
    pub(super) fn new(seed: u64, odds: Odds) -> Self {
        Self { seed, odds, seen: HashMap::new() }
    }

    /// Throws for a call.
    pub(super) fn throw(&mut self, call: &Call) -> Option<Throw> {
        if !SERVICES.contains(&call.service.as_str()) {
            return None;
        }
        let nth = self.seen.entry((call.service.clone(), call.operation.clone())).or_default();
        *nth += 1;
        let what = (call.service.as_str(), call.operation.as_str(), *nth);
        let mut roll = roll(self.seed, &(what, 0));
        for (fault, odds) in &self.odds.0 {
            if *fault == AwsFault::Partial && !is_batch(call) {
                continue;
            }
            if roll < *odds {
                let rolls = [1, 2].map(|nth| self::roll(self.seed, &(what, nth)));
                return Some(Throw { fault: *fault, rolls });
            }
            roll -= odds;
        }
        None
    }
}

/// A number in 0..1 that is always the same for the same seed and subject. The hash has fixed keys: the same in every
/// process of one build, which is all that repeating a run asks for.
pub(super) fn roll(seed: u64, subject: &impl std::hash::Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    subject.hash(&mut hasher);
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let number = (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64;
    number
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn call(service: &str, operation: &str) -> Call {
        Call { service: service.to_owned(), operation: operation.to_owned(), orders: BTreeSet::new() }
    }

    #[test]
    fn the_same_seed_throws_the_same_for_each_operation() {
        let (mut one, mut other) = (Dice::new(7, Odds::usual(20.0)), Dice::new(7, Odds::usual(20.0)));
        let put = |dice: &mut Dice| (0..200).map(|_| dice.throw(&call("dynamodb", "PutItem"))).collect::<Vec<_>>();
        let alone = put(&mut one);
        // Other calls in between change nothing.
        let mixed: Vec<_> = (0..200)
            .map(|_| {
                other.throw(&call("sqs", "SendMessageBatch"));
                other.throw(&call("dynamodb", "PutItem"))
            })
            .collect();
        assert_eq!(alone, mixed);
        assert!(alone.iter().flatten().count() > 20);
        assert_ne!(alone, put(&mut Dice::new(8, Odds::usual(20.0))));
    }

    #[test]
    fn every_fault_comes_true_at_its_odds() {
        let mut dice = Dice::new(1, Odds::usual(1.0));
        let mut counts: HashMap<AwsFault, u32> = HashMap::new();
        for _ in 0..100_000 {
            if let Some(throw) = dice.throw(&call("sqs", "SendMessageBatch")) {
                *counts.entry(throw.fault).or_default() += 1;
            }
        }
        for fault in AwsFault::ALL {
            let (got, wanted) = (f64::from(counts[&fault]), 100_000.0 * fault.usual());
            assert!((0.6..1.5).contains(&(got / wanted)), "{fault:?}: {got} of {wanted}");
        }
    }

    #[test]
    fn nothing_happens_to_services_that_the_functions_do_not_call_and_only_batches_fail_in_part() {
        let mut dice = Dice::new(1, Odds::always(AwsFault::Partial));
        assert_eq!(dice.throw(&call("logs", "PutLogEvents")), None);
        assert_eq!(dice.throw(&call("dynamodb", "PutItem")), None);
        let throw = dice.throw(&call("events", "PutEvents")).unwrap();
        for count in 1..20 {
            let failing = throw.failing(count);
            assert!(!failing.is_empty() && failing.iter().all(|at| *at < count), "{failing:?} of {count}");
        }
    }
}
