//! Outages on a deployed stack of their own, as a breaker is everybody's: what a provider that is gone does to orders, what an
//! operator does to a breaker, and a mapping that somebody turned off. The measured one is `make outage`. Between its functions and
//! the local AWS stands a proxy, for what races a write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod races;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use anyhow::{Context, ensure};
use order::{Lane, OrderId, State};
use orderflow::stack::{self, Options, StackInfo, binaries, project_root};
use serde_json::{Value, json};
use tests::api::Who;
use tests::chaos::dice::Odds;
use tests::chaos::journal::Journal;
use tests::chaos::proxy::{Owner, Proxy};
use tests::clock::now_ms;
use tests::deployed::Deployed;
use tests::guard::{self, Guard, Owned};
use tests::ledger::{Effect, Fault, FaultKind, Operation, Provider};
use tests::run::without_deadlines;
use tests::wait::eventually;

/// Within which a breaker and its mappings follow each other on a busy machine.
const SOON: Duration = Duration::from_secs(40);

struct Up {
    info: StackInfo,
    proxy: Proxy,
    _guard: Guard,
    _owned: Owned,
}

static STACK: OnceLock<Up> = OnceLock::new();

/// A proxy that lets everything pass, in a runtime of its own: the tests' runtimes end with them.
fn start_proxy(upstream: SocketAddr) -> anyhow::Result<Proxy> {
    let (tell, told) = mpsc::channel();
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let owner = Owner { pid: Arc::new(AtomicU32::new(0)), stack: String::new() };
            let (proxy, _) = Proxy::start(upstream, 1, Odds::usual(0.0), Journal::default(), owner).await?;
            tell.send(proxy).context("nobody wants the proxy")?;
            std::future::pending::<anyhow::Result<()>>().await
        })
    };
    std::thread::spawn(move || serve().inspect_err(|error| eprintln!("no proxy: {error:#}")));
    told.recv().context("the proxy did not start")
}

fn bring_up() -> anyhow::Result<Up> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let root = project_root()?;
        let (dir, owned) = guard::own_one_of(&root.join("target/outage-tests"))?;
        let port = stack::free_port()?;
        let proxy = start_proxy(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let mut options = Options::new(root).in_dir(dir);
        options.port = Some(port);
        options.function_endpoint = Some(format!("http://{}", proxy.addr));
        options.parameters.extend(without_deadlines(&Lane::ALL));
        options.progress = Arc::new(|line| eprintln!("{line}"));
        let stack = stack::up(&options).await?;
        let guard = guard::watch(Path::new(env!("CARGO_BIN_EXE_run")), stack.dir())?;
        Ok(Up { info: stack.detach(), proxy, _guard: guard, _owned: owned })
    })
}

fn up() -> &'static Up {
    STACK.get_or_init(|| std::thread::spawn(bring_up).join().expect("a panic").expect("a stack"))
}

fn deployed() -> anyhow::Result<Deployed> {
    Deployed::new(up().info.clone())
}

fn proxy() -> &'static Proxy {
    &up().proxy
}

async fn place(d: &Deployed, who: &Who, key: &str) -> anyhow::Result<OrderId> {
    place_of(d, who, key, "out-1").await
}

async fn place_of(d: &Deployed, who: &Who, key: &str, sku: &str) -> anyhow::Result<OrderId> {
    let body = json!({
        "lane": "express",
        "lines": [{ "sku": sku, "quantity": 1 }],
        "ship_to": {
            "name": "Ann", "line1": "1 Long Road", "city": "Springfield", "postal_code": "12345", "country": "US",
        },
        "email": "ann@out.example.test",
        "payment_method": "pm_card_visa",
    });
    let answer = d.api.place(who, key, &body).await?;
    ensure!(answer.status == 202, "{} {}", answer.status, answer.text);
    answer.order_id().context("no order id")
}

async fn state_of(d: &Deployed, dependency: &str, wanted: &str) -> anyhow::Result<()> {
    eventually(&format!("the breaker of {dependency} is {wanted}"), SOON, || async {
        Ok((d.tables.breaker(dependency).await?.state == wanted).then_some(()))
    })
    .await
}

