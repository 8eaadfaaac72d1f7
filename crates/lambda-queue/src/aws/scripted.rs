//! A service that answers by a script, for the tests of the adapters.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An answer of this status with this body.
pub(super) fn answer(status: u16, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"))
}

/// Each request gets the next answer, on a connection of its own; `None` closes it without one.
pub(super) struct Scripted {
    port: u16,
    asked: Arc<AtomicUsize>,
    answers: usize,
    serving: JoinHandle<()>,
}

impl Scripted {
    pub(super) async fn start(answers: Vec<Option<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, count) = (Arc::new(AtomicUsize::new(0)), answers.len());
        let seen = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let at = seen.fetch_add(1, Ordering::SeqCst);
                let answer = answers.get(at).cloned().flatten();
                // A client that goes away ends its own connection only.
                serve(client, answer).await.ok();
            }
        });
        Self { port, asked, answers: count, serving }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As many requests came as there are answers.
    pub(super) fn all_were_asked(&self) {
        assert_eq!(self.asked.load(Ordering::SeqCst), self.answers);
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut client: TcpStream, answer: Option<String>) -> io::Result<()> {
    let mut request = Vec::new();
    loop {
        if let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if request.len() >= head + 4 + length {
                break;
            }
        }
        if client.read_buf(&mut request).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if let Some(answer) = answer {
        client.write_all(answer.as_bytes()).await?;
    }
    client.shutdown().await
}
