//! HTTP/1.1 as bytes: where a head ends, how long its body is. What is passed on is passed on as it came.

use std::io;

use anyhow::{Context, bail};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest head, bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// Most header fields.
const FIELDS: usize = 100;
/// Read at once, bytes.
const CHUNK: usize = 16 * 1024;

/// How a body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the chunk of length 0.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A request's or an answer's head, as it came and as it reads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// With the empty line that ends it.
    pub(super) raw: Vec<u8>,
    /// Of a request.
    pub(super) method: String,
    /// Of a request.
    pub(super) path: String,
    /// Of an answer; 0 for a request.
    pub(super) status: u16,
    fields: Vec<(String, String)>,
}

impl Head {
    /// Reads a request's head.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn request(raw: Vec<u8>) -> anyhow::Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        if request.parse(&raw).context("no HTTP request")?.is_partial() {
            bail!("half a request");
        }
        let (method, path) =
            (request.method.unwrap_or_default().to_owned(), request.path.unwrap_or_default().to_owned());
        let fields = owned(request.headers);
        Ok(Self { raw, method, path, status: 0, fields })
    }

    /// Reads an answer's head.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn answer(raw: Vec<u8>) -> anyhow::Result<Self> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS];
        let mut answer = httparse::Response::new(&mut fields);
        if answer.parse(&raw).context("no HTTP answer")?.is_partial() {
            bail!("half an answer");
        }
        let (status, fields) = (answer.code.unwrap_or_default(), owned(answer.headers));
        Ok(Self { raw, method: String::new(), path: String::new(), status, fields })
    }

    /// A header field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the connection ends after this message.
    pub(super) fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.to_ascii_lowercase().contains("close"))
    }

    /// How a request's body ends.
    pub(super) fn request_framing(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    /// How the body of an answer to this method ends.
    pub(super) fn answer_framing(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        self.framing().unwrap_or(Framing::UntilClose)
    }

    fn framing(&self) -> Option<Framing> {
        if self.field("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
            return Some(Framing::Chunked);
        }
        self.field("content-length").and_then(|value| value.trim().parse().ok()).map(Framing::Length)
    }

    /// The same head for a body of another length, every other line as it came.
    pub(super) fn with_length(&self, length: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.raw.len());
        for line in self.raw.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                continue;
            }
            if name.eq_ignore_ascii_case(b"content-length") || line == b"\r\n" {
                continue;
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        out
    }
}

fn owned(fields: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    fields.iter().map(|field| (field.name.to_owned(), text(field.value))).collect()
}

/// A connection with what was read of it and not taken yet.
#[derive(Debug)]
pub(super) struct Line<S = TcpStream> {
    pub(super) stream: S,
    rest: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Whether nothing was read ahead: what is in flight belongs to the next message.
    pub(super) fn is_clear(&self) -> bool {
        self.rest.is_empty()
    }

    async fn more(&mut self) -> io::Result<bool> {
        let before = self.rest.len();
        self.rest.reserve(CHUNK);
        self.stream.read_buf(&mut self.rest).await?;
        Ok(self.rest.len() > before)
    }

    /// The next head with its empty line; `None` where the other side is done.
    pub(super) async fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut looked = 0_usize;
        loop {
            let from = looked.saturating_sub(3);
            let found = self.rest.get(from..).and_then(|rest| rest.windows(4).position(|four| four == b"\r\n\r\n"));
            if let Some(at) = found {
                let rest = self.rest.split_off(from + at + 4);
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
            looked = self.rest.len();
            if looked > HEAD_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a head without an end"));
            }
            if !self.more().await? {
                let done = self.rest.is_empty();
                return if done { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Copies a body as it comes, framing included.
    pub(super) async fn copy_body<W: AsyncWrite + Unpin>(&mut self, framing: Framing, to: &mut W) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.copy(length, to).await,
            Framing::Chunked => self.copy_chunks(to).await,
            Framing::UntilClose => loop {
                let rest = std::mem::take(&mut self.rest);
                to.write_all(&rest).await?;
                if !self.more().await? {
                    return Ok(());
                }
            },
        }
    }

    async fn copy(&mut self, length: u64, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.rest.is_empty() && !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = self.rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let rest = self.rest.split_off(take);
            let part = std::mem::replace(&mut self.rest, rest);
            to.write_all(&part).await?;
            left -= take as u64;
        }
        Ok(())
    }

