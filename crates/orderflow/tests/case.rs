//! `orderflow case` where it has nothing to work on, and where it is asked for what it must not do. What it does with cases
//! is tested on a deployed stack (`tests/tests/deployed/cases.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    let nowhere = std::env::temp_dir().join("orderflow-no-stack-here");
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderflow"));
    command.args(args).env("ORDERFLOW_STACK_DIR", nowhere).env_remove("ORDERFLOW_STACK").stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ORDER: &str = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";

#[test]
fn without_a_stack_every_command_says_what_to_do() {
    for args in [
        ["case", "list"].as_slice(),
        &["case", "groups"],
        &["case", "show", "some-case"],
        &["case", "replay", "--all", "--reason", "x"],
        &["case", "replay", "--all", "--dry-run"],
        &["case", "close", "--all", "--reason", "x"],
        &["case", "export"],
        &["queue", "list"],
        &["queue", "peek", "payment-dlq"],
        &["trace", ORDER],
        &["order", "timeline", ORDER],
        &["order", "nudge", ORDER, "--reason", "x"],
        &["order", "republish", ORDER, "--reason", "x"],
        &["stock", "set", "MUG", "--available", "1", "--reason", "x"],
        &["order", "resend-mail", ORDER, "--event", "shipped", "--reason", "x"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(said(&output).contains("make up") && said(&output).contains("--stack"), "{args:?}: {}", said(&output));
    }
}

#[test]
fn what_changes_something_is_not_taken_half_said() {
    for (args, names) in [
        (["case", "close", "some-case"].as_slice(), "--reason"),
        (&["case", "replay", "--all"], "--reason"),
        (&["case", "replay", "some-case", "--all", "--reason", "x"], "--all"),
        (&["case", "replay", "--all", "--rate", "0", "--reason", "x"], "between 0.01 and 1000"),
        (&["order", "nudge", ORDER], "--reason"),
        (&["order", "republish", ORDER], "--reason"),
        (&["stock", "set", "MUG", "--available", "1"], "--reason"),
        (&["stock", "import", "catalogue.json"], "--reason"),
        (&["reconcile", "--open-cases"], "--reason"),
        (&["replay-local", "some-case", "--with-effects"], "--reason"),
        (&["breaker", "probe", "payment"], "--reason"),
        (&["case", "list", "--class", "mortal"], "transient"),
        (&["case", "list", "--older-than", "soon"], "12h"),
        (&["case", "show", "an id with spaces"], "case id"),
        (&["order", "resend-mail", ORDER, "--reason", "x"], "--event"),
        (&["queue", "peek", "payment-dlq", "--limit", "11"], "11"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        assert!(said(&output).contains(names), "{args:?}: {}", said(&output));
    }
}
