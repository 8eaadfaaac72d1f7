//! How large a message is, as SQS counts it: the one rule of this crate.
//!
//! Source: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>

use crate::Outgoing;

/// Most bytes of a message, and of the ten of a batch together: 1 MiB.
pub const MOST_BYTES: usize = 1024 * 1024;
/// Most attributes of a message.
pub const MOST_ATTRIBUTES: usize = 10;
/// The type of our attributes is counted too.
const STRING: usize = "String".len();

/// A message that SQS would refuse. It says nothing of the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Oversize {
    /// Too many bytes.
    #[error("the message has {bytes} bytes with its attributes, {most} are allowed")]
    Bytes {
        /// As SQS counts.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// Too many attributes.
    #[error("the message has {count} attributes, ten are allowed")]
    Attributes {
        /// How many.
        count: usize,
    },
}

/// Bytes of a message as SQS counts them: the body, and name, type and value of each attribute, in UTF-8. The trace
/// header (`AWSTraceHeader`), group and deduplication id are not counted.
pub fn size(message: &Outgoing) -> usize {
    let attributes = message.attributes.iter().map(|(name, value)| attribute_size(name, value));
    message.body.len() + attributes.sum::<usize>()
}

/// Bytes of an attribute of type `String`: name, type and value.
pub(crate) fn attribute_size(name: &str, value: &str) -> usize {
    name.len() + STRING + value.len()
}

/// Refuses what SQS would refuse, before it is sent.
pub fn check(message: &Outgoing) -> Result<(), Oversize> {
    let (bytes, count) = (size(message), message.attributes.len());
    if count > MOST_ATTRIBUTES {
        return Err(Oversize::Attributes { count });
    }
    if bytes > MOST_BYTES {
        return Err(Oversize::Bytes { bytes, most: MOST_BYTES });
    }
    Ok(())
}
