//! What a shell and `man` are told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderflow"));
    let nowhere = std::env::temp_dir().join("orderflow-no-config");
    command
        .args(args)
        .env_remove("ORDERFLOW_STACK")
        .env_remove("ORDERFLOW_STACK_DIR")
        .env("AWS_CONFIG_FILE", &nowhere)
        .env("AWS_SHARED_CREDENTIALS_FILE", &nowhere)
        .env("AWS_ACCESS_KEY_ID", "000000000000")
        .env("AWS_SECRET_ACCESS_KEY", "none")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    command.output().unwrap()
}

const COMMANDS: [&str; 11] = [
    "doctor",
    "order",
    "case",
    "replay-local",
    "queue",
    "trace",
    "breaker",
    "reconcile",
    "stock",
    "stack",
    "completions",
];

#[test]
fn every_shell_gets_a_script_with_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} does not know {command}");
        }
    }
    let bash = String::from_utf8(run(&["completions", "bash"]).stdout).unwrap();
    let mut shell = Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut shell.stdin.take().unwrap(), bash.as_bytes()).unwrap();
    let read = shell.wait_with_output().unwrap();
    assert!(read.status.success(), "bash does not take it: {read:?}");
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let dir = std::env::temp_dir().join(format!("orderflow-man-{}", std::process::id()));
    let output = run(&["man", "--out", dir.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    for page in COMMANDS.map(|command| format!("orderflow-{command}.1")) {
        assert!(dir.join(&page).is_file(), "{page} is not there");
    }
    let doctor = std::fs::read_to_string(dir.join("orderflow-doctor.1")).unwrap();
    assert!(doctor.contains("detect\\-drift") && doctor.contains(".SH NAME"), "{doctor}");
    let first = run(&["man"]);
    assert_eq!(first.stdout, std::fs::read(dir.join("orderflow.1")).unwrap());
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_process_in_a_debugger_is_let_have_no_effects() {
    let case = "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293";
    for more in [[].as_slice(), &["--stack", "shop"]] {
        let refused = run(&[["replay-local", case, "--debugger", "--with-effects"].as_slice(), more].concat());
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("cannot be used with"), "{refused:?}");
    }
}

#[test]
fn a_reader_that_left_ends_them_quietly() {
    for args in [["completions", "zsh"].as_slice(), &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_orderflow")).args(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(141), b"".as_slice()), "{args:?}");
    }
}
