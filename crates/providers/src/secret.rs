//! Keys that cannot be printed.

use std::fmt;

/// An API key. It has no `Display`, its `Debug` shows nothing, and it cannot be serialised; only the adapters of this
/// crate read it.
///
/// ```compile_fail
/// println!("{}", providers::Secret::new("sk_test_1".to_owned()));
/// ```
///
/// ```compile_fail
/// let key: String = providers::Secret::new("sk_test_1".to_owned()).into();
/// ```
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a key. White space around it, such as the line end that a stored secret often carries, is left out.
    pub fn new(key: String) -> Self {
        let trimmed = key.trim();
        if trimmed.len() == key.len() { Self(key) } else { Self(trimmed.to_owned()) }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}