async fn mapping_is(d: &Deployed, queue: &str, on: bool) -> anyhow::Result<()> {
    eventually(&format!("what feeds from {queue} is {}", if on { "on" } else { "off" }), SOON, || async {
        Ok((d.mappings.is(queue).await?.0 == on).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_carrier_that_is_gone_is_left_alone_and_every_order_ships_once_when_it_is_back() -> anyhow::Result<()> {
    let d = deployed()?;
    let (who, since_ms) = (Who::new("shop-outage", "ann"), now_ms());
    d.tables.put_product("out-1", 1_000, 100).await?;
    let fault = Fault {
        provider: Some(Provider::Carrier),
        operation: Operation::Any,
        fault: FaultKind::Reset,
        probability: 1.0,
        count: None,
        delay_ms: None,
        order_id: None,
    };
    d.ledger.fault(&fault).await?;
    let mut ids = Vec::new();
    for nth in 0..45 {
        ids.push(place(&d, &who, &format!("key-{nth}")).await?);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    state_of(&d, "carrier", "open").await?;
    for lane in ["express", "standard", "bulk"] {
        mapping_is(&d, &format!("shipping-{lane}"), false).await?;
        assert!(d.mappings.is(&format!("payment-{lane}")).await?.0, "payment is none of the carrier's");
    }
    // Everything before the carrier goes on.
    for id in &ids {
        d.row_when(*id, "paid", SOON, |row| row.order.state == State::Paid).await?;
    }
    d.ledger.heal().await?;
    state_of(&d, "carrier", "closed").await?;
    mapping_is(&d, "shipping-express", true).await?;
    for id in &ids {
        let row = d.ended(*id, Duration::from_secs(120)).await?;
        assert_eq!((row.order.state, row.order.parked), (State::Shipped, None));
    }
    let shipped = d.ledger.entries()?.into_iter().filter(|entry| entry.effect == Effect::ShipmentCreated);
    assert_eq!(shipped.count(), ids.len(), "each once");
    assert!(d.queues.depths().await?.have_no_dead_letters());
    // The lines of a run are there once it has ended, and one stays as long as a minute: beside this test a mapping is off.
    let probes = eventually("the probes' lines", Duration::from_secs(70), || async {
        let probes = d.logs.messages("control-breakers", "provider probed", since_ms).await?;
        Ok((!probes.is_empty()).then_some(probes.len()))
    })
    .await?;
    assert!(probes <= 20, "{probes} probes");
    // And it comes up to what it was.
    eventually("the concurrency is as normal", Duration::from_secs(100), || async {
        Ok((d.mappings.is("shipping-express").await? == (true, Some(20))).then_some(()))
    })
    .await
}

/// What the tool prints as JSON.
async fn tool(d: &Deployed, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = tokio::process::Command::new(binaries(&project_root()?).join("orderflow"));
    let dir = d.info.ledger.parent().context("the ledger lies in the stack's folder")?;
    let command = command.arg("--json").args(arguments).arg("--dir").arg(dir).kill_on_drop(true);
    let output = command.output().await.context("the tool did not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[tokio::test]
async fn an_operator_stops_mail_and_lets_it_go_on_and_who_and_why_stand_on_the_row() -> anyhow::Result<()> {
    let d = deployed()?;
    let why = ["--reason", "a test", "--yes"];
    let opened = tool(&d, &[["breaker", "open", "mail"].as_slice(), &why].concat()).await?;
    assert_eq!((opened["state"].as_str(), opened["forced"].as_bool()), (Some("open"), Some(true)));
    mapping_is(&d, "notify.fifo", false).await?;
    let closed = tool(&d, &[["breaker", "close", "mail"].as_slice(), &why].concat()).await?;
    assert_eq!(closed["state"], "closed");
    mapping_is(&d, "notify.fifo", true).await?;
    let all = tool(&d, &["breaker", "list"]).await?;
    let mail = all.as_array().unwrap().iter().find(|row| row["dependency"] == "mail").unwrap();
    let acts: Vec<(&str, &str, &str)> = mail["acts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|act| (act["who"].as_str().unwrap(), act["reason"].as_str().unwrap(), act["state"].as_str().unwrap()))
        .collect();
    assert!(acts.iter().all(|(who, reason, _)| who.starts_with("local user ") && *reason == "a test"), "{acts:?}");
    assert_eq!(acts.iter().map(|(_, _, state)| *state).collect::<Vec<_>>(), ["open", "closed"]);
    let refused = tool(&d, &["breaker", "open", "mail", "--reason", " ", "--yes"]).await.unwrap_err();
    assert!(refused.to_string().contains("--reason"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn a_mapping_that_somebody_turned_off_is_on_again_in_under_two_minutes() -> anyhow::Result<()> {
    let d = deployed()?;
    d.mappings.turn_off("stock-bulk").await?;
    eventually("it is on again", Duration::from_secs(120), || async {
        Ok(d.mappings.is("stock-bulk").await?.0.then_some(()))
    })
    .await?;
    eventually("it is told", SOON, || async {
        let told = d.logs.messages("control-breakers", "no breaker asked for it", 0).await?;
        Ok((!told.is_empty()).then_some(()))
    })
    .await
}
