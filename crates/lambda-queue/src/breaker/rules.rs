//! What a call's result counts as.

use std::fmt;

use crate::Failure;

/// What one result counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The dependency did its work.
    Success,
    /// It did not.
    Failure,
    /// It says nothing of the dependency: not counted as a call; a probe's slot is given back.
    Ignored,
}

/// What happens to a call that is dropped before it ends: its invocation ran out of time, or another branch won.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Cancelled {
    /// It counts as nothing. A probe's slot is given back.
    #[default]
    Ignore,
    /// It counts as a failure.
    Fail,
    /// It counts as a failure if it had run longer than a call may ([`super::Thresholds::slow_call_ms`]), else as nothing.
    FailIfSlow,
}

impl Cancelled {
    pub(crate) fn outcome(self, slow: bool) -> Outcome {
        match self {
            Self::Fail => Outcome::Failure,
            Self::FailIfSlow if slow => Outcome::Failure,
            Self::FailIfSlow | Self::Ignore => Outcome::Ignored,
        }
    }
}

/// Says of every result what it counts as. A closure of this shape is one.
pub trait Judge<T, E> {
    /// What it counts as.
    fn outcome(&self, result: &Result<T, E>) -> Outcome;
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Judge<T, E> for F {
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

type Predicate<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;

/// Rules by predicate. Without any, every error is a failure and every `Ok` a success.
pub struct Rules<T, E> {
    ignored: Vec<Predicate<E>>,
    recorded: Vec<Predicate<E>>,
    failing: Vec<Predicate<T>>,
}

impl<T, E> Default for Rules<T, E> {
    fn default() -> Self {
        Self { ignored: Vec::new(), recorded: Vec::new(), failing: Vec::new() }
    }
}

impl<T, E> Rules<T, E> {
    /// Errors that count as nothing. Goes before [`Rules::record`].
    #[must_use]
    pub fn ignore(mut self, error: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.ignored.push(Box::new(error));
        self
    }

    /// Errors that count as failures. Once said, every other error is a success: the dependency answered.
    #[must_use]
    pub fn record(mut self, error: impl Fn(&E) -> bool + Send + Sync + 'static) -> Self {
        self.recorded.push(Box::new(error));
        self
    }

    /// Values that count as failures, although they are `Ok`.
    #[must_use]
    pub fn fail(mut self, value: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.failing.push(Box::new(value));
        self
    }
}

impl<T, E> Judge<T, E> for Rules<T, E> {
    fn outcome(&self, result: &Result<T, E>) -> Outcome {
        match result {
            Ok(value) if self.failing.iter().any(|fails| fails(value)) => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(error) if self.ignored.iter().any(|ignores| ignores(error)) => Outcome::Ignored,
            Err(error) if self.recorded.is_empty() || self.recorded.iter().any(|records| records(error)) => {
                Outcome::Failure
            }
            Err(_) => Outcome::Success,
        }
    }
}

impl<T, E> fmt::Debug for Rules<T, E> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ignored, recorded, failing) = (self.ignored.len(), self.recorded.len(), self.failing.len());
        write!(to, "Rules {{ ignored: {ignored}, recorded: {recorded}, failing: {failing} }}")
    }
}

/// What each kind of our own [`Failure`] counts as. A [`Failure::Defer`] is always ignored: nothing was called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FailureRules {
    /// `Unknown`: a timeout, a reset, a 5xx after the first byte left.
    pub unknown: Outcome,
    /// `Retry` without a time: connection refused.
    pub retry: Outcome,
    /// `Retry` after a given time: a throttle with a hint, a lost race. Whoever says when to come back is alive.
    pub retry_after: Outcome,
    /// `Poison`: the message's fault.
    pub poison: Outcome,
    /// `Bug`: ours.
    pub bug: Outcome,
}

impl Default for FailureRules {
    /// `Unknown` and `Retry` without a time are failures; the rest is ignored.
    fn default() -> Self {
        Self {
            unknown: Outcome::Failure,
            retry: Outcome::Failure,
            retry_after: Outcome::Ignored,
            poison: Outcome::Ignored,
            bug: Outcome::Ignored,
        }
    }
}

impl<T> Judge<T, Failure> for FailureRules {
    fn outcome(&self, result: &Result<T, Failure>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(Failure::Unknown { .. }) => self.unknown,
            Err(Failure::Retry { after: None, .. }) => self.retry,
            Err(Failure::Retry { after: Some(_), .. }) => self.retry_after,
            Err(Failure::Defer { .. } | Failure::Busy { .. }) => Outcome::Ignored,
            Err(Failure::Poison { .. }) => self.poison,
            Err(Failure::Bug { .. }) => self.bug,
        }
    }
}