    async fn copy_chunks(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let bad = || io::Error::new(io::ErrorKind::InvalidData, "no chunk");
        loop {
            let line = self.text_line().await?;
            to.write_all(&line).await?;
            let size = String::from_utf8_lossy(&line);
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad())?;
            if size == 0 {
                // Trailers, then an empty line.
                loop {
                    let line = self.text_line().await?;
                    to.write_all(&line).await?;
                    if line == b"\r\n" {
                        return Ok(());
                    }
                }
            }
            self.copy(size.saturating_add(2), to).await?;
        }
    }

    async fn text_line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(at + 1);
                return Ok(std::mem::replace(&mut self.rest, rest));
            }
            if self.rest.len() > HEAD_BYTES || !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends all of it.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

/// The content of a body that was copied with its framing.
///
/// # Errors
/// When it is not what its framing says.
pub(super) fn content(framing: Framing, raw: &[u8]) -> anyhow::Result<Vec<u8>> {
    match framing {
        Framing::Length(_) | Framing::UntilClose => Ok(raw.to_vec()),
        Framing::Chunked => {
            let (mut out, mut rest) = (Vec::new(), raw);
            loop {
                match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((_, 0))) => return Ok(out),
                    Ok(httparse::Status::Complete((at, size))) => {
                        let size = usize::try_from(size).context("a chunk too large")?;
                        out.extend_from_slice(rest.get(at..at + size).context("half a chunk")?);
                        rest = rest.get(at + size + 2..).context("half a chunk")?;
                    }
                    Ok(httparse::Status::Partial) | Err(_) => bail!("no chunk"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn copied(framing: Framing, sent: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(7);
        let sent = sent.to_vec();
        let writing = tokio::spawn(async move { far.write_all(&sent).await });
        let mut line = Line::new(near);
        let mut out = Vec::new();
        line.copy_body(framing, &mut out).await.unwrap();
        let mut rest = std::mem::take(&mut line.rest);
        line.stream.read_to_end(&mut rest).await.unwrap();
        writing.await.unwrap().unwrap();
        (out, rest)
    }

    #[tokio::test]
    async fn a_body_is_copied_to_its_end_and_no_further() {
        assert_eq!(copied(Framing::Length(5), b"hellonext").await, (b"hello".to_vec(), b"next".to_vec()));
        let chunked = b"4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nx-sum: 1\r\n\r\n".to_vec();
        let sent = [chunked.as_slice(), b"next"].concat();
        assert_eq!(copied(Framing::Chunked, &sent).await, (chunked.clone(), b"next".to_vec()));
        assert_eq!(content(Framing::Chunked, &chunked).unwrap(), b"wikipedia");
        assert_eq!(copied(Framing::UntilClose, b"all of it").await.0, b"all of it");
    }

    #[tokio::test]
    async fn heads_are_taken_one_by_one() {
        let (near, mut far) = tokio::io::duplex(5);
        tokio::spawn(async move { far.write_all(b"GET / HTTP/1.1\r\nA: 1\r\n\r\nPOST /x HTTP/1.1\r\n\r\n").await });
        let mut line = Line::new(near);
        let first = Head::request(line.head().await.unwrap().unwrap()).unwrap();
        assert_eq!((first.method.as_str(), first.field("a")), ("GET", Some("1")));
        let second = Head::request(line.head().await.unwrap().unwrap()).unwrap();
        assert_eq!((second.method.as_str(), second.path.as_str()), ("POST", "/x"));
        assert_eq!(line.head().await.unwrap(), None);
    }

    #[test]
    fn a_head_for_another_length_keeps_its_other_lines() {
        let head = Head::answer(b"HTTP/1.1 200 OK\r\nX-Id: 7\r\nContent-Length: 3\r\n\r\n".to_vec()).unwrap();
        assert_eq!(head.answer_framing("POST"), Framing::Length(3));
        let other = Head::answer(head.with_length(12)).unwrap();
        assert_eq!((other.field("x-id"), other.answer_framing("POST")), (Some("7"), Framing::Length(12)));
        assert_eq!(other.answer_framing("HEAD"), Framing::Length(0));
    }
}
