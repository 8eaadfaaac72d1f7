//! A process that is no function: what is told of it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use runtime_api::Function;

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_process_that_ends_before_its_first_poll_is_told_with_what_it_printed_and_has_no_other_environment() {
    let environment = BTreeMap::from([
        ("MARK".to_owned(), "given".to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME".to_owned(), "shop-ship-order".to_owned()),
        ("AWS_LAMBDA_RUNTIME_API".to_owned(), "elsewhere".to_owned()),
    ]);
    // `env` prints its environment and ends.
    let Err(error) = Function::start(Path::new("/usr/bin/env"), &environment, LIMIT).await else {
        unreachable!("it never asks for an event")
    };
    let told = format!("{error:#}");
    for line in ["MARK=given", "AWS_LAMBDA_FUNCTION_NAME=shop-ship-order", "AWS_LAMBDA_RUNTIME_API=127.0.0.1:"] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(!told.contains("PATH="), "{told}");
}

#[tokio::test]
async fn a_binary_that_is_not_there_is_said_to_be_so() {
    let started = Function::start(Path::new("/nowhere/ship-order"), &BTreeMap::new(), LIMIT).await;
    assert!(started.is_err_and(|error| error.to_string().contains("/nowhere/ship-order")));
}
