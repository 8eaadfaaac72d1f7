//! Ids: each its own type, checked where it enters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::{Builder, Uuid};

/// A text that is not an id of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} has to be {rule}")]
pub struct InvalidId {
    /// The kind of id.
    pub what: &'static str,
    /// What it has to look like.
    pub rule: &'static str,
}

/// Declares a checked text newtype: `$check` answers whether a text is one.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(InvalidId { what: $what, rule: $rule }) }
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

/// Gives an id that holds nothing of a person the text itself in `Debug` and `Display`.
macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

/// Keeps a text that names or pays for a person out of every log: `Debug` shows only its type, and there is no
/// `Display`.
macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )*};
}

fn printable(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

text_id!(
    /// The shop an order was placed in. It is the `MessageGroupId` of every command, so it is 1-128 of the characters
    /// that SQS takes there: letters, digits and punctuation of ASCII.
    TenantId, "tenant", "1-128 ASCII letters, digits or punctuation", |text| printable(text, 128)
);
text_id!(
    /// Who placed the order, as the token's `sub` says: 1-255 printable ASCII characters.
    CustomerId, "customer", "1-255 printable ASCII characters without spaces", |text| printable(text, 255)
);
text_id!(
    /// A stock keeping unit: 1-64 letters, digits, `.`, `_` or `-`.
    Sku, "sku", "1-64 letters, digits, '.', '_' or '-'",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
);
text_id!(
    /// What makes a repeated request the same request: 1-255 printable ASCII characters, spaces among them.
    IdempotencyKey, "Idempotency-Key", "1-255 printable ASCII characters",
    |text| (1..=255).contains(&text.len()) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.bytes().any(|byte| byte != b' ')
);
text_id!(
    /// SHA-256 in hex over the canonical JSON (RFC 8785) of a parsed request.
    Fingerprint, "fingerprint", "64 hex digits", |text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
);
text_id!(
    /// The payment provider's id of a payment, such as Stripe's `pi_...`.
    PaymentId, "payment id", "1-255 printable ASCII characters without spaces", |text| printable(text, 255)
);
text_id!(
    /// The payment provider's token for what the customer pays with, such as Stripe's `pm_...`. Never printed.
    PaymentMethod, "payment method", "1-255 letters, digits, '_' or '-'",
    |text| (1..=255).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
);
text_id!(
    /// Where mail about the order goes. Never printed. The check is for shape, not for existence: one `@`, something on
    /// both sides, no spaces or controls, at most 254 characters (RFC 5321), ASCII.
    Email, "email", "one address such as name@example.com, at most 254 ASCII characters", |text| {
        let (name, host) = text.split_once('@').unwrap_or_default();
        text.len() <= 254
            && (1..=64).contains(&name.len())
            && host.contains('.') && !host.starts_with('.') && !host.ends_with('.') && !host.contains("..")
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'(' | b')' | b',' | b';' | b'"' | b'\\' | b'@'))
    }
);
text_id!(
    /// The id of a case: what an operator has to decide.
    CaseId, "case id", "1-64 letters, digits or '-'",
    |text| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
);
shown!(TenantId, CustomerId, Sku, Fingerprint, PaymentId, CaseId);
redacted!(IdempotencyKey, PaymentMethod, Email);

impl IdempotencyKey {
    /// SHA-256 of the key: what is kept on the row, as the key itself is the client's own text.
    pub fn hash(&self) -> Fingerprint {
        Fingerprint(hex(&Sha256::digest(self.0.as_bytes())))
    }
}

impl Fingerprint {
    /// The fingerprint of canonical bytes.
    pub fn of(canonical: &[u8]) -> Self {
        Self(hex(&Sha256::digest(canonical)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An order's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Uuid);

impl OrderId {
    /// The id of the order that this customer of this tenant means by this key: a UUIDv8 of SHA-256 over the three, each
    /// behind its length, so that no two triples run together. The same request always names the same order.
    pub fn derive(tenant: &TenantId, customer: &CustomerId, key: &IdempotencyKey) -> Self {
        let mut hash = Sha256::new();
        for part in [tenant.as_str(), customer.as_str(), key.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let mut bytes = [0_u8; 16];
        bytes.iter_mut().zip(hash.finalize().iter()).for_each(|(to, from)| *to = *from);
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The UUID.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }

    /// Which of the shards of the open-orders index it is on.
    pub fn shard(self, shards: u16) -> u16 {
        let [.., high, low] = *self.0.as_bytes();
        u16::from_be_bytes([high, low]) % shards.max(1)
    }
}

impl From<Uuid> for OrderId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for OrderId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId { what: "order id", rule: "a UUID" })
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
