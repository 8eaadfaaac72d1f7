//! A whole SQS function: every order is billed once, whatever comes twice; poison goes to the dead-letter queue, and lines and
//! metrics say how it went.
//!
//! `cargo build --release -p lambda-queue --example function --features aws`
//!
//! | variable | what |
//! | --- | --- |
//! | `EFFECTS_TABLE` | records of effects: key `key` (text), time to live on `expires_at` |
//! | `INVOICES_TABLE` | invoices: key `order_id` (text) |
//! | `DLQ_URL` | the dead-letter queue of the function's queue |
//! | `MAX_RECEIVE_COUNT` | of the queue's redrive policy |
//!
//! Its event source mapping has `FunctionResponseTypes: [ReportBatchItemFailures]`.

use std::sync::Arc;

use aws_config::BehaviorVersion;
use lambda_queue::aws::{Aws, aws_sdk_dynamodb, aws_sdk_sqs};
use lambda_queue::batch::json;
use lambda_queue::idempotency::{
    Call, Capability, Fingerprint, How, Idempotency, IdempotencyError, LEASE_PAST_DEADLINE_MS, Lease, Namespace,
    Settings,
};
use lambda_queue::metrics::Document;
use lambda_queue::ports::Store as _;
use lambda_queue::ports::store::{Write, number, text};
use lambda_queue::serve::{self, Error};
use lambda_queue::{Answer, Batch, Clock as _, Done, Failure, Record, logging};
use serde::{Deserialize, Serialize};

/// How long a record of an effect is kept: as long as anything may ask for it again. Four days in the queue, and fourteen in
/// its dead-letter queue.
const KEPT_MS: u64 = 18 * 24 * 60 * 60 * 1_000;

#[derive(Deserialize, Serialize)]
struct Order {
    order_id: String,
    total_minor: u64,
}

#[derive(Deserialize, Serialize)]
struct Invoice {
    invoice_id: String,
}

struct Billing {
    aws: Aws,
    effects: Settings,
    namespace: Namespace,
    invoices: String,
}

impl Billing {
    async fn bill(&self, order: Order, record: &Record) -> Answer {
        if order.total_minor == 0 {
            return Err(Failure::poison("there is nothing to bill"));
        }
        let key = self.namespace.key_of(&[&order.order_id]).map_err(IdempotencyError::from)?;
        let fingerprint = Fingerprint::of(&order).map_err(IdempotencyError::from)?;
        let lease_until_ms = record.context.deadline_ms.saturating_add(LEASE_PAST_DEADLINE_MS);
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms };
        let effects = Idempotency::new(&self.aws, &self.aws, &self.effects);
        // The invoice's id is the lease's key, the same at every attempt. So a row that is written again is the same row, and a
        // doubt is settled by doing it once more. A provider's adapter declares what its provider honours.
        let write = |lease: Lease| self.write_invoice(&order, lease.provider_key());
        let billed = effects.run(call, Capability::REPEATABLE, write).await?;
        tracing::info!(invoice_id = billed.value.invoice_id, how = ?billed.how, "order billed");
        // A copy was answered from the record: it bills nothing.
        if matches!(billed.how, How::Ran | How::Adopted) {
            Document::new("order billed")
                .dimension("function", "bill")
                .metric("billed_minor", "Count", order.total_minor)
                .emit(self.aws.now_ms());
        }
        Ok(Done::now(Vec::new()))
    }

    async fn write_invoice(&self, order: &Order, invoice_id: String) -> Result<Invoice, Failure> {
        let invoice = Invoice { invoice_id };
        let row = [
            ("order_id".to_owned(), text(order.order_id.as_str())),
            ("invoice_id".to_owned(), text(invoice.invoice_id.as_str())),
            ("total_minor".to_owned(), number(order.total_minor)),
        ];
        self.aws.write(Write::put(self.invoices.as_str(), row.into())).await?;
        Ok(invoice)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    logging::init();
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let billing = Billing {
        aws: Aws::new(aws_sdk_sqs::Client::new(&config), aws_sdk_dynamodb::Client::new(&config)),
        effects: Settings::new(std::env::var("EFFECTS_TABLE")?, KEPT_MS).switched_by_env(),
        namespace: Namespace::new("bill", "invoice")?,
        invoices: std::env::var("INVOICES_TABLE")?,
    };
    // It lives as long as the process.
    let billing: &'static Billing = Box::leak(Box::new(billing));
    let batch = Batch::new("bill", &billing.aws)
        .dead_letters(std::env::var("DLQ_URL")?)
        .max_receive_count(std::env::var("MAX_RECEIVE_COUNT")?.parse()?);
    let bill = move |order: Order, record: Arc<Record>| async move { billing.bill(order, &record).await };
    serve::sqs(batch, json(bill)).await
}
