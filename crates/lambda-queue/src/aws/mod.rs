//! The ports over the AWS SDK, one type a service. Each wraps a client that the caller configured: retries, timeouts,
//! endpoint and interceptors are the client's. [`Dynamo`] adds one of its own, [`LostAttempts`].

mod attempts;
mod dynamodb;
mod errors;
mod s3;
#[cfg(test)]
mod scripted;
mod sqs;
mod system;

pub use attempts::LostAttempts;
pub use dynamodb::Dynamo;
pub use errors::{never_connected, read_error, store_error, text};
pub use s3::S3;
pub use sqs::Sqs;
pub use system::System;
