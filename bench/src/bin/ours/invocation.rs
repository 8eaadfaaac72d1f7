//! A whole function: a batch of SQS records, each placed once, one row written for each. The batch loop prints its own
//! lines (one metric document a record and one for the invocation), and the handler one log line a record, as the
//! Powertools handlers do.

use std::sync::Arc;

use aws_config::BehaviorVersion;
use bench::quiet::Quiet;
use lambda_queue::aws::Dynamo;
use lambda_queue::batch::json;
use lambda_queue::idempotency::{
    Call, Capability, Fingerprint, Idempotency, IdempotencyError, LEASE_PAST_DEADLINE_MS, Namespace, Settings,
};
use lambda_queue::ports::Store as _;
use lambda_queue::ports::store::{Write, number, text};
use lambda_queue::{Answer, Batch, Done, Record, serve};
use lambda_runtime::Error;

use crate::works::KEPT_MS;
use crate::{Order, Placed};

struct Function {
    dynamodb: Dynamo,
    settings: Settings,
    namespace: Namespace,
    orders: String,
}

pub(crate) async fn serve() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let function = Arc::new(Function {
        dynamodb: Dynamo::new(&config),
        settings: Settings::new(std::env::var("IDEMPOTENCY_TABLE")?, KEPT_MS),
        namespace: Namespace::new("bench", "place")?,
        orders: std::env::var("ORDERS_TABLE")?,
    });
    let handler = json(move |order: Order, record: Arc<Record>| {
        let function = Arc::clone(&function);
        async move { function.place(&order, &record).await }
    });
    serve::sqs(Batch::new("bench", &Quiet), handler).await
}

impl Function {
    async fn place(&self, order: &Order, record: &Record) -> Answer {
        let payload = serde_json::json!({ "order_id": order.order_id, "quantity": order.quantity });
        let key = self.namespace.key_of(&[&order.order_id]).map_err(IdempotencyError::from)?;
        let fingerprint = Fingerprint::of_value(&payload).map_err(IdempotencyError::from)?;
        let lease_until_ms = record.context.deadline_ms.saturating_add(LEASE_PAST_DEADLINE_MS);
        let call = Call { key: &key, fingerprint: &fingerprint, lease_until_ms };
        let write = |_| async {
            let row = [
                ("order_id".to_owned(), text(order.order_id.as_str())),
                ("quantity".to_owned(), number(order.quantity)),
            ];
            self.dynamodb.write(Write::put(self.orders.as_str(), row.into())).await?;
            Ok(Placed::accepted(&order.order_id))
        };
        Idempotency::new(&self.dynamodb, &Quiet, &self.settings).run(call, Capability::REPEATABLE, write).await?;
        tracing::info!(order_id = order.order_id, "order placed");
        Ok(Done::now(Vec::new()))
    }
}
