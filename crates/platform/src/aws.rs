//! AWS: the clients, and the backend over them.

use std::sync::OnceLock;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use lambda_queue::aws::{Dynamo, S3, Sqs, System};
use lambda_queue::ports::Objects;
use lambda_queue::ports::store::{Item, Page, Query, Store, Transacted, Write, Written};
use lambda_queue::{Clock, Entry, Ids, Outgoing, Queue, QueueDepth, Random, Redacted, meter};
use ports::StoreError;
use uuid::Uuid;

use crate::Platform;
use crate::settings::{Names, setting};

/// A function that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The template did not give it what it needs.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
    /// What the template gave it cannot be worked with.
    #[error("the environment variable {name} is refused: {why}")]
    Invalid {
        /// Which.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// A secret could not be read.
    #[error("the secret {arn} could not be read: {why}")]
    Secret {
        /// Which.
        arn: String,
        /// Why.
        why: String,
    },
}

/// AWS, as the ports see it.
pub type Aws = Platform<Cloud>;

/// AWS as a backend: DynamoDB, SQS, the machine's clock and dice; with the clients of the other services.
#[derive(Debug)]
pub struct Cloud {
    config: SdkConfig,
    queue_url_prefix: String,
    /// A queue's URL of this account and region.
    known_queue: String,
    dynamo: OnceLock<Dynamo>,
    sqs: OnceLock<Sqs>,
    sns: OnceLock<aws_sdk_sns::Client>,
    events: OnceLock<aws_sdk_eventbridge::Client>,
    ses: OnceLock<aws_sdk_sesv2::Client>,
    s3: OnceLock<aws_sdk_s3::Client>,
    lambda: OnceLock<aws_sdk_lambda::Client>,
}

impl Aws {
    /// For a function: names from the environment, of which these have to be there.
    pub async fn load(needs: &[&'static str]) -> Result<Self, StartError> {
        for name in needs {
            setting(name)?;
        }
        let names = Names::from_env()?;
        Ok(Self::with(sdk_config().await, names))
    }

    /// For a tool: an SDK configuration and names of its own.
    pub fn with(config: SdkConfig, names: Names) -> Self {
        let known = if names.dlq_url.is_empty() { &names.queue_url_prefix } else { &names.dlq_url };
        let cloud = Cloud {
            config,
            queue_url_prefix: names.queue_url_prefix.clone(),
            known_queue: known.clone(),
            dynamo: OnceLock::new(),
            sqs: OnceLock::new(),
            sns: OnceLock::new(),
            events: OnceLock::new(),
            ses: OnceLock::new(),
            s3: OnceLock::new(),
            lambda: OnceLock::new(),
        };
        Self::over(cloud, names)
    }

    /// Reads a secret's text from Secrets Manager: once, at start.
    pub async fn secret(&self, arn: &str) -> Result<Redacted<String>, StartError> {
        let client = aws_sdk_secretsmanager::Client::new(&self.backend.config);
        let failed = |why: String| StartError::Secret { arn: arn.to_owned(), why };
        let answer = client.get_secret_value().secret_id(arn).send().await;
        let answer = answer.map_err(|error| failed(lambda_queue::aws::text(&error)))?;
        answer
            .secret_string()
            .map(|text| Redacted::new(text.to_owned()))
            .ok_or_else(|| failed("it holds no text".to_owned()))
    }
}

impl Cloud {
    pub(crate) fn dynamo(&self) -> &Dynamo {
        self.dynamo.get_or_init(|| {
            Dynamo::new(aws_sdk_dynamodb::config::Builder::from(&self.config).interceptor(Counted("dynamodb")))
        })
    }

    fn sqs(&self) -> &Sqs {
        self.sqs.get_or_init(|| {
            let config = aws_sdk_sqs::config::Builder::from(&self.config).interceptor(Counted("sqs"));
            Sqs {
                client: aws_sdk_sqs::Client::from_conf(config.build()),
                url_prefix: self.queue_url_prefix.clone(),
                beside: self.known_queue.clone(),
            }
        })
    }

    pub(crate) fn sns(&self) -> &aws_sdk_sns::Client {
        self.sns.get_or_init(|| {
            let config = aws_sdk_sns::config::Builder::from(&self.config).interceptor(Counted("sns"));
            aws_sdk_sns::Client::from_conf(config.build())
        })
    }

