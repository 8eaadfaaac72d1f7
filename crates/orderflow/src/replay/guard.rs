//! Stands between a function's process and the world while its message is tried out: what reads passes, what would change
//! something does not. A message that it would send is held back, and it is told that it was sent: nothing reads the answer. A
//! write is refused, as nobody can say what would have come of its condition. What a process tells of itself after any batch, how
//! late its lane is and how its provider answers, is held back without a word: it is nothing that the message did.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lambda_queue::dead_letter::ATTRIBUTE;
use reqwest::redirect::Policy;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// The largest request that is looked at, bytes: a batch of messages is 1 MiB, a transaction 4 MB.
const MOST_BYTES: usize = 8 << 20;
/// Longest that what stands behind a guard may take to answer: longer than any client of a function waits.
const UPSTREAM: Duration = Duration::from_secs(60);
/// Of one connection only.
const HOP_BY_HOP: [HeaderName; 4] =
    [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
/// What the process is told.
const REFUSED: &str = "held back by orderflow replay-local";

/// What stands behind a guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// AWS, all services at one address.
    Aws,
    /// A provider's HTTP API.
    Provider,
}

/// What did not pass.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Held {
    /// `SendMessageBatch`, `UpdateItem`, `POST /v1/refunds`, ...
    pub(crate) call: String,
    /// The queue or the table, where it names one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) on: String,
    /// Of a dead letter: why it is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) letter: String,
    /// Whether the process was told that it is done, or that it is refused.
    pub(crate) told: &'static str,
}

/// A guard on a loopback port. Stops when dropped.
pub(crate) struct Guard {
    address: String,
    held: Arc<Mutex<Vec<Held>>>,
    server: JoinHandle<std::io::Result<()>>,
}

struct Shared {
    what: What,
    /// The table that a process tells of itself to.
    words: Option<String>,
    upstream: String,
    http: reqwest::Client,
    held: Arc<Mutex<Vec<Held>>>,
}

impl Guard {
    /// Before `upstream`, a base address. `words`: the table of lanes and breakers, where its words are not told.
    ///
    /// # Errors
    /// Where no port can be bound.
    pub(crate) async fn before(upstream: &str, what: What, words: Option<&str>) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port")?;
        let address = format!("http://{}", listener.local_addr()?);
        let held = Arc::<Mutex<Vec<Held>>>::default();
        // Where an answer points to stands no guard: that is the process's to follow, or not.
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).timeout(UPSTREAM);
        let http = http.build().context("no HTTP client")?;
        let upstream = upstream.trim_end_matches('/').to_owned();
        let shared =
            Arc::new(Shared { what, words: words.map(str::to_owned), upstream, http, held: Arc::clone(&held) });
        let routes = Router::new().fallback(answer).layer(DefaultBodyLimit::max(MOST_BYTES)).with_state(shared);
        let server = tokio::spawn(axum::serve(listener, routes).into_future());
        Ok(Self { address, held, server })
    }

    /// Its base address, to be used in place of the upstream's.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What did not pass so far.
    pub(crate) fn held(&self) -> Vec<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What becomes of a call.
#[derive(Clone, PartialEq, Debug)]
enum Ruling {
    Pass,
    /// It is told this, and nothing is done.
    Pretend(Value),
    /// It is told that it is done, nothing is, and nobody is told.
    PassOver,
    Refuse,
}

