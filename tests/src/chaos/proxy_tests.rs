use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A small AWS: keeps every request as it came, and answers each the same.
struct Upstream {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    connections: Arc<AtomicUsize>,
    _serving: JoinHandle<()>,
}

async fn upstream(answer: &'static [u8]) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let connections: Arc<AtomicUsize> = Arc::default();
    let (kept, count) = (Arc::clone(&seen), Arc::clone(&connections));
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut line = Line::new(stream);
                while let Ok(Some(raw)) = line.head().await {
                    let head = Head::request(raw).unwrap();
                    let mut whole = head.raw.clone();
                    line.copy_body(head.request_framing(), &mut whole).await.unwrap();
                    kept.lock().unwrap().push(whole);
                    line.write(answer).await.unwrap();
                }
            });
        }
    });
    Upstream { addr, seen, connections, _serving: serving }
}

impl Upstream {
    fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nX-Odd-Case: Kept\r\ncontent-length: 2\r\n\r\n{}";

struct Setup {
    proxy: Proxy,
    sent: mpsc::UnboundedReceiver<Sent>,
    journal: Journal,
    upstream: Upstream,
}

async fn setup(odds: Odds, answer: &'static [u8]) -> Setup {
    let upstream = upstream(answer).await;
    let journal = Journal::default();
    let owner = Owner { pid: Arc::new(AtomicU32::new(0)), stack: "orderflow".to_owned() };
    let (proxy, sent) = Proxy::start(upstream.addr, 1, odds, journal.clone(), owner).await.unwrap();
    proxy.set(true);
    Setup { proxy, sent, journal, upstream }
}

fn signed(service: &str, target: &str, body: &str) -> Vec<u8> {
    format!(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Amz-Target: {target}\r\nAuthorization: AWS4-HMAC-SHA256 \
         Credential=0/20261124/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=ab\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const ORDER: &str = "6274a7cd-17b9-8f6c-80c0-45bc88dbba23";

fn put() -> Vec<u8> {
    signed("dynamodb", "DynamoDB_20120810.PutItem", &format!(r#"{{"Item":{{"order_id":{{"S":"{ORDER}"}}}}}}"#))
}

/// Sends bytes on one connection and reads so many answers of it, or to its end.
async fn answers(addr: SocketAddr, requests: &[Vec<u8>]) -> Vec<io::Result<(Head, Vec<u8>)>> {
    let mut line = Line::new(TcpStream::connect(addr).await.unwrap());
    let mut out = Vec::new();
    for request in requests {
        line.write(request).await.unwrap();
        let answer = async {
            let raw = line.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let head = Head::answer(raw).unwrap();
            let mut body = Vec::new();
            line.copy_body(head.answer_framing("POST"), &mut body).await?;
            Ok((head, body))
        };
        out.push(answer.await);
    }
    out
}

#[tokio::test]
async fn what_nothing_happens_to_passes_byte_for_byte_on_one_connection() {
    let it = setup(Odds::usual(0.0), OK).await;
    let chunked = b"PUT /b/k HTTP/1.1\r\nAuthorization: AWS4 Credential=0/1/r/s3/aws4_request\r\nTransfer-Encoding: \
                    chunked\r\n\r\n3\r\nabc\r\n0\r\nx-amz-checksum-crc32: q\r\n\r\n"
        .to_vec();
    let requests = [put(), chunked, b"GET /health HTTP/1.1\r\n\r\n".to_vec()];
    let said = answers(it.proxy.addr, &requests).await;
    assert_eq!(it.upstream.seen(), requests);
    assert_eq!(it.upstream.connections.load(Ordering::SeqCst), 1);
    for answer in said {
        let (head, body) = answer.unwrap();
        assert_eq!([head.raw, body].concat(), OK);
    }
    assert!(it.journal.injected().is_empty());
    assert_eq!(it.journal.calls().0["dynamodb PutItem"], 1);
}

#[tokio::test]
async fn a_call_is_kept_until_it_is_let_go_and_only_the_one_that_was_meant() {
    let it = setup(Odds::usual(0.0), OK).await;
    let order = ORDER.parse().unwrap();
    let mut hold = it.proxy.hold("PutItem", order, r#""order_id""#);
    let mut never = it.proxy.hold("PutItem", order, "another table");
    let addr = it.proxy.addr;
    let asking = tokio::spawn(async move { answers(addr, &[put(), put()]).await.len() });
    hold.reached().await.unwrap();
    assert!(it.upstream.seen().is_empty());
    hold.let_go().unwrap();
    assert_eq!(asking.await.unwrap(), 2, "the second one is not kept");
    assert_eq!(it.upstream.seen().len(), 2);
    assert!(tokio::time::timeout(Duration::from_millis(20), never.reached()).await.is_err());
    never.let_go().unwrap();
}

#[tokio::test]
async fn a_refusal_reaches_nobody_and_the_connection_goes_on() {
    for (fault, status) in [(AwsFault::Throttle, 400), (AwsFault::Error5xx, 500)] {
        let it = setup(Odds::always(fault), OK).await;
        let said = answers(it.proxy.addr, &[put(), put()]).await;
        for answer in said {
            assert_eq!(answer.unwrap().0.status, status);
        }
        assert!(it.upstream.seen().is_empty());
        let injected = it.journal.injected();
        assert_eq!(injected.len(), 2);
        assert_eq!(injected[0].kind, fault.name());
        assert_eq!(injected[0].what, "dynamodb PutItem");
        assert!(injected[0].orders.contains(&ORDER.parse().unwrap()));
    }
}

#[tokio::test]
async fn a_reset_is_not_forwarded_and_a_lost_answer_is() {
    for (fault, forwarded) in [(AwsFault::Reset, 0), (AwsFault::LostAnswer, 1)] {
        let it = setup(Odds::always(fault), OK).await;
        let said = answers(it.proxy.addr, &[put()]).await;
        let kind = said[0].as_ref().unwrap_err().kind();
        assert!(matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof), "{kind:?}");
        assert_eq!(it.upstream.seen().len(), forwarded, "{fault:?}");
    }
}

#[tokio::test]
async fn a_slow_answer_comes_after_the_sdk_gave_up() {
    let it = setup(Odds::always(AwsFault::SlowAnswer), OK).await;
    let started = Instant::now();
    let said = answers(it.proxy.addr, &[put()]).await;
    assert!(said[0].is_ok());
    assert!(started.elapsed() > Duration::from_secs(2) && started.elapsed() < Duration::from_secs(5));
    assert_eq!(it.upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_send_fails_in_part_and_what_was_taken_is_told() {
    const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{\"Successful\":[{\"Id\":\"none\"}]}";
    let mut it = setup(Odds::always(AwsFault::Partial), TAKEN).await;
    let body = r#"{"QueueUrl":"http://q/0/orderflow-stock-bulk","Entries":[{"Id":"a","MessageBody":"1"}]}"#;
    let said = answers(it.proxy.addr, &[signed("sqs", "AmazonSQS.SendMessageBatch", body)]).await;
    let answer: serde_json::Value = serde_json::from_slice(&said[0].as_ref().unwrap().1).unwrap();
    assert_eq!(answer["Failed"][0]["Id"], "a");
    assert!(it.upstream.seen().is_empty(), "nothing was left to ask for");
    assert!(it.sent.try_recv().is_err());
}

#[tokio::test]
async fn messages_that_were_taken_are_told_for_copies() {
    const TAKEN: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-length: 46\r\n\r\n{\"Successful\":[{\"Id\":\"a\"}],\"Failed\":[{\"x\":1}]}";
    let mut it = setup(Odds::usual(0.0), TAKEN).await;
    let body = r#"{"QueueUrl":"u","Entries":[{"Id":"a","MessageBody":"1","MessageGroupId":"g"},{"Id":"b","MessageBody":"2"}]}"#;
    answers(it.proxy.addr, &[signed("sqs", "AmazonSQS.SendMessageBatch", body)]).await;
    let sent = it.sent.recv().await.unwrap();
    assert_eq!(sent, Sent { queue_url: "u".to_owned(), group: Some("g".to_owned()), body: "1".to_owned() });
    assert!(it.sent.try_recv().is_err());
}

#[tokio::test]
async fn a_large_body_is_streamed() {
    let it = setup(Odds::always(AwsFault::Reset), OK).await;
    let length = usize::try_from(LOOKED_AT).unwrap() + 1;
    let head = format!(
        "PUT /b/k HTTP/1.1\r\nAuthorization: AWS4 Credential=0/1/r/s3/aws4_request\r\nExpect: 100-continue\r\n\
         content-length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(it.proxy.addr).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0_u8; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&vec![b'x'; length]).await.unwrap();
    let mut answer = vec![0_u8; OK.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, OK);
    assert_eq!(it.upstream.seen()[0].len(), head.len() + length);
}

#[tokio::test]
async fn nothing_happens_while_it_is_off_and_a_caller_that_is_no_function_lives() {
    let it = setup(Odds::always(AwsFault::Reset), OK).await;
    it.proxy.set(false);
    assert!(answers(it.proxy.addr, &[put()]).await[0].is_ok());
    let it = setup(Odds::always(AwsFault::KilledBefore), OK).await;
    assert!(answers(it.proxy.addr, &[put()]).await[0].is_ok());
    assert!(it.journal.injected().is_empty());
}
