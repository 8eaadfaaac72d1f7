//! The ports over the AWS SDK, one type a service, and [`Aws`]: what a function needs, in one value. Each wraps a client that
//! the caller configured: retries, timeouts, endpoint and interceptors are the client's. The crates of the clients are here,
//! too, in the versions that the adapters are made for.

mod dynamodb;
mod errors;
mod s3;
mod sqs;
mod system;

pub use dynamodb::Dynamo;
pub use errors::{never_connected, read_error, store_error, text};
pub use s3::S3;
pub use sqs::Sqs;
pub use system::System;
pub use {aws_sdk_dynamodb, aws_sdk_s3, aws_sdk_sqs};

use crate::ports::Ports;

/// The ports of a real function: the machine's clock, randomness and ids, SQS, DynamoDB.
///
/// ```no_run
/// # async fn example() {
/// use aws_config::BehaviorVersion;
/// use lambda_queue::aws::{Aws, aws_sdk_dynamodb, aws_sdk_sqs};
///
/// let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
/// let aws = Aws::new(aws_sdk_sqs::Client::new(&config), aws_sdk_dynamodb::Client::new(&config));
/// # drop(aws);
/// # }
/// ```
///
/// A function without tables takes `Ports { world: System, queues: Sqs::new(client), store: () }` in its place.
pub type Aws = Ports<System, Sqs, Dynamo>;

impl Aws {
    /// Over these clients. Queues are named by their URLs: see [`Sqs::new`].
    pub fn new(sqs: aws_sdk_sqs::Client, dynamodb: aws_sdk_dynamodb::Client) -> Self {
        Self { world: System, queues: Sqs::new(sqs), store: Dynamo(dynamodb) }
    }
}
