//! A payment provider and a carrier over HTTP that answer as they are told: the steps call them through their own adapters.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What was asked.
pub struct Asked {
    pub method: String,
    pub path: String,
    pub body: String,
}

impl Asked {
    /// Whether it asks for an effect, and does not only look.
    pub fn is_effect(&self) -> bool {
        self.method == "POST"
    }

    pub fn ends(&self, with: &str) -> bool {
        self.path.ends_with(with)
    }

    /// A field of the form that was sent.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.body.split('&').find_map(|pair| pair.split_once('=').filter(|(of, _)| *of == name).map(|(_, value)| value))
    }

    /// The JSON that was sent.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Json(u16, Value),
    /// A status, and a page of somebody in between.
    Page(u16, String),
    /// The connection is reset after the request was read.
    Reset,
    /// Nothing, for as long as the caller waits.
    Silence,
}

pub type Script = Box<dyn FnMut(&Asked) -> Reply + Send>;

/// One port; the script is changed from order to order.
#[derive(Clone)]
pub struct Provider {
    pub port: u16,
    script: Arc<Mutex<Script>>,
    /// Names each answer, as providers do.
    ids: Arc<Mutex<u64>>,
}

impl Provider {
    pub async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent: Script = Box::new(|_| Reply::Reset);
        let provider = Self { port, script: Arc::new(Mutex::new(silent)), ids: Arc::new(Mutex::new(7)) };
        let serving = provider.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        provider
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn answer_with(&self, script: impl FnMut(&Asked) -> Reply + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    /// `req_` and letters and digits, another one each time.
    fn request_id(&self) -> String {
        let mut seed = self.ids.lock().unwrap();
        let mut id = String::from("req_");
        for _ in 0..14 {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let letters = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789";
            id.push(char::from(letters[usize::try_from(*seed >> 33).unwrap() % letters.len()]));
        }
        id
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(asked) = read(&mut stream).await {
            let reply = (self.script.lock().unwrap())(&asked);
            let (status, body) = match reply {
                Reply::Json(status, body) => (status, body.to_string()),
                Reply::Page(status, text) => (status, text),
                Reply::Reset => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
                Reply::Silence => {
                    let mut rest = [0; 64];
                    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
                    return;
                }
            };
            let head = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nrequest-id: {}\r\ncontent-length: {}\r\n\r\n",
                self.request_id(),
                body.len()
            );
            if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").map(|length| length.trim().parse::<usize>().unwrap())
        });
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let mut words = head.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let path = target.split_once('?').map_or(target.clone(), |(path, _)| path.to_owned());
        return Some(Asked { method, path, body: body.to_owned() });
    }
}

/// An error of the payment provider's. Its message quotes, and is never read.
pub fn no(status: u16, kind: &str, code: Option<&str>, quotes: &str) -> Reply {
    let mut error = json!({ "type": kind, "message": format!("No: '{quotes}'") });
    if let Some(code) = code {
        error["code"] = json!(code);
    }
    Reply::Json(status, json!({ "error": error }))
}

/// A payment as the provider shows it.
pub fn intent(id: &str, status: &str, amount: u64, currency: &str) -> Value {
    let held = if status == "requires_capture" { amount } else { 0 };
    let received = if status == "succeeded" { amount } else { 0 };
    json!({
        "id": id, "object": "payment_intent", "status": status, "amount": amount, "amount_capturable": held,
        "amount_received": received, "currency": currency.to_lowercase(), "capture_method": "manual",
    })
}

/// A provider at its work: what it answers for a payment that stands like this when it is looked at.
pub fn works(asked: &Asked, id: &str, stands: &str, amount: u64, currency: &str) -> Reply {
    let shown = |status: &str| Reply::Json(200, intent(id, status, amount, currency));
    match (asked.method.as_str(), asked.path.as_str()) {
        ("POST", "/v1/payment_intents") => shown("requires_confirmation"),
        ("POST", "/v1/refunds") => Reply::Json(
            200,
            json!({ "id": "re_1", "amount": amount, "currency": currency.to_lowercase(), "status": "succeeded" }),
        ),
        ("POST", path) if path.ends_with("/confirm") => shown("requires_capture"),
        ("POST", path) if path.ends_with("/capture") => shown("succeeded"),
        ("POST", path) if path.ends_with("/cancel") => shown("canceled"),
        ("GET", "/v1/refunds") => Reply::Json(200, json!({ "data": [], "has_more": false })),
        ("GET", "/v1/shipments") => Reply::Json(200, json!({ "shipments": [] })),
        ("GET", _) => shown(stands),
        _ => Reply::Json(404, json!({ "error": { "type": "invalid_request_error" } })),
    }
}