    pub(crate) fn eventbridge(&self) -> &aws_sdk_eventbridge::Client {
        self.events.get_or_init(|| {
            let config = aws_sdk_eventbridge::config::Builder::from(&self.config).interceptor(Counted("events"));
            aws_sdk_eventbridge::Client::from_conf(config.build())
        })
    }

    pub(crate) fn ses(&self) -> &aws_sdk_sesv2::Client {
        self.ses.get_or_init(|| {
            // At most once: a send whose answer was lost is not repeated, by the SDK as little as by us.
            let config = aws_sdk_sesv2::config::Builder::from(&self.config)
                .retry_config(RetryConfig::disabled())
                .interceptor(Counted("ses"));
            aws_sdk_sesv2::Client::from_conf(config.build())
        })
    }

    pub(crate) fn s3(&self) -> &aws_sdk_s3::Client {
        self.s3.get_or_init(|| {
            // An endpoint of one's own seldom serves a host name for each bucket.
            let config = aws_sdk_s3::config::Builder::from(&self.config)
                .force_path_style(self.config.endpoint_url().is_some())
                .interceptor(Counted("s3"));
            aws_sdk_s3::Client::from_conf(config.build())
        })
    }

    pub(crate) fn lambda(&self) -> &aws_sdk_lambda::Client {
        self.lambda.get_or_init(|| {
            let config = aws_sdk_lambda::config::Builder::from(&self.config).interceptor(Counted("lambda"));
            aws_sdk_lambda::Client::from_conf(config.build())
        })
    }
}

/// Three attempts in the SDK, each of at most 2 s: what a step's 13 s of work can bear. Everything longer is the
/// queue's to repeat.
async fn sdk_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(1_000))
        .operation_attempt_timeout(Duration::from_millis(2_000))
        .operation_timeout(Duration::from_millis(5_000))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(50)))
        .timeout_config(timeouts)
        .load()
        .await
}

/// Counts every attempt of every call.
#[derive(Debug)]
struct Counted(&'static str);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "CountedCalls"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        meter::count(self.0);
        Ok(())
    }
}

impl Clock for Cloud {
    fn now_ms(&self) -> u64 {
        System.now_ms()
    }
}

impl Random for Cloud {
    fn below(&self, bound: u64) -> u64 {
        System.below(bound)
    }
}

impl Ids for Cloud {
    fn fresh(&self) -> Uuid {
        System.fresh()
    }
}

impl Queue for Cloud {
    async fn send(&self, queue: &str, messages: &[Outgoing]) -> Vec<Result<(), String>> {
        self.sqs().send(queue, messages).await
    }

    async fn change_visibility(&self, queue_arn: &str, entries: &[Entry]) -> Vec<Result<(), String>> {
        self.sqs().change_visibility(queue_arn, entries).await
    }
}

impl QueueDepth for Cloud {
    async fn queue_depth(&self, queue_arn: &str) -> Result<u64, StoreError> {
        self.sqs().queue_depth(queue_arn).await
    }
}

impl Store for Cloud {
    async fn get(&self, table: &str, key: Item, consistent: bool) -> Result<Option<Item>, StoreError> {
        self.dynamo().get(table, key, consistent).await.map_err(|error| error.of(table))
    }

    async fn get_all(&self, table: &str, keys: Vec<Item>, consistent: bool) -> Result<Vec<Item>, StoreError> {
        self.dynamo().get_all(table, keys, consistent).await.map_err(|error| error.of(table))
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        let table = query.table.clone();
        self.dynamo().query(query).await.map_err(|error| error.of(&table))
    }

    async fn write(&self, write: Write) -> Result<Written, StoreError> {
        let table = write.table.clone();
        self.dynamo().write(write).await.map_err(|error| error.of(&table))
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<Transacted, StoreError> {
        self.dynamo().transact(writes).await
    }
}

impl Objects for Cloud {
    async fn put_object(&self, bucket: &str, key: &str, body: Vec<u8>, content_type: &str) -> Result<(), StoreError> {
        S3(self.s3().clone()).put_object(bucket, key, body, content_type).await
    }

    async fn get_object(&self, bucket: &str, key: &str, most_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        S3(self.s3().clone()).get_object(bucket, key, most_bytes).await
    }
}