fn rule(what: What, words: Option<&str>, method: &Method, target: Option<&str>, body: &Value) -> Ruling {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let Some(target) = target.filter(|_| what == What::Aws) else {
        return if reads { Ruling::Pass } else { Ruling::Refuse };
    };
    let (service, operation) = target.rsplit_once('.').unwrap_or((target, ""));
    match (service, operation) {
        ("DynamoDB_20120810", "GetItem" | "BatchGetItem" | "Query" | "TransactGetItems")
        | ("AmazonSQS", "GetQueueUrl" | "GetQueueAttributes")
        | ("secretsmanager", "GetSecretValue") => Ruling::Pass,
        ("AmazonSQS", "SendMessage") => Ruling::Pretend(json!({ "MessageId": "held-back", "MD5OfMessageBody": "" })),
        ("AmazonSQS", "ChangeMessageVisibility" | "DeleteMessage") => Ruling::Pretend(json!({})),
        ("AmazonSQS", "SendMessageBatch" | "ChangeMessageVisibilityBatch" | "DeleteMessageBatch") => {
            let ids =
                body.get("Entries").and_then(Value::as_array).into_iter().flatten().filter_map(|one| one.get("Id"));
            let done: Vec<Value> =
                ids.map(|id| json!({ "Id": id, "MessageId": "held-back", "MD5OfMessageBody": "" })).collect();
            Ruling::Pretend(json!({ "Successful": done, "Failed": [] }))
        }
        ("DynamoDB_20120810", "UpdateItem")
            if words.is_some() && body.get("TableName").and_then(Value::as_str) == words =>
        {
            Ruling::PassOver
        }
        _ => Ruling::Refuse,
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let target = parts.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let (held, answer) = match rule(shared.what, shared.words.as_deref(), &parts.method, target, &json) {
        Ruling::Pass => return pass(&shared, &parts, body).await,
        // No attributes: it knows as much as before.
        Ruling::PassOver => return (StatusCode::OK, AWS_JSON, "{}").into_response(),
        Ruling::Pretend(answer) => ("done", (StatusCode::OK, AWS_JSON, answer.to_string()).into_response()),
        Ruling::Refuse => ("refused", refusal(shared.what, target)),
    };
    let call = match target.and_then(|target| target.rsplit_once('.')) {
        Some((_, operation)) => operation.to_owned(),
        None => format!("{} {}", parts.method, parts.uri.path()),
    };
    let held = Held { call, on: names(&json), letter: letter(&json), told: held };
    shared.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    answer
}

const AWS_JSON: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/x-amz-json-1.0")];

/// In the words of whoever is asked. AWS's is no error that its SDK tries again; a provider's is one that says nothing about
/// the order.
fn refusal(what: What, target: Option<&str>) -> Response {
    match (what, target) {
        (What::Provider, _) => (StatusCode::SERVICE_UNAVAILABLE, REFUSED).into_response(),
        (What::Aws, Some(_)) => {
            let error = json!({ "__type": "AccessDeniedException", "message": REFUSED });
            (StatusCode::BAD_REQUEST, AWS_JSON, error.to_string()).into_response()
        }
        // S3, SNS and SES: XML, or REST with the error's name in a header.
        (What::Aws, None) => {
            let error = format!("<Error><Code>AccessDenied</Code><Message>{REFUSED}</Message></Error>");
            let kind = [("x-amzn-errortype", "AccessDeniedException"), ("content-type", "application/xml")];
            (StatusCode::FORBIDDEN, kind, error).into_response()
        }
    }
}

async fn pass(shared: &Shared, parts: &axum::http::request::Parts, body: Bytes) -> Response {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let asked = shared
        .http
        .request(parts.method.clone(), format!("{}{path}", shared.upstream))
        .headers(end_to_end(&parts.headers))
        .body(body);
    let answered = async {
        let answer = asked.send().await?;
        let (status, headers) = (answer.status(), end_to_end(answer.headers()));
        Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
    };
    match answered.await {
        Ok((status, headers, body)) => (status, headers, body).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The queue or the tables that a request is about.
fn names(request: &Value) -> String {
    if let Some(url) = request.get("QueueUrl").and_then(Value::as_str) {
        return url.rsplit('/').next().unwrap_or(url).to_owned();
    }
    let mut tables: Vec<&str> = request.get("TableName").and_then(Value::as_str).into_iter().collect();
    for item in request.get("TransactItems").and_then(Value::as_array).into_iter().flatten() {
        let writes = item.as_object().into_iter().flat_map(|item| item.values());
        tables.extend(writes.filter_map(|write| write.get("TableName")).filter_map(Value::as_str));
    }
    tables.dedup();
    tables.join(", ")
}

/// Why the messages of a request are dead letters. The consumer's own words: they hold nothing of a customer.
fn letter(request: &Value) -> String {
    let entries = request.get("Entries").and_then(Value::as_array).into_iter().flatten();
    let letters = std::iter::once(request).chain(entries).filter_map(|message| {
        let letter = message.get("MessageAttributes")?.get(ATTRIBUTE)?.get("StringValue")?.as_str()?;
        let letter: Value = serde_json::from_str(letter).ok()?;
        let field = |name: &str| letter.get(name).and_then(Value::as_str).unwrap_or_default();
        Some(format!("{}: {}", field("code"), field("reason")))
    });
    letters.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_pass_sends_are_held_back_and_writes_refused() {
        let aws = |target: &str| {
            let body = json!({ "TableName": "orders", "Entries": [{ "Id": "0" }] });
            rule(What::Aws, Some("breakers"), &Method::POST, Some(target), &body)
        };
        for operation in ["GetItem", "BatchGetItem", "Query", "TransactGetItems"] {
            assert_eq!(aws(&format!("DynamoDB_20120810.{operation}")), Ruling::Pass, "{operation}");
        }
        for operation in ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem", "SomethingNew"]
        {
            assert_eq!(aws(&format!("DynamoDB_20120810.{operation}")), Ruling::Refuse, "{operation}");
        }
        for target in ["AWSEvents.PutEvents", "AmazonSQS.ReceiveMessage", "AmazonSQS.PurgeQueue", "nonsense", ""] {
            assert_eq!(aws(target), Ruling::Refuse, "{target}");
        }
        let Ruling::Pretend(sent) = aws("AmazonSQS.SendMessageBatch") else { panic!("it is sent, or refused") };
        assert_eq!(sent["Successful"][0]["Id"], "0");
        assert!(matches!(aws("AmazonSQS.ChangeMessageVisibility"), Ruling::Pretend(_)));
    }

    #[test]
    fn without_a_target_the_method_decides() {
        for what in [What::Aws, What::Provider] {
            assert_eq!(rule(what, None, &Method::GET, None, &Value::Null), Ruling::Pass);
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                assert_eq!(rule(what, None, &method, None, &Value::Null), Ruling::Refuse, "{what:?} {method}");
            }
        }
        // What a provider is sent says nothing about AWS.
        for target in ["DynamoDB_20120810.GetItem", "DynamoDB_20120810.UpdateItem"] {
            let words = json!({ "TableName": "breakers" });
            let posed = rule(What::Provider, Some("breakers"), &Method::POST, Some(target), &words);
            assert_eq!(posed, Ruling::Refuse, "{target}");
        }
    }

    #[test]
    fn what_a_process_says_of_itself_is_held_back_without_a_word_and_nothing_else_is() {
        let update = |words: Option<&str>, body: Value| {
            rule(What::Aws, words, &Method::POST, Some("DynamoDB_20120810.UpdateItem"), &body)
        };
        assert_eq!(update(Some("breakers"), json!({ "TableName": "breakers" })), Ruling::PassOver);
        for (words, body) in [
            (Some("breakers"), json!({ "TableName": "orders" })),
            (Some("breakers"), json!({})),
            (None, json!({ "TableName": "breakers" })),
            (None, json!({})),
        ] {
            assert_eq!(update(words, body.clone()), Ruling::Refuse, "{words:?} {body}");
        }
        // A transaction is the order's business, whatever is in it.
        let transaction = json!({ "TransactItems": [{ "Update": { "TableName": "breakers" } }] });
        let target = Some("DynamoDB_20120810.TransactWriteItems");
        assert_eq!(rule(What::Aws, Some("breakers"), &Method::POST, target, &transaction), Ruling::Refuse);
    }

    #[test]
    fn what_was_held_back_is_told_by_name_and_a_letter_by_its_reason() {
        let letter_text = json!({ "code": "poison", "reason": "no JSON", "message_id": "m" }).to_string();
        let send = json!({ "QueueUrl": "http://127.0.0.1:1/0/shop-stock-dlq", "Entries": [
            { "Id": "0", "MessageBody": "Ada", "MessageAttributes": { "dead_letter": { "StringValue": letter_text } } },
        ] });
        assert_eq!((names(&send).as_str(), letter(&send).as_str()), ("shop-stock-dlq", "poison: no JSON"));
        let write =
            json!({ "TransactItems": [{ "Update": { "TableName": "orders" } }, { "Put": { "TableName": "stock" } }] });
        assert_eq!((names(&write).as_str(), letter(&write).as_str()), ("orders, stock", ""));
    }

    #[tokio::test]
    async fn no_guard_follows_an_answer_to_somewhere_else() {
        let arrived = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&arrived);
        let upstream = Router::new().fallback(move |request: Request| {
            seen.lock().unwrap().push(request.uri().to_string());
            async { (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(axum::serve(listener, upstream).into_future());
        let guard = Guard::before(&address, What::Provider, None).await.unwrap();
        let http = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let answer = http.get(format!("{}/v1/payments", guard.address())).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(*arrived.lock().unwrap(), ["/v1/payments"]);
        server.abort();
    }

    #[tokio::test]
    async fn only_what_passes_arrives() {
        let arrived = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&arrived);
        let upstream = Router::new().fallback(move |request: Request| {
            seen.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            async { "from upstream" }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(axum::serve(listener, upstream).into_future());
        let guard = Guard::before(&address, What::Aws, Some("breakers")).await.unwrap();
        let http = reqwest::Client::new();
        let ask = |target: &'static str, table: &str| {
            let asked = http.post(format!("{}/?a=1", guard.address())).header("x-amz-target", target);
            asked.body(json!({ "TableName": table }).to_string()).send()
        };
        let read = ask("DynamoDB_20120810.GetItem", "orders").await.unwrap();
        assert_eq!(read.text().await.unwrap(), "from upstream");
        let write = ask("DynamoDB_20120810.UpdateItem", "orders").await.unwrap();
        assert_eq!(write.status(), 400);
        assert!(write.text().await.unwrap().contains("AccessDeniedException"));
        assert_eq!(ask("AmazonSQS.SendMessage", "orders").await.unwrap().status(), 200);
        let word = ask("DynamoDB_20120810.UpdateItem", "breakers").await.unwrap();
        assert_eq!((word.status(), word.text().await.unwrap().as_str()), (StatusCode::OK, "{}"));
        assert_eq!(*arrived.lock().unwrap(), ["POST /?a=1"]);
        let held: Vec<_> = guard.held().into_iter().map(|held| (held.call, held.on, held.told)).collect();
        let expected = [("UpdateItem", "orders", "refused"), ("SendMessage", "orders", "done")];
        assert_eq!(held, expected.map(|(call, on, told)| (call.to_owned(), on.to_owned(), told)));
        server.abort();
    }
}
