//! A value that cannot be printed.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

/// What is shown in place of a value that must not be.
pub const REDACTED: &str = "[redacted]";

/// A secret, or something personal, that no log line, error text, `Debug` or JSON can show: all of them say
/// `[redacted]`. Reading it takes a call that a reviewer sees: [`expose`](Self::expose).
///
/// - `Deserialize` reads a plain `T`, so settings and answers parse as they are; `Serialize` writes `[redacted]`. A type
///   that has to go out on the wire exposes it by name.
/// - It costs nothing: the same size and layout as `T`. It does not wipe the memory when it is dropped.
/// - `==` exists where `T` is text or bytes, and takes the same time wherever the two differ (not where their lengths
///   do). There is no `Hash` and no order, as both tell something of the value.
///
/// ```
/// use lambda_queue::Redacted;
/// let key = Redacted::new("sk_live_1".to_owned());
/// assert_eq!(format!("{key} {key:?} {:#?}", Some(&key)), "[redacted] [redacted] Some(\n    [redacted],\n)");
/// assert_eq!(key.expose(), "sk_live_1");
/// ```
///
/// It is not its `T`: nothing turns it into one by itself.
///
/// ```compile_fail
/// let key: String = lambda_queue::Redacted::new("sk_live_1".to_owned()).into();
/// ```
///
/// ```compile_fail
/// fn send(_: &str) {}
/// send(&lambda_queue::Redacted::new("sk_live_1".to_owned()));
/// ```
///
/// ```compile_fail
/// let length = lambda_queue::Redacted::new("sk_live_1".to_owned()).len();
/// ```
///
/// Nor can it be sorted or put into a set of hashes:
///
/// ```compile_fail
/// std::collections::HashSet::from([lambda_queue::Redacted::new("sk_live_1".to_owned())]);
/// ```
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Redacted<T>(T);

impl<T> Redacted<T> {
    /// Takes a value out of sight.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, to be used and not to be kept.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, for good.
    pub fn into_exposed(self) -> T {
        self.0
    }

    /// Makes something else of it that cannot be printed either.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Redacted<U> {
        Redacted(make(self.0))
    }
}

impl<T> From<T> for Redacted<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T> Serialize for Redacted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Redacted<T> {
    /// Reads a `T`. Where that fails, the error says so and nothing else: serde's own text may quote what it met.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer)
            .map(Self)
            .map_err(|_| serde::de::Error::custom("not of the type that is expected here"))
    }
}

impl<T: AsRef<[u8]>> PartialEq for Redacted<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: AsRef<[u8]>> Eq for Redacted<T> {}
