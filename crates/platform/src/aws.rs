//! The clients, the clock and the dice.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use lambda_queue::{Clock, Ids, Random, Redacted, meter};
use ports::SendCommands;
use uuid::Uuid;

use crate::settings::{Names, setting};

/// A function that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The template did not give it what it needs.
    #[error("the environment variable {0} is not set")]
    Missing(&'static str),
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
#[derive(Debug)]
pub struct Aws {
    config: SdkConfig,
    pub(crate) names: Names,
    dynamodb: OnceLock<aws_sdk_dynamodb::Client>,
    sqs: OnceLock<aws_sdk_sqs::Client>,
    sns: OnceLock<aws_sdk_sns::Client>,
    events: OnceLock<aws_sdk_eventbridge::Client>,
    ses: OnceLock<aws_sdk_sesv2::Client>,
    s3: OnceLock<aws_sdk_s3::Client>,
}

impl Aws {
    /// For a function: names from the environment, of which these have to be there.
    pub async fn load(needs: &[&'static str]) -> Result<Self, StartError> {
        for name in needs {
            setting(name)?;
        }
        Ok(Self::with(sdk_config().await, Names::from_env()))
    }

    /// For a tool: an SDK configuration and names of its own.
    pub fn with(config: SdkConfig, names: Names) -> Self {
        Self {
            config,
            names,
            dynamodb: OnceLock::new(),
            sqs: OnceLock::new(),
            sns: OnceLock::new(),
            events: OnceLock::new(),
            ses: OnceLock::new(),
            s3: OnceLock::new(),
        }
    }

    /// The names it works with.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Reads a secret's text from Secrets Manager: once, at start.
    pub async fn secret(&self, arn: &str) -> Result<Redacted<String>, StartError> {
        let client = aws_sdk_secretsmanager::Client::new(&self.config);
        let failed = |why: String| StartError::Secret { arn: arn.to_owned(), why };
        let answer = client.get_secret_value().secret_id(arn).send().await;
        let answer = answer.map_err(|error| failed(lambda_queue::aws::text(&error)))?;
        answer
            .secret_string()
            .map(|text| Redacted::new(text.to_owned()))
            .ok_or_else(|| failed("it holds no text".to_owned()))
    }

    pub(crate) fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        self.dynamodb.get_or_init(|| {
            let config = aws_sdk_dynamodb::config::Builder::from(&self.config).interceptor(Counted("dynamodb"));
            aws_sdk_dynamodb::Client::from_conf(config.build())
        })
    }

    pub(crate) fn sqs(&self) -> &aws_sdk_sqs::Client {
        self.sqs.get_or_init(|| {
            let config = aws_sdk_sqs::config::Builder::from(&self.config).interceptor(Counted("sqs"));
            aws_sdk_sqs::Client::from_conf(config.build())
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

impl Clock for Aws {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Random for Aws {
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { rand::random_range(0..bound) }
    }
}

impl Ids for Aws {
    #[allow(clippy::disallowed_methods, reason = "this is where ids come from")]
    fn fresh(&self) -> Uuid {
        Uuid::now_v7()
    }
}

impl SendCommands for Aws {}
