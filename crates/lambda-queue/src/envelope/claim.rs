//! The claim check: data too large for a message waits in a bucket, the message carries the reference.
//!
//! The reference is CloudEvents' `dataref`, beside it `datarefsize` (bytes) and `datarefsha256` (hexadecimal). The object
//! holds the data itself, under `<prefix>/<date>/<id>`: the date of the message's `time`, its id. The same message is the
//! same key with the same content, so that a repeat overwrites itself. Nobody deletes it but the bucket's lifecycle rule,
//! which has to keep it longer than the queue and its dead letters keep the message: a consumer that deletes takes it
//! from the next delivery and from a replay.
//!
//! Source: <https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/dataref.md>

use sha2::{Digest, Sha256};

use super::wire::{Payload, strict};
use super::{Data, Envelope, EnvelopeError, Extension, MOST_BYTES};
use crate::Failure;
use crate::ports::Objects;
use crate::ports::store::StoreError;

const REFERENCE: &str = "dataref";
const SIZE: &str = "datarefsize";
const SHA256: &str = "datarefsha256";
/// Longest object key, bytes: S3's.
const LONGEST_KEY: usize = 1024;
/// Most bytes of an object, unless said otherwise.
const MOST_OBJECT_BYTES: usize = 16 * 1024 * 1024;

/// Why data was not put away, or not fetched. It quotes neither data nor reference.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimError {
    /// The message itself is not right.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Large data needs `time`, a media type that fits it, and a key of at most 1,024 bytes.
    #[error("claim_form: the message cannot be put away: {0}")]
    Form(&'static str),
    /// More than is allowed.
    #[error("claim_too_large: {bytes} bytes, {most} are allowed")]
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        most: u64,
    },
    /// The reference lacks its size or digest, or leads out of the bucket or prefix.
    #[error("claim_reference: the reference is not one of this bucket and prefix")]
    Reference,
    /// There is no such object: its lifetime ended, or it never was.
    #[error("claim_missing: what the message refers to is not there")]
    Missing,
    /// Size or digest are not the message's.
    #[error("claim_corrupt: what the message refers to is not what was sent")]
    Corrupt,
    /// The bucket did not answer as asked.
    #[error("claim_store: {0}")]
    Store(StoreError),
}

impl From<ClaimError> for Failure {
    /// An unreachable bucket is tried again; all else will never succeed.
    fn from(error: ClaimError) -> Self {
        match error {
            ClaimError::Store(StoreError::NotDone(_) | StoreError::Unknown(_)) => Self::retry(error),
            ClaimError::Envelope(error) => error.into(),
            ClaimError::Store(StoreError::Unreadable(_))
            | ClaimError::Form(_)
            | ClaimError::TooLarge { .. }
            | ClaimError::Reference
            | ClaimError::Missing
            | ClaimError::Corrupt => Self::Poison { reason: error.to_string() },
        }
    }
}

/// A bucket and prefix for what is too large.
#[derive(Debug)]
pub struct ClaimCheck<'a, O> {
    objects: &'a O,
    bucket: String,
    prefix: String,
    threshold: usize,
    most_bytes: usize,
}

impl<'a, O: Objects + Sync> ClaimCheck<'a, O> {
    /// One prefix a producer: within it ids are unique. A message over 1 MiB goes there; of at most 16 MiB.
    pub fn new(objects: &'a O, bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        let (bucket, prefix) = (bucket.into(), prefix.into());
        Self { objects, bucket, prefix, threshold: MOST_BYTES, most_bytes: MOST_OBJECT_BYTES }
    }

