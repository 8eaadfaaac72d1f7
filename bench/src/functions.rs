//! The order system's functions, as they are deployed: the size of the binary, the time to its first poll, its memory.

use std::net::Ipv4Addr;

use anyhow::Context;
use axum::Router;
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::contestant::Places;
use crate::function::Launch;
use crate::report::median;
use crate::start;

/// A function's figures.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    /// Its name.
    pub function: String,
    /// The stripped binary, bytes.
    pub binary_bytes: u64,
    /// From the process's start to its first poll, milliseconds: median.
    pub first_poll_ms: f64,
    /// The quickest and the slowest start, milliseconds.
    pub first_poll_range_ms: [f64; 2],
    /// CPU time by then, milliseconds: median.
    pub cpu_ms: f64,
    /// The most memory by then (`VmHWM`), megabytes of 1,000,000 bytes: median.
    pub memory_mb: f64,
}

/// Starts every function `rounds` times, in turns.
///
/// # Errors
/// Where a binary is missing or a function does not start.
pub async fn measure(places: &Places, rounds: usize) -> anyhow::Result<Vec<Figures>> {
    let names = names(places)?;
    let aws = StubAws::start().await?;
    let mut starts = vec![Vec::new(); names.len()];
    for round in 0..=rounds {
        for (name, starts) in names.iter().zip(&mut starts) {
            let binary = places.binaries.join(name).to_string_lossy().into_owned();
            let launch = Launch { name: name.clone(), command: vec![binary], env: environment(&aws.url) };
            let start = start::once(&launch, places).await?;
            starts.extend((round > 0).then_some(start));
        }
    }
    let mut figures = Vec::new();
    for (function, starts) in names.into_iter().zip(starts) {
        let binary = places.binaries.join(&function);
        let of = |figure: fn(&start::Start) -> f64| -> Vec<f64> { starts.iter().map(figure).collect() };
        let polls = of(|start| start.wall.as_secs_f64() * 1e3);
        let least = polls.iter().copied().fold(f64::INFINITY, f64::min);
        let most = polls.iter().copied().fold(0.0, f64::max);
        figures.push(Figures {
            binary_bytes: std::fs::metadata(&binary).with_context(|| binary.display().to_string())?.len(),
            first_poll_ms: median(&polls),
            first_poll_range_ms: [least, most],
            cpu_ms: median(&of(|start| start.cpu.as_secs_f64() * 1e3)),
            memory_mb: median(&of(|start| start.memory as f64 / 1e6)),
            function,
        });
    }
    Ok(figures)
}

/// Every folder under `functions/`, so that a new function is measured too.
fn names(places: &Places) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(places.root.join("functions")).context("cannot list the functions")? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// All that `template.yaml` sets for any function. Each reads what it needs; none of it is used before the first poll but
/// the secrets.
fn environment(aws: &str) -> Vec<(String, String)> {
    let arn = |service: &str, rest: &str| format!("arn:aws:{service}:us-east-1:000000000000:{rest}");
    [
        ("AWS_ENDPOINT_URL", aws.to_owned()),
        // Elsewhere functions refuse addresses that are not https.
        ("STAGE", "local".to_owned()),
        ("LOG_LEVEL", "info".to_owned()),
        ("SERVICE_NAME", "orderflow".to_owned()),
        ("ORDERS_TABLE", "orders".to_owned()),
        ("STOCK_TABLE", "stock".to_owned()),
        ("IDEMPOTENCY_TABLE", "idempotency".to_owned()),
        ("CASES_TABLE", "cases".to_owned()),
        ("BREAKERS_TABLE", "breakers".to_owned()),
        ("QUEUE_URL_PREFIX", format!("{aws}/000000000000/bench-")),
        ("EMITTED_COMMAND_VERSION", "1".to_owned()),
        ("DLQ_URL", format!("{aws}/000000000000/bench-dlq")),
        ("JWT_ISSUER", aws.to_owned()),
        ("JWT_AUDIENCE", "bench".to_owned()),
        ("JWKS_URL", format!("{aws}/.well-known/jwks.json")),
        ("TENANT_RATE_PER_SECOND", "50".to_owned()),
        ("EXPRESS_DEADLINE_SECONDS", "60".to_owned()),
        ("STANDARD_DEADLINE_SECONDS", "300".to_owned()),
        ("BULK_DEADLINE_SECONDS", "3600".to_owned()),
        ("PAYMENT_API_URL", aws.to_owned()),
        ("PAYMENT_SECRET_ARN", arn("secretsmanager", "secret:payment")),
        ("CARRIER_API_URL", aws.to_owned()),
        ("CARRIER_SECRET_ARN", arn("secretsmanager", "secret:carrier")),
        ("MAIL_FROM", "orders@example.test".to_owned()),
        ("MAIL_IDENTITY", "orders@example.test".to_owned()),
        ("MAPPING_IDS", "payment-express=bench".to_owned()),
        ("EXPRESS_MAXIMUM_CONCURRENCY", "20".to_owned()),
        ("STANDARD_MAXIMUM_CONCURRENCY", "10".to_owned()),
        ("BULK_MAXIMUM_CONCURRENCY", "5".to_owned()),
        ("NOTIFY_MAXIMUM_CONCURRENCY", "10".to_owned()),
        ("ARCHIVE_MAXIMUM_CONCURRENCY", "2".to_owned()),
        ("DLQ_MAXIMUM_CONCURRENCY", "2".to_owned()),
        ("MAX_RECEIVE_COUNT", "50".to_owned()),
        ("IDEMPOTENCY_RETENTION_DAYS", "393".to_owned()),
        ("ARCHIVE_RETENTION_DAYS", "365".to_owned()),
        ("ARCHIVE_BUCKET", "archive".to_owned()),
        ("EVENTS_TOPIC_ARN", arn("sns", "events.fifo")),
        ("EVENT_BUS_NAME", "bus".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Secrets Manager's `GetSecretValue`, the one call that a function makes before its first poll. Stops when dropped.
struct StubAws {
    url: String,
    server: JoinHandle<std::io::Result<()>>,
}

impl StubAws {
    async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let url = format!("http://{}", listener.local_addr()?);
        let answer = |headers: HeaderMap| async move {
            let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
            let secret = json!({
                "ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:bench",
                "Name": "bench",
                "SecretString": "sk_test_bench",
            });
            let (status, body) = match target {
                "secretsmanager.GetSecretValue" => (200, secret.to_string()),
                other => (400, json!({ "__type": "UnknownOperationException", "message": other }).to_string()),
            };
            let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
            (status, [("content-type", "application/x-amz-json-1.1")], body)
        };
        let server = tokio::spawn(axum::serve(listener, Router::new().fallback(answer)).into_future());
        Ok(Self { url, server })
    }
}

impl Drop for StubAws {
    fn drop(&mut self) {
        self.server.abort();
    }
}
