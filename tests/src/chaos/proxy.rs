//! A proxy between the functions and AWS that fails the way networks and services fail, by a seed.
//!
//! What nothing happens to passes byte for byte, in both directions: heads, signatures, chunked bodies. It stands at the
//! level of HTTP/1.1 bytes rather than on a client and a server library, since those write heads anew and neither cuts a
//! connection in place of an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use order::OrderId;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::call::Call;
use super::dice::{AwsFault, Dice, Odds, Throw};
use super::hold::{Hold, Holds};
use super::journal::Journal;
use super::wire::{Framing, Head, Line, content};
use super::{shapes, victims};

/// Bodies up to this are read before it is decided what happens to their call, bytes. Larger ones pass as they come.
const LOOKED_AT: u64 = 4 * 1024 * 1024;

/// A message that a function sent, and AWS took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The queue's URL.
    pub queue_url: String,
    /// Its group.
    pub group: Option<String>,
    /// Its body.
    pub body: String,
}

/// Who the functions belong to, so that a caller can be killed.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Process id of ministack; 0 where nobody is to be killed.
    pub pid: Arc<AtomicU32>,
    /// The stack's name.
    pub stack: String,
}

struct Shared {
    upstream: SocketAddr,
    port: u16,
    on: AtomicBool,
    dice: Mutex<Dice>,
    journal: Journal,
    owner: Owner,
    sent: mpsc::UnboundedSender<Sent>,
    holds: Holds,
}

/// A running proxy. Dropped, it stops and every connection through it ends.
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Proxy {
    /// Starts one on a free loopback port, in front of `upstream`, which need not be there yet. Nothing happens to any call
    /// until [`Proxy::set`]. What functions send comes out of the receiver.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(
        upstream: SocketAddr,
        seed: u64,
        odds: Odds,
        journal: Journal,
        owner: Owner,
    ) -> anyhow::Result<(Self, mpsc::UnboundedReceiver<Sent>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free loopback port")?;
        let addr = listener.local_addr()?;
        let (sent, taken) = mpsc::unbounded_channel();
        let (on, dice) = (AtomicBool::new(false), Mutex::new(Dice::new(seed, odds)));
        let holds = Holds::default();
        let shared = Arc::new(Shared { upstream, port: addr.port(), on, dice, journal, owner, sent, holds });
        let serving = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok((Self { addr, shared, serving }, taken))
    }

    /// Turns the faults on or off.
    pub fn set(&self, on: bool) {
        self.shared.on.store(on, Ordering::Release);
    }

    /// Keeps the next call of this operation that names the order, and this too (a table, say), from AWS until it is let go.
    /// Whether faults are on or not.
    pub fn hold(&self, operation: &str, order: OrderId, naming: &str) -> Hold {
        self.shared.holds.put(operation, order, naming)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Ends with this task: a proxy that is dropped leaves no connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, peer)) = accepted {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        // One that breaks ends only itself, as on any network.
                        serve(&shared, stream, peer).await.ok();
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What becomes of the client's connection.
enum After {
    /// It takes the next request.
    Stays,
    /// It closes.
    Closes,
    /// It is cut: RST, nothing more is sent.
    Cut,
}

async fn serve(shared: &Shared, stream: TcpStream, peer: SocketAddr) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = Line::new(stream);
    let mut upstream = None;
    loop {
        let Some(raw) = client.head().await? else { return Ok(()) };
        let head = Head::request(raw)?;
        let after = exchange(shared, &mut client, &mut upstream, &head, peer).await;
        match after {
            Ok(After::Stays) => {}
            Ok(After::Closes) => return Ok(()),
            // Where the other side is gone, so is this one.
            Ok(After::Cut) | Err(_) => {
                client.stream.set_zero_linger()?;
                return Ok(());
            }
        }
    }
}

