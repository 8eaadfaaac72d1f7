//! Fields whose values are never printed.

/// Names that mean a secret or something personal.
const DENIED: [&str; 32] = [
    "access_key",
    "address",
    "api_key",
    "apikey",
    "authorization",
    "bearer",
    "card_number",
    "client_secret",
    "cookie",
    "credential",
    "credentials",
    "customer_name",
    "cvc",
    "cvv",
    "date_of_birth",
    "e_mail",
    "email",
    "full_name",
    "iban",
    "idempotency_key",
    "pan",
    "passphrase",
    "passwd",
    "password",
    "payment_method",
    "phone",
    "private_key",
    "recipient",
    "secret",
    "secret_key",
    "ship_to",
    "token",
];

/// Which field names are denied: one of the list, or one that ends in it after a `_`, `-` or `.` (`customer_email`,
/// `x-api-key`), in any case, as a whole or in a part between dots (`email.domain`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied(Vec<String>);

impl Default for Denied {
    fn default() -> Self {
        Self(DENIED.map(str::to_owned).to_vec())
    }
}

impl Denied {
    /// More names.
    pub fn and<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.0.extend(names.into_iter().map(normal).filter(|name| !name.is_empty()));
        self
    }

    /// No names but these.
    pub fn only<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(Vec::new()).and(names)
    }

    /// Whether a field of this name is denied.
    pub fn denies(&self, name: &str) -> bool {
        name.split('.').any(|part| self.0.iter().any(|denied| ends_in(part.as_bytes(), denied.as_bytes())))
    }
}

fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace('-', "_")
}

fn ends_in(name: &[u8], denied: &[u8]) -> bool {
    let Some(at) = name.len().checked_sub(denied.len()) else { return false };
    let (before, end) = name.split_at(at);
    matches!(before.last(), None | Some(b'_' | b'-'))
        && end.iter().zip(denied).all(|(have, want)| {
            let have = if *have == b'-' { b'_' } else { have.to_ascii_lowercase() };
            have == *want
        })
}