    /// From so many bytes of message on, its attributes in SQS apart. Leave room for those: a message is at most 1 MiB
    /// with them.
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes.min(MOST_BYTES);
        self
    }

    /// Most bytes of an object, written or read. They are held in memory.
    #[must_use]
    pub fn most_bytes(mut self, bytes: usize) -> Self {
        self.most_bytes = bytes;
        self
    }

    /// The message as JSON: as it is where it is small enough, else with a reference, after its data was put away.
    /// Writes at most one object, the same for the same message: repeat it as often as need be.
    pub async fn check_in<T: Payload + Sync>(&self, message: &Envelope<T>) -> Result<String, ClaimError> {
        message.validate()?;
        let body = serde_json::to_string(message).map_err(|_| EnvelopeError::Unwritable)?;
        if body.len() <= self.threshold {
            return Ok(body);
        }
        let key = self.key(message)?;
        let media_type = message.datacontenttype.as_deref().unwrap_or(super::JSON);
        let data = match (message.data.to_bytes()?, is_json(media_type)) {
            (Some((bytes, json)), wanted) if json == wanted => bytes,
            (Some(_), _) => return Err(ClaimError::Form("its data is not of its media type")),
            (None, _) => return Err(EnvelopeError::Oversize { bytes: body.len(), most: self.threshold }.into()),
        };
        self.bounded(data.len() as u64)?;
        let size = i32::try_from(data.len()).map_err(|_| ClaimError::Form("its size is no 32-bit integer"))?;
        let mut small = message.attributes().map(|()| Data::None);
        small.extensions.insert(REFERENCE.to_owned(), Extension::Text(format!("s3://{}/{key}", self.bucket)));
        small.extensions.insert(SIZE.to_owned(), Extension::Integer(size));
        small.extensions.insert(SHA256.to_owned(), Extension::Text(digest(&data)));
        let body = small.to_json()?;
        if body.len() > self.threshold {
            return Err(EnvelopeError::Oversize { bytes: body.len(), most: self.threshold }.into());
        }
        // The object first: a reference is sent only to what is there.
        let put = self.objects.put_object(&self.bucket, &key, data, media_type).await;
        put.map(|()| body).map_err(ClaimError::Store)
    }

    /// The message with its data: as it is where it has no reference or has its data beside it. One read, bounded by the
    /// size that the message states; size and digest are compared. The reference stays in the message.
    pub async fn check_out(&self, mut message: Envelope<Data>) -> Result<Envelope<Data>, ClaimError> {
        let reference = match message.extensions.get(REFERENCE) {
            None => return Ok(message),
            Some(Extension::Text(reference)) => reference,
            Some(Extension::Bool(_) | Extension::Integer(_)) => return Err(ClaimError::Reference),
        };
        if message.data != Data::None {
            return Ok(message);
        }
        // Whoever can send a message must not be able to have any object read.
        let key = reference.strip_prefix("s3://").and_then(|rest| rest.strip_prefix(self.bucket.as_str()));
        let key = key.and_then(|rest| rest.strip_prefix('/')).filter(|key| {
            key.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.starts_with('/')) && key.len() <= LONGEST_KEY
        });
        let key = key.ok_or(ClaimError::Reference)?;
        let (Some(Extension::Integer(size)), Some(Extension::Text(sha256))) =
            (message.extensions.get(SIZE), message.extensions.get(SHA256))
        else {
            return Err(ClaimError::Reference);
        };
        let size = usize::try_from(*size).map_err(|_| ClaimError::Reference)?;
        self.bounded(size as u64)?;
        let data = match self.objects.get_object(&self.bucket, key, size).await {
            Ok(Some(data)) => data,
            Ok(None) => return Err(ClaimError::Missing),
            // Larger than the message says.
            Err(StoreError::Unreadable(_)) => return Err(ClaimError::Corrupt),
            Err(error @ (StoreError::NotDone(_) | StoreError::Unknown(_))) => return Err(ClaimError::Store(error)),
        };
        if data.len() != size || digest(&data) != *sha256 {
            return Err(ClaimError::Corrupt);
        }
        message.data = if is_json(message.datacontenttype.as_deref().unwrap_or(super::JSON)) {
            Data::Json(strict(&data)?)
        } else {
            Data::Binary(data)
        };
        Ok(message)
    }

    fn bounded(&self, bytes: u64) -> Result<(), ClaimError> {
        let most = self.most_bytes as u64;
        if bytes > most { Err(ClaimError::TooLarge { bytes, most }) } else { Ok(()) }
    }

    fn key<T>(&self, message: &Envelope<T>) -> Result<String, ClaimError> {
        let time = message.time.as_deref().ok_or(ClaimError::Form("it has no time"))?;
        let date = time.get(..10).ok_or(ClaimError::Form("it has no time"))?;
        let key = format!("{}/{date}/{}", self.prefix, harmless(&message.id));
        (key.len() <= LONGEST_KEY).then_some(key).ok_or(ClaimError::Form("its id is too long for a key"))
    }
}

/// An id as part of a key: letters, digits, `-` and `_` as they are, every other byte as `!` and two hexadecimal digits.
fn harmless(id: &str) -> String {
    id.bytes().fold(String::with_capacity(id.len()), |mut key, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            key.push(char::from(byte));
        } else {
            key.push_str(&format!("!{byte:02X}"));
        }
        key
    })
}

/// `*/json` and `*/*+json`.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn digest(data: &[u8]) -> String {
    Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect()
}
