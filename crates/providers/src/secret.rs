//! Keys that cannot be printed.

use lambda_queue::Redacted;

/// An API key, as [`Redacted`] as its text: it has no `Display`, its `Debug` shows nothing, and it cannot be serialised;
/// only the adapters of this crate read it.
///
/// ```compile_fail
/// println!("{}", providers::Secret::new("sk_test_1".to_owned()));
/// ```
///
/// ```compile_fail
/// let key: String = providers::Secret::new("sk_test_1".to_owned()).into();
/// ```
#[derive(Clone, Debug)]
pub struct Secret(Redacted<String>);

impl Secret {
    /// Takes a key. White space around it, such as the line end that a stored secret often carries, is left out.
    pub fn new(key: impl Into<Redacted<String>>) -> Self {
        let trim = |key: String| {
            let trimmed = key.trim();
            if trimmed.len() == key.len() { key } else { trimmed.to_owned() }
        };
        Self(key.into().map(trim))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}
