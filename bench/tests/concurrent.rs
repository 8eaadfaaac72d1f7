//! Several invocations at a time in one process, over a real Runtime API: `AWS_LAMBDA_MAX_CONCURRENCY`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::process::Stdio;
use std::time::Duration;

use bench::event;
use runtime_api::{Answer, RuntimeApi};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);
const AT_A_TIME: usize = 4;

/// Ten records of which this one panics, all of them once the file is there.
fn batch(panics: usize, once: Option<&std::path::Path>) -> Vec<u8> {
    let bodies = (0..10).map(|at| json!({ "panic": at == panics, "once": once }));
    serde_json::to_vec(&event::sqs(bodies)).unwrap()
}

async fn invoke(api: &RuntimeApi, panics: usize, once: Option<&std::path::Path>) -> Value {
    match api.invoke(batch(panics, once), LIMIT).await.unwrap() {
        Answer::Response(body) => serde_json::from_slice(&body).unwrap(),
        Answer::Error(body) => panic!("{}", String::from_utf8_lossy(&body)),
    }
}

fn only(place: usize) -> Value {
    json!({ "batchItemFailures": [{ "itemIdentifier": event::message_id(place) }] })
}

#[tokio::test]
async fn invocations_side_by_side_share_a_process_and_nothing_else_and_one_of_them_is_its_cold_start() {
    let api = RuntimeApi::start().await.unwrap();
    let mut function = Command::new(env!("CARGO_BIN_EXE_one-panics"))
        .env("AWS_LAMBDA_RUNTIME_API", api.address())
        .env("AWS_LAMBDA_FUNCTION_NAME", "one-panics")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "g")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "s")
        .env("AWS_LAMBDA_MAX_CONCURRENCY", AT_A_TIME.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = function.stdout.take().unwrap();
    let printed = tokio::spawn(async move {
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        text
    });
    api.first_poll(LIMIT).await.unwrap();

    // Three wait for the file; a fourth is answered meanwhile, and with it the process has room for no more.
    let folder = tempfile::tempdir().unwrap();
    let (api, file) = (&api, folder.path().join("go"));
    let file = file.as_path();
    let three = futures::future::join_all((0..AT_A_TIME - 1).map(|panics| invoke(api, panics, Some(file))));
    let fourth = async {
        let answer = invoke(api, 9, None).await;
        std::fs::write(file, "").unwrap();
        answer
    };
    let (three, fourth) = tokio::join!(three, fourth);
    assert_eq!(three, (0..AT_A_TIME - 1).map(only).collect::<Vec<_>>());
    assert_eq!(fourth, only(9));

    function.kill().await.unwrap();
    let lines: Vec<Value> = printed.await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let finished: Vec<&Value> = lines.iter().filter(|line| line["message"] == "invocation finished").collect();
    assert_eq!(finished.len(), AT_A_TIME);
    let cold = |lines: &[&Value]| lines.iter().filter(|line| line["cold_start"] == true).count();
    assert_eq!(cold(&finished), 1, "{finished:?}");
    assert_eq!(lines.iter().filter(|line| line["message"] == "cold start").count(), 1);
    for line in &finished {
        let failed = line["failed_ids"].as_array().unwrap();
        assert_eq!(failed.len(), 1, "{line}");
        // The panic's own line, with the id of the same invocation.
        let of = |other: &&Value| other["request_id"] == line["request_id"] && other["message_id"] == failed[0];
        assert!(lines.iter().any(|other| of(&other) && other["message"] == "record failed"), "{line}");
    }
}
