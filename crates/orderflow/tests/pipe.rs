//! Output into a pipe whose reader has left, as in `orderflow ... | head`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::json;

/// Runs the tool with nobody at the other end of its output.
fn run_unread(args: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_orderflow"));
    command.args(args).stdout(writer).output().unwrap()
}

fn ends_quietly(args: &[&str]) {
    let output = run_unread(args);
    assert_eq!(output.status.code(), Some(141), "{args:?}: {output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
}

#[test]
fn a_command_whose_reader_has_left_ends_quietly() {
    let nowhere = std::env::temp_dir().join("orderflow-no-stack-here");
    let dir = nowhere.to_str().unwrap();
    ends_quietly(&["stack", "down", "--dir", dir]);
    ends_quietly(&["--json", "stack", "down", "--dir", dir]);
}

#[test]
fn so_does_one_that_prints_tables_of_what_the_api_answered() {
    let order = json!({
        "order_id": "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293", "status": "shipped", "lane": "standard", "version": 6,
        "created_at": "2026-01-01T00:00:00Z", "lines": [{ "sku": "A", "quantity": 1 }],
        "timeline": [{ "version": 1, "event": "accepted", "at": "2026-01-01T00:00:00Z" }],
    });
    for (args, body) in [
        (["order", "show", "0b8e6c1e-5d7f-8a2b-9c3d-4e5f60718293"].as_slice(), order.clone()),
        (["order", "list"].as_slice(), json!({ "orders": [order] })),
    ] {
        for json in [false, true] {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", server.local_addr().unwrap());
            let body = body.to_string();
            let answering = std::thread::spawn(move || {
                let (mut stream, _) = server.accept().unwrap();
                let mut request = [0_u8; 4096];
                let read = stream.read(&mut request).unwrap();
                assert!(read > 0, "no request came");
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
                write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            });
            let mut args = args.to_vec();
            args.extend(["--api-url", &url, "--token", "t"]);
            if json {
                args.push("--json");
            }
            ends_quietly(&args);
            answering.join().unwrap();
        }
    }
}

#[test]
fn a_command_that_fails_says_so_all_the_same() {
    let nowhere = std::env::temp_dir().join("orderflow-no-stack-here");
    let output = run_unread(&["stack", "status", "--dir", nowhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: no stack in"), "{output:?}");
}
