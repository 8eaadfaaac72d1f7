//! A proxy that lets a request through and drops its answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Most bytes of a request.
const REQUEST_BYTES: usize = 1 << 20;

/// One request a connection. The next answers are dropped while there are any to drop.
pub struct Proxy {
    port: u16,
    drops: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// In front of `http://127.0.0.1:<port>`.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let (drops, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (left, count) = (Arc::clone(&drops), Arc::clone(&dropped));
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, left, count) = (upstream.clone(), Arc::clone(&left), Arc::clone(&count));
                tokio::spawn(async move {
                    // A client that goes away ends its own connection only.
                    serve(client, &upstream, &left, &count).await.ok();
                });
            }
        });
        Self { port, drops, dropped, serving }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The answers to the next `many` requests are dropped, after the server has committed what they ask for.
    pub fn drop_next(&self, many: usize) {
        self.drops.store(many, Ordering::SeqCst);
    }

    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut client: TcpStream, upstream: &str, left: &AtomicUsize, count: &AtomicUsize) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let mut server = TcpStream::connect(upstream).await?;
    // The server then ends its answer by closing, and tells the client that it will.
    let line_end = request.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
    server.write_all(&request[..line_end]).await?;
    server.write_all(b"Connection: close\r\n").await?;
    server.write_all(&request[line_end..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        count.fetch_add(1, Ordering::SeqCst);
        return Ok(());
    }
    client.write_all(&answer).await?;
    client.shutdown().await
}

async fn read_request(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    loop {
        if let Some(head) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if request.len() >= head + 4 + length {
                return Ok(request);
            }
        }
        let read = client.read_buf(&mut request).await?;
        if read == 0 || request.len() > REQUEST_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
