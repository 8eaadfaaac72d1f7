//! A provider made of one TCP socket: it does to its connections what the test says, and keeps what it was sent.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the provider does with a connection.
#[derive(Clone, Debug)]
pub enum Act {
    /// Accepts and closes, reading nothing.
    Close,
    /// Reads the whole request and closes.
    ReadAndClose,
    /// Reads the whole request and resets the connection.
    ReadAndReset,
    /// Reads the whole request and says nothing, for as long as the caller holds the connection.
    ReadAndHang,
    /// Reads the whole request, sends these bytes, and closes.
    Say(Vec<u8>),
    /// Answers properly and keeps the connection for the next act.
    Answer(u16, String),
}

impl Act {
    pub fn say(text: &str) -> Self {
        Self::Say(text.as_bytes().to_vec())
    }

    pub fn answer(status: u16, body: &serde_json::Value) -> Self {
        Self::Answer(status, body.to_string())
    }
}

/// The provider. The acts are taken one by one; the last one is repeated.
pub struct Stub {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stub {
    pub async fn new(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            let mut acts = acts.into_iter().peekable();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // A connection that is kept takes the next act as well.
                loop {
                    let act = acts.next().expect("a stub has something to do");
                    if acts.peek().is_none() {
                        acts = vec![act.clone()].into_iter().peekable();
                    }
                    if !play(&mut stream, act, &kept).await {
                        break;
                    }
                }
            }
        });
        Self { port, requests, server }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What came, head and body, a text a request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Answers whether the connection goes on.
async fn play(stream: &mut TcpStream, act: Act, kept: &Mutex<Vec<String>>) -> bool {
    if matches!(act, Act::Close) {
        return false;
    }
    let Some(request) = read_request(stream).await else { return false };
    kept.lock().unwrap().push(request);
    match act {
        Act::Close | Act::ReadAndClose => false,
        Act::ReadAndReset => {
            stream.set_zero_linger().unwrap();
            false
        }
        Act::ReadAndHang => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
            false
        }
        Act::Say(bytes) => {
            // The caller may have hung up at the first wrong byte.
            let sent = stream.write_all(&bytes).await;
            drop(sent);
            false
        }
        Act::Answer(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: application/json\r\nrequest-id: req_stub\r\nretry-after: 3\r\n\
                 location: http://127.0.0.1:1/\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.is_ok()
        }
    }
}

/// One request, head and body; `None` where the caller closed.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length:").map(|length| length.trim().parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
    }
}
