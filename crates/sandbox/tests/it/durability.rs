//! What was answered is on disk.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::Config;
use sandbox::ledger::{self, Effect};

use crate::support::{Answer, Caller, created_with, sandbox};

const CREATE: &str = "/v1/payment_intents";

#[tokio::test]
async fn state_answers_and_clock_survive_a_restart() {
    let world = sandbox().await;
    world.call.admin("/clock", &serde_json::json!({ "advance_ms": 5_000_000 })).await.expect(200);
    let created = world.call.pay_keyed("k1", CREATE, &created_with("pm_card_visa")).await.expect(200);
    let path = format!("{CREATE}/{}", created.id());
    world.call.pay(&format!("{path}/confirm"), &[]).await.expect(200);
    let before = world.call.ledger().await;

    let world = world.restart().await;
    assert_eq!(world.call.ledger().await, before);
    assert_eq!(ledger::read(&world.ledger_path()).unwrap(), before);
    assert_eq!(world.call.get("/_sandbox/clock").await.body["offset_ms"], 5_000_000);
    let again = world.call.pay_keyed("k1", CREATE, &created_with("pm_card_visa")).await.expect(200);
    assert_eq!((again.header("idempotent-replayed"), &again.body), (Some("true"), &created.body));
    world.call.pay(&format!("{path}/capture"), &[]).await.expect(200);
    world.call.pay("/v1/refunds", &[("payment_intent", &created.id()), ("amount", "900")]).await.expect(200);

    let world = world.restart().await;
    world.call.pay("/v1/refunds", &[("payment_intent", &created.id()), ("amount", "101")]).await.expect(400);
    let entries = world.call.ledger().await;
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let after = world.call.get("/_sandbox/ledger?after=3").await.expect(200);
    assert_eq!(after.body.as_array().unwrap().len(), 1);
    assert_eq!(after.body[0]["effect"], "refunded");
}

/// The binary, killed when dropped.
struct Process(Child);

impl Process {
    fn start(ledger: &Path, port_file: &Path) -> (Self, Caller) {
        let child = Command::new(env!("CARGO_BIN_EXE_sandbox"))
            .arg("--ledger")
            .arg(ledger)
            .arg("--port-file")
            .arg(port_file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let process = Self(child);
        let start = Instant::now();
        let port = loop {
            if let Ok(text) = std::fs::read_to_string(port_file) {
                break text.trim().parse::<u16>().unwrap();
            }
            assert!(start.elapsed() < Duration::from_secs(20), "the sandbox did not come up");
            std::thread::sleep(Duration::from_millis(5));
        };
        std::fs::remove_file(port_file).unwrap();
        (process, Caller::new(format!("http://127.0.0.1:{port}")))
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").arg(signal).arg(self.0.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (path, port_file) = (folder.path().join("ledger.jsonl"), folder.path().join("port"));
    let (process, call) = Process::start(&path, &port_file);
    let (tell, mut answered) = tokio::sync::mpsc::unbounded_channel::<(String, String)>();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..6 {
        let (call, tell) = (call.clone(), tell.clone());
        callers.spawn(async move {
            for turn in 0_u32.. {
                let key = format!("{caller}-{turn}");
                let Ok(response) = call.keyed(&key, CREATE, &created_with("pm_card_visa")).send().await else { return };
                let Ok(body) = response.json::<serde_json::Value>().await else { return };
                let id = body["id"].as_str().unwrap().to_owned();
                let confirm = call.keyed(&format!("c-{key}"), &format!("{CREATE}/{id}/confirm"), &[]).send().await;
                if confirm.is_ok_and(|response| response.status() == 200) {
                    tell.send((key, id)).unwrap();
                }
            }
        });
    }
    drop(tell);
    let mut told = Vec::new();
    while told.len() < 60 {
        told.push(answered.recv().await.expect("the callers ended early"));
    }
    process.signal("-KILL");
    while let Some(more) = answered.recv().await {
        told.push(more);
    }
    callers.join_all().await;
    drop(process);

    let (process, call) = Process::start(&path, &port_file);
    let entries = call.ledger().await;
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
    for (key, id) in &told {
        let held = entries.iter().filter(|entry| &entry.id == id && entry.effect == Effect::Authorized);
        assert_eq!(held.count(), 1, "{id}");
        assert_eq!(call.get(&format!("{CREATE}/{id}")).await.text("/status"), "requires_capture");
        let again = call.pay_keyed(key, CREATE, &created_with("pm_card_visa")).await.expect(200);
        assert_eq!((again.header("idempotent-replayed"), again.id()), (Some("true"), id.clone()));
    }
    drop(process);
}

#[tokio::test]
async fn sigterm_ends_it_well_even_with_a_caller_hanging() {
    let folder = tempfile::tempdir().unwrap();
    let (path, port_file) = (folder.path().join("ledger.jsonl"), folder.path().join("port"));
    let (mut process, call) = Process::start(&path, &port_file);
    call.fault(serde_json::json!({ "operation": "confirm", "fault": "effect_then_hang" })).await;
    let id = call.intent("pm_card_visa").await;
    let hanging = tokio::spawn(call.post(&format!("{CREATE}/{id}/confirm"), &[]).send());
    let start = Instant::now();
    while call.effects().await.len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    process.signal("-TERM");
    assert!(process.0.wait().unwrap().success());
    assert!(hanging.await.unwrap().is_err());
    assert_eq!(ledger::read(&path).unwrap().len(), 2);
}

#[tokio::test]
async fn a_half_written_end_is_cut_off_and_damage_before_it_is_not_passed_over() {
    let world = sandbox().await;
    world.call.held("pm_card_visa").await;
    let entries = world.call.ledger().await;
    let path = world.ledger_path();
    let folder = world.stop().await;
    let whole = std::fs::read_to_string(&path).unwrap();

    // An effect whose commit never came, and half a line: nobody was told of either.
    let effect = serde_json::to_string(&sandbox::ledger::LedgerEntry { seq: 3, ..entries[1].clone() }).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    write!(file, "{effect}\n{}", &effect[..20]).unwrap();
    drop(file);
    assert_eq!(ledger::read(&path).unwrap(), entries);
    let running = sandbox::serve(Config::new(&path)).await.unwrap();
    assert_eq!(Caller::new(running.url()).ledger().await, entries);
    running.shutdown().await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);

    std::fs::write(&path, whole.replacen("\"seq\":1", "\"seq\":x", 1)).unwrap();
    let error = sandbox::serve(Config::new(&path)).await.unwrap_err();
    assert!(error.to_string().contains("damaged at line 1"), "{error:#}");
    drop(folder);
}

#[tokio::test]
async fn a_ledger_has_one_sandbox() {
    let world = sandbox().await;
    let error = sandbox::serve(Config::new(world.ledger_path())).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error:#}");
}

#[tokio::test]
async fn health_tells_of_itself() {
    let world = sandbox().await;
    let health = world.call.get("/_sandbox/health").await.expect(200);
    assert_eq!(health.body, serde_json::json!({ "ok": true, "ledger_entries": 0, "under_way": 0 }));
    let other = world.call.client.get(format!("{}/nothing", world.call.base)).send().await.unwrap();
    assert_eq!(Answer::of(other).await.status, 404);
}
