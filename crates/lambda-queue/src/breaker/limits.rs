//! Counts, the thresholds that judge them, and how long an open breaker waits.

/// Calls that ended, and how many of them were trouble. A call that failed is in `failures` alone, however long it took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// All that count: an ignored or cancelled call is not here.
    pub calls: u64,
    /// Of these, the ones that failed.
    pub failures: u64,
    /// Of these, the ones that succeeded, but took longer than [`Thresholds::slow_call_ms`].
    pub slow: u64,
}

/// What one call that counts was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Good,
    Slow,
    Failed,
}

impl Counts {
    pub(crate) fn add(&mut self, mark: Mark) {
        self.plus(Self::of(mark));
    }

    pub(crate) fn plus(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    pub(crate) fn minus(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }

    pub(crate) fn of(mark: Mark) -> Self {
        Self { calls: 1, failures: u64::from(mark == Mark::Failed), slow: u64::from(mark == Mark::Slow) }
    }
}

/// From when on calls are too bad to go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// Opens at this share of failures, percent, 1 to 100.
    pub failure_rate_percent: u32,
    /// Opens at this share of slow successes, percent, 1 to 100.
    pub slow_rate_percent: u32,
    /// A call is slow when it took longer than this, milliseconds. `u64::MAX`: never.
    pub slow_call_ms: u64,
    /// Whether a slow success is a failure in the failure rate too, so that 30 % failed and 30 % slow make 60 %.
    pub slow_counts_as_failure: bool,
    /// Below this number of calls in the window nothing is judged. At least 1.
    pub minimum_calls: u64,
}

impl Default for Thresholds {
    /// 50 % of at least 20 calls; a call over 5 s is slow, and counts.
    fn default() -> Self {
        Self {
            failure_rate_percent: 50,
            slow_rate_percent: 50,
            slow_call_ms: 5_000,
            slow_counts_as_failure: true,
            minimum_calls: 20,
        }
    }
}

/// Which threshold was met, and by what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Met {
    Failures { percent: u64, calls: u64 },
    Slow { percent: u64, calls: u64 },
}

impl Thresholds {
    /// The threshold that these counts meet, if any.
    pub(crate) fn met(&self, counts: Counts) -> Option<Met> {
        if counts.calls < self.minimum_calls { None } else { self.met_of(counts, counts.calls) }
    }

    /// The same, of `calls` calls, for a round of probes whose missing results are taken to be good.
    pub(crate) fn met_of(&self, counts: Counts, calls: u64) -> Option<Met> {
        let reached =
            |bad: u64, percent: u32| bad > 0 && u128::from(bad) * 100 >= u128::from(percent) * u128::from(calls);
        let percent = |bad: u64| bad.saturating_mul(100).checked_div(calls).unwrap_or(100);
        let failures = if self.slow_counts_as_failure { counts.failures + counts.slow } else { counts.failures };
        if reached(failures, self.failure_rate_percent) {
            Some(Met::Failures { percent: percent(failures), calls })
        } else if reached(counts.slow, self.slow_rate_percent) {
            Some(Met::Slow { percent: percent(counts.slow), calls })
        } else {
            None
        }
    }

    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        let percent = |value: u32| (1..=100).contains(&value);
        if !percent(self.failure_rate_percent) || !percent(self.slow_rate_percent) {
            return Err(InvalidSettings("a rate is 1 to 100 percent"));
        }
        if self.minimum_calls == 0 {
            return Err(InvalidSettings("minimum_calls is at least 1"));
        }
        Ok(())
    }
}

/// How long an open breaker waits before it lets probes through: longer each time it opens again without having been closed
/// for a calm time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wait {
    /// The first wait, milliseconds. At least 1.
    pub first_ms: u64,
    /// Each further one is this many percent of the one before: 200 doubles. 100 to 1,000. A failed probe makes it longer until
    /// the breaker is closed; what the next opening goes on from is the wait that this one began with.
    pub growth_percent: u32,
    /// No wait is longer, milliseconds. At least `first_ms`.
    pub most_ms: u64,
    /// Closed for so long, it begins again with the first wait; opened again before, it goes on with the next one: a dependency
    /// that answers probes and fails at work would open it every few seconds for ever. Milliseconds.
    pub calm_ms: u64,
    /// Up to this share is taken off at random, percent, 0 to 100. Only the local breaker does: the distributed one has
    /// one wait for all, and limits who may probe instead.
    pub jitter_percent: u32,
}

impl Default for Wait {
    /// 5 s, doubling to 30 s, anew after five minutes, no jitter.
    fn default() -> Self {
        Self { first_ms: 5_000, growth_percent: 200, most_ms: 30_000, calm_ms: 300_000, jitter_percent: 0 }
    }
}

impl Wait {
    /// The wait that follows one of `last_ms`; 0 is none yet. Without jitter.
    pub(crate) fn after(&self, last_ms: u64) -> u64 {
        if last_ms == 0 {
            return self.first_ms;
        }
        let grown = u128::from(last_ms) * u128::from(self.growth_percent) / 100;
        u64::try_from(grown).unwrap_or(u64::MAX).clamp(self.first_ms, self.most_ms)
    }

    /// Most that jitter may take off, milliseconds.
    pub(crate) fn jitter_ms(&self, wait_ms: u64) -> u64 {
        u64::try_from(u128::from(wait_ms) * u128::from(self.jitter_percent) / 100).unwrap_or(u64::MAX)
    }

    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        if self.first_ms == 0 || self.most_ms < self.first_ms {
            return Err(InvalidSettings("a wait is at least 1 ms, and the longest no shorter than the first"));
        }
        if !(100..=1_000).contains(&self.growth_percent) || self.jitter_percent > 100 {
            return Err(InvalidSettings("a wait grows by 100 to 1,000 percent, with a jitter of at most 100 percent"));
        }
        Ok(())
    }
}

/// Settings that no breaker can follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("breaker settings: {0}")]
pub struct InvalidSettings(pub(crate) &'static str);
