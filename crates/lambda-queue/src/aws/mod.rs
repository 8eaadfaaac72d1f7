//! The ports over the AWS SDK, one type a service. Each wraps a client that the caller configured: retries, timeouts,
//! endpoint and interceptors are the client's.

mod dynamodb;
mod errors;

pub use dynamodb::Dynamo;
pub use errors::{store_error, text};
