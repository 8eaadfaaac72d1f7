//! The payment adapter against `localstripe`, a Stripe that others wrote from the same documentation: what both sides
//! agree on, neither of us made up alone. It knows no idempotency keys, no test tokens and no error codes, and what it
//! lacks of holds is joined to it by `localstripe/serve.py`, whose head says how.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::PathBuf;
use std::process::Stdio;

use ports::{Captured, Confirmation, PaymentStatus, Payments as _, ProviderError, Voided};
use providers::Stripe;
use serde_json::Value;
use support::{KEY, order_id, payment, secret, usd};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const GOOD: &str = "4242424242424242";
const DECLINED: &str = "4000000000000341";
const WANTS_CUSTOMER: &str = "4000002500003155";

/// localstripe as a child process.
struct LocalStripe {
    url: String,
    stripe: Stripe,
    child: Child,
}

/// The Python of the project's virtual environment: `$ORDERFLOW_VENV/bin/python`, or that of `.venv` in the repository.
fn python() -> PathBuf {
    let venv = std::env::var_os("ORDERFLOW_VENV")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.venv"), PathBuf::from);
    assert!(
        venv.join("bin/localstripe").exists(),
        "no localstripe in {}: install requirements.txt there, or point ORDERFLOW_VENV at an environment that has it",
        venv.display()
    );
    venv.join("bin/python")
}

impl LocalStripe {
    async fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(python())
            .arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/localstripe/serve.py"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
        let port: u16 = port.trim().parse().expect("localstripe did not start: its error is above");
        let url = format!("http://127.0.0.1:{port}");
        Self { stripe: Stripe::new(&url, secret()).unwrap(), url, child }
    }

    /// A payment method of a card. It has no `pm_card_visa`.
    async fn card(&self, number: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let form = [
            ("type", "card"),
            ("card[number]", number),
            ("card[exp_month]", "12"),
            ("card[exp_year]", "2035"),
            ("card[cvc]", "123"),
        ];
        let request = client.post(format!("{}/v1/payment_methods", self.url)).bearer_auth(KEY).form(&form);
        let method: Value = request.send().await.unwrap().json().await.unwrap();
        method["id"].as_str().unwrap_or_else(|| panic!("{method}")).to_owned()
    }

    /// Ends the child by closing its input, and waits for it.
    async fn stop(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().await.unwrap();
    }
}

#[tokio::test]
async fn a_payment_is_held_captured_and_refunded_at_localstripe() {
    let server = LocalStripe::start(&["--holds"]).await;
    let stripe = &server.stripe;
    let id =
        stripe.create_payment("k/create", &payment(usd(2_500), &server.card(GOOD).await)).await.unwrap().id().unwrap();
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::Unconfirmed);
    assert_eq!(stripe.confirm_payment("k/confirm", &id).await.unwrap(), Confirmation::Held);
    let seen = stripe.look_up_payment(&id).await.unwrap();
    assert_eq!((seen.status, seen.amount, seen.captured_minor), (PaymentStatus::Held, usd(2_500), 0));
    let captured = stripe.capture_payment("k/capture", &id, usd(2_500)).await.unwrap();
    assert_eq!(captured, Captured::Captured { amount: usd(2_500) });
    let first = stripe.refund_payment("k/0", &id, order_id(), 0, usd(500)).await.unwrap();
    let second = stripe.refund_payment("k/1", &id, order_id(), 1, usd(2_000)).await.unwrap();
    let seen = stripe.look_up_payment(&id).await.unwrap();
    assert_eq!((seen.status, seen.captured_minor), (PaymentStatus::Captured, 2_500));
    // Refunds of one second come in no order there.
    let mut refunds: Vec<_> =
        seen.refunds.into_iter().map(|refund| (refund.ordinal, refund.refund_id, refund.amount_minor)).collect();
    refunds.sort();
    assert_eq!(refunds, [(Some(0), first, 500), (Some(1), second, 2_000)]);
    server.stop().await;
}

#[tokio::test]
async fn a_hold_is_given_up_at_localstripe() {
    let server = LocalStripe::start(&["--holds"]).await;
    let stripe = &server.stripe;
    let id =
        stripe.create_payment("k/create", &payment(usd(2_500), &server.card(GOOD).await)).await.unwrap().id().unwrap();
    assert_eq!(stripe.confirm_payment("k/confirm", &id).await.unwrap(), Confirmation::Held);
    assert_eq!(stripe.cancel_payment("k/cancel", &id).await.unwrap(), Voided::Voided);
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::Cancelled);
    // It says 400 and no more, where Stripe names code and state: without those it is a refusal, never a capture.
    let late = stripe.capture_payment("k/capture", &id, usd(2_500)).await;
    assert!(matches!(late, Err(ProviderError::Refused { .. })), "{late:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_decline_that_comes_as_200_is_a_decline() {
    let server = LocalStripe::start(&["--holds"]).await;
    let stripe = &server.stripe;
    let id = stripe
        .create_payment("k/create", &payment(usd(2_500), &server.card(DECLINED).await))
        .await
        .unwrap()
        .id()
        .unwrap();
    let code = "card_declined".to_owned();
    let declined = stripe.confirm_payment("k/confirm", &id).await.unwrap();
    assert_eq!(declined, Confirmation::Declined { code: code.clone() });
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::Declined { code });
    server.stop().await;
}

#[tokio::test]
async fn a_card_that_wants_the_customer_is_told_from_a_decline_at_localstripe() {
    let server = LocalStripe::start(&["--holds"]).await;
    let stripe = &server.stripe;
    let id = stripe
        .create_payment("k/create", &payment(usd(2_500), &server.card(WANTS_CUSTOMER).await))
        .await
        .unwrap()
        .id()
        .unwrap();
    assert_eq!(stripe.confirm_payment("k/confirm", &id).await.unwrap(), Confirmation::NeedsCustomer);
    assert_eq!(stripe.look_up_payment(&id).await.unwrap().status, PaymentStatus::NeedsCustomer);
    assert_eq!(stripe.cancel_payment("k/cancel", &id).await.unwrap(), Voided::Voided);
    server.stop().await;
}

#[tokio::test]
async fn localstripe_as_it_comes_refuses_a_hold_and_so_takes_no_money() {
    // It would capture as it confirms. It refuses the parameter, and nothing is made.
    let server = LocalStripe::start(&[]).await;
    let refused = server.stripe.create_payment("k", &payment(usd(2_500), &server.card(GOOD).await)).await;
    let expected = ProviderError::Refused { why: "400 invalid_request_error".to_owned() };
    assert_eq!(refused, Err(expected));
    let missing = server.stripe.look_up_payment(&support::payment_id("pi_ofnobody")).await;
    let expected = ProviderError::Refused { why: "404 invalid_request_error".to_owned() };
    assert_eq!(missing, Err(expected));
    server.stop().await;
}