/// One request and its answer.
async fn exchange(
    shared: &Shared,
    client: &mut Line,
    upstream: &mut Option<Line>,
    head: &Head,
    peer: SocketAddr,
) -> anyhow::Result<After> {
    if head.field("expect").is_some_and(|expected| expected.eq_ignore_ascii_case("100-continue")) {
        client.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let framing = head.request_framing();
    let small = matches!(framing, Framing::Length(length) if length <= LOOKED_AT);
    if !small {
        // Streamed: passed on as it comes, and nothing happens to it.
        let line = connected(shared, upstream).await?;
        line.write(&head.raw).await?;
        client.copy_body(framing, &mut line.stream).await?;
        return relay(client, upstream, head).await;
    }
    let mut body = Vec::new();
    client.copy_body(framing, &mut body).await?;
    let call = Call::of(head, &body);
    if let Some(call) = &call {
        shared.holds.pass(call, &body).await;
    }
    let throw = match &call {
        Some(call) if shared.on.load(Ordering::Acquire) => {
            let throw = shared.dice.lock().unwrap_or_else(PoisonError::into_inner).throw(call);
            shared.journal.called(call.name(), throw.is_none());
            throw
        }
        Some(_) | None => None,
    };
    match (call, throw) {
        (Some(call), Some(throw)) => befall(shared, client, upstream, (head, &body), &call, throw, peer).await,
        (call, _) => {
            ask(shared, upstream, &[&head.raw, &body]).await?;
            if call.is_some_and(|call| is_send(&call)) && shared.on.load(Ordering::Acquire) {
                let answer = Answer::read(upstream, head).await?;
                tell_sent(shared, &body, &answer);
                return answer.pass_on(client, head).await;
            }
            relay(client, upstream, head).await
        }
    }
}

/// Lets a fault come true.
async fn befall(
    shared: &Shared,
    client: &mut Line,
    upstream: &mut Option<Line>,
    (head, body): (&Head, &[u8]),
    call: &Call,
    throw: Throw,
    peer: SocketAddr,
) -> anyhow::Result<After> {
    let note = || shared.journal.note(throw.fault.name(), call.name(), call.orders.clone());
    let request: [&[u8]; 2] = [&head.raw, body];
    match throw.fault {
        AwsFault::Throttle => {
            note();
            client.write(&shapes::throttled(call)).await?;
            Ok(After::Stays)
        }
        AwsFault::Error5xx => {
            note();
            client.write(&shapes::internal(call)).await?;
            Ok(After::Stays)
        }
        AwsFault::Reset => {
            note();
            Ok(After::Cut)
        }
        AwsFault::Latency => {
            note();
            ask(shared, upstream, &request).await?;
            let answer = Answer::read(upstream, head).await?;
            tell_sent_by(shared, call, body, &answer);
            tokio::time::sleep(throw.latency()).await;
            answer.pass_on(client, head).await
        }
        AwsFault::SlowAnswer => {
            ask(shared, upstream, &request).await?;
            let answer = Answer::read(upstream, head).await?;
            note();
            tell_sent_by(shared, call, body, &answer);
            tokio::time::sleep(throw.slowness()).await;
            answer.pass_on(client, head).await
        }
        AwsFault::LostAnswer => {
            ask(shared, upstream, &request).await?;
            let answer = Answer::read(upstream, head).await?;
            note();
            tell_sent_by(shared, call, body, &answer);
            Ok(After::Cut)
        }
        AwsFault::Partial => partly(shared, client, upstream, (head, body), call, throw).await,
        AwsFault::KilledBefore | AwsFault::KilledAfter => {
            let ministack = shared.owner.pid.load(Ordering::Acquire);
            let victim = victims::holder(ministack, &shared.owner.stack, peer.port(), shared.port);
            let after = throw.fault == AwsFault::KilledAfter;
            if after || victim.is_none() {
                ask(shared, upstream, &request).await?;
                let answer = Answer::read(upstream, head).await?;
                tell_sent_by(shared, call, body, &answer);
                // Who calls is no function: the API's own caller, or a process that is gone.
                let Some(_) = &victim else { return answer.pass_on(client, head).await };
            }
            if let Some(victim) = victim
                && victims::kill(&victim)
            {
                shared.journal.killed(&victim.function);
                let what = format!("{} in {}", victim.function, call.name());
                shared.journal.note(throw.fault.name(), what, call.orders.clone());
            }
            Ok(After::Cut)
        }
    }
}

async fn partly(
    shared: &Shared,
    client: &mut Line,
    upstream: &mut Option<Line>,
    (head, body): (&Head, &[u8]),
    call: &Call,
    throw: Throw,
) -> anyhow::Result<After> {
    let places = throw.failing(shapes::entries(call, body));
    let cut = shapes::cut(call, body, &places)?;
    shared.journal.note(throw.fault.name(), call.name(), call.orders.clone());
    let Some(rest) = &cut.request else {
        client.write(&cut.whole_answer()?).await?;
        return Ok(After::Stays);
    };
    ask(shared, upstream, &[&head.with_length(rest.len()), rest]).await?;
    let answer = Answer::read(upstream, head).await?;
    tell_sent_by(shared, call, rest, &answer);
    if answer.head.status != 200 {
        return answer.pass_on(client, head).await;
    }
    let merged = cut.answer(&content(answer.framing, &answer.body)?)?;
    client.write(&answer.head.with_length(merged.len())).await?;
    client.write(&merged).await?;
    Ok(if head.closes() || answer.head.closes() { After::Closes } else { After::Stays })
}

/// An answer that was read whole.
struct Answer {
    head: Head,
    framing: Framing,
    body: Vec<u8>,
}

impl Answer {
    async fn read(upstream: &mut Option<Line>, request: &Head) -> anyhow::Result<Self> {
        let line = upstream.as_mut().context("no connection")?;
        loop {
            let head = Head::answer(line.head().await?.context("no answer")?)?;
            if head.status < 200 {
                continue;
            }
            let framing = head.answer_framing(&request.method);
            let mut body = Vec::new();
            line.copy_body(framing, &mut body).await?;
            if head.closes() || framing == Framing::UntilClose {
                *upstream = None;
            }
            return Ok(Self { head, framing, body });
        }
    }

    async fn pass_on(&self, client: &mut Line, request: &Head) -> anyhow::Result<After> {
        client.write(&[self.head.raw.as_slice(), &self.body].concat()).await?;
        let closes = request.closes() || self.head.closes() || self.framing == Framing::UntilClose;
        Ok(if closes { After::Closes } else { After::Stays })
    }
}

/// Passes an answer on while it comes.
async fn relay(client: &mut Line, upstream: &mut Option<Line>, request: &Head) -> anyhow::Result<After> {
    let line = upstream.as_mut().context("no connection")?;
    loop {
        let head = Head::answer(line.head().await?.context("no answer")?)?;
        // 100 was said here already.
        if head.status == 100 {
            continue;
        }
        let framing = head.answer_framing(&request.method);
        client.write(&head.raw).await?;
        line.copy_body(framing, &mut client.stream).await?;
        if head.status < 200 {
            continue;
        }
        if head.closes() || framing == Framing::UntilClose {
            *upstream = None;
            return Ok(After::Closes);
        }
        return Ok(if request.closes() { After::Closes } else { After::Stays });
    }
}

async fn ask(shared: &Shared, upstream: &mut Option<Line>, parts: &[&[u8]]) -> anyhow::Result<()> {
    let line = connected(shared, upstream).await?;
    line.write(&parts.concat()).await?;
    Ok(())
}

/// The connection to AWS: the one there is, unless the other side has closed it meanwhile.
async fn connected<'a>(shared: &Shared, upstream: &'a mut Option<Line>) -> io::Result<&'a mut Line> {
    let usable = upstream.as_ref().is_some_and(|line| {
        let nothing =
            matches!(line.stream.try_read(&mut [0_u8; 1]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        line.is_clear() && nothing
    });
    if !usable {
        let stream = TcpStream::connect(shared.upstream).await?;
        stream.set_nodelay(true)?;
        *upstream = Some(Line::new(stream));
    }
    upstream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
}

fn is_send(call: &Call) -> bool {
    call.service == "sqs" && call.operation == "SendMessageBatch"
}

fn tell_sent_by(shared: &Shared, call: &Call, body: &[u8], answer: &Answer) {
    if is_send(call) {
        tell_sent(shared, body, answer);
    }
}

/// Tells of the messages that were taken.
fn tell_sent(shared: &Shared, body: &[u8], answer: &Answer) {
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    let Some(asked) = json(body).filter(|_| answer.head.status == 200) else { return };
    let Some(said) = content(answer.framing, &answer.body).ok().and_then(|body| json(&body)) else { return };
    let list = |value: &serde_json::Value, name: &str| {
        value.get(name).and_then(serde_json::Value::as_array).cloned().unwrap_or_default()
    };
    let text =
        |value: &serde_json::Value, name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let taken: Vec<String> = list(&said, "Successful").iter().filter_map(|entry| text(entry, "Id")).collect();
    let Some(queue_url) = text(&asked, "QueueUrl") else { return };
    for entry in list(&asked, "Entries") {
        let (id, body) = (text(&entry, "Id"), text(&entry, "MessageBody"));
        if let (Some(id), Some(body)) = (id, body)
            && taken.contains(&id)
        {
            let sent = Sent { queue_url: queue_url.clone(), group: text(&entry, "MessageGroupId"), body };
            // Nobody listens any more: then nobody makes copies.
            shared.sent.send(sent).ok();
        }
    }
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
