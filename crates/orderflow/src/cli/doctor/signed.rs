//! Two services that nothing else here asks, each for one list: CloudWatch for alarms and EventBridge Scheduler for schedules. Instead
//! of two more SDKs, each a client of hundreds of calls, their requests are signed by the signer of the others.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use aws_config::SdkConfig;
use aws_sdk_sqs::config::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::{Client, Method, Url};
use serde_json::Value;

/// Of an error, what is told, characters.
const MOST_TOLD: usize = 300;

/// A request that reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    /// The service, as its addresses and its signatures name it.
    pub(super) service: &'static str,
    pub(super) path: &'static str,
    /// The query's fields.
    pub(super) query: Vec<(&'static str, String)>,
    /// A call of AWS's JSON protocol: target and body. Without it a GET.
    pub(super) call: Option<(&'static str, Value)>,
}

/// Who signs, and where AWS is.
pub(super) struct Signed {
    config: SdkConfig,
    http: Client,
}

impl Signed {
    pub(super) fn new(config: SdkConfig) -> anyhow::Result<Self> {
        let http = Client::builder();
        // An address that was given is near, as the local stack is.
        let http = if config.endpoint_url().is_some() { http.no_proxy() } else { http };
        Ok(Self { config, http: http.build().context("no HTTP client")? })
    }

    /// Asks once, and answers the JSON. `now_ms`: UTC, for the signature.
    ///
    /// # Errors
    /// What was answered instead, or why nothing was.
    pub(super) async fn ask(&self, ask: &Ask, now_ms: u64) -> anyhow::Result<Value> {
        let region: &str = self.config.region().context("no region is set")?.as_ref();
        let url = self.url(ask, region)?;
        let (method, target, body) = match &ask.call {
            Some((target, body)) => (Method::POST, Some(*target), body.to_string()),
            None => (Method::GET, None, String::new()),
        };
        let own: Vec<(&str, &str)> = target
            .into_iter()
            .flat_map(|target| [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)])
            .collect();

        let provider = self.config.credentials_provider().context("there are no AWS credentials")?;
        let identity = provider.provide_credentials().await.context("there are no AWS credentials")?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(ask.service)
            .time(UNIX_EPOCH + Duration::from_millis(now_ms))
            .settings(SigningSettings::default())
            .build()
            .context("cannot sign")?
            .into();
        let signable = SignableRequest::new(
            method.as_str(),
            url.as_str(),
            own.iter().copied(),
            SignableBody::Bytes(body.as_bytes()),
        );
        let (signature, _) = sign(signable.context("cannot sign")?, &params).context("cannot sign")?.into_parts();

        let request = self.http.request(method, url).body(body);
        let request = own
            .iter()
            .copied()
            .chain(signature.headers())
            .fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await.with_context(|| format!("{} does not answer", ask.service))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{} stopped answering", ask.service))?;
        if !status.is_success() {
            let why: String = text.chars().filter(|one| !one.is_control()).take(MOST_TOLD).collect();
            bail!("{} answers {status}: {why}", ask.service);
        }
        serde_json::from_str(&text).with_context(|| format!("{} answers no JSON", ask.service))
    }

    fn url(&self, ask: &Ask, region: &str) -> anyhow::Result<Url> {
        let base = match self.config.endpoint_url() {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                format!("https://{}.{region}.{domain}", ask.service)
            }
        };
        let url = format!("{base}{}", ask.path);
        let mut url = Url::parse(&url).with_context(|| format!("{url} is no address"))?;
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&ask.query);
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Request;
    use axum::http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::stack::local_config;

    /// What arrived: method and path, authorization, body.
    type Arrived = Arc<Mutex<Vec<(String, String, String)>>>;

    /// Somebody on loopback who answers everything so.
    async fn service(status: StatusCode, answer: &'static str) -> (Signed, Arrived) {
        let arrived = Arrived::default();
        let seen = Arc::clone(&arrived);
        let routes = Router::new().fallback(move |request: Request| {
            let seen = Arc::clone(&seen);
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 10_000).await.unwrap();
                let signed = parts.headers["authorization"].to_str().unwrap().to_owned();
                let body = String::from_utf8(body.to_vec()).unwrap();
                seen.lock().unwrap().push((format!("{} {}", parts.method, parts.uri), signed, body));
                (status, answer)
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, routes).into_future());
        (Signed::new(local_config(&address)).unwrap(), arrived)
    }

    fn call() -> Ask {
        let call = Some(("Some.Call", json!({ "a": 1 })));
        Ask { service: "monitoring", path: "/", query: Vec::new(), call }
    }

    #[tokio::test]
    async fn a_request_is_signed_for_its_service_and_its_answer_read() {
        let (signed, arrived) = service(StatusCode::OK, r#"{"fine":true}"#).await;
        assert_eq!(signed.ask(&call(), 1_800_000_000_000).await.unwrap(), json!({ "fine": true }));
        let query = vec![("NamePrefix", "shop-".to_owned()), ("NextToken", "a+b/c=".to_owned())];
        let list = Ask { service: "scheduler", path: "/schedules", query, call: None };
        signed.ask(&list, 1_800_000_000_000).await.unwrap();
        let arrived = arrived.lock().unwrap();
        let (asked, by, body) = &arrived[0];
        assert_eq!((asked.as_str(), body.as_str()), ("POST /", r#"{"a":1}"#));
        assert!(by.contains("/20270115/us-east-1/monitoring/aws4_request"), "{by}");
        assert!(by.contains("content-type;host;x-amz-date;x-amz-target"), "{by}");
        let (asked, by, body) = &arrived[1];
        assert_eq!(asked, "GET /schedules?NamePrefix=shop-&NextToken=a%2Bb%2Fc%3D");
        assert!(by.contains("/us-east-1/scheduler/aws4_request") && body.is_empty(), "{by}");
    }

    #[tokio::test]
    async fn an_error_is_told_in_the_services_words() {
        let denied = r#"{"__type":"AccessDeniedException","Message":"no"}"#;
        let (signed, _) = service(StatusCode::BAD_REQUEST, denied).await;
        let why = signed.ask(&call(), 0).await.unwrap_err().to_string();
        assert!(why.contains("monitoring answers 400") && why.contains("AccessDeniedException"), "{why}");
        let (signed, _) = service(StatusCode::OK, "<html>").await;
        let why = signed.ask(&call(), 0).await.unwrap_err().to_string();
        assert!(why.contains("no JSON"), "{why}");
    }

    #[test]
    fn each_service_of_a_region_has_its_address() {
        let config = SdkConfig::builder().build();
        let signed = Signed::new(config).unwrap();
        let url = |region| signed.url(&call(), region).unwrap().to_string();
        assert_eq!(url("eu-west-1"), "https://monitoring.eu-west-1.amazonaws.com/");
        assert_eq!(url("cn-north-1"), "https://monitoring.cn-north-1.amazonaws.com.cn/");
    }
}
