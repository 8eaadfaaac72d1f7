//! The floor: a bare `lambda_runtime` handler. It parses with serde, calls DynamoDB through the SDK, prints with `tracing`
//! or `println!`, and does nothing else.

use std::collections::HashMap;
use std::io::Write;

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use futures::future::join_all;
use lambda_runtime::{Error, LambdaEvent, run, service_fn, tracing};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Order {
    order_id: String,
    quantity: i64,
}

/// What the driver asks for.
#[derive(Deserialize)]
#[serde(tag = "work", rename_all = "lowercase")]
enum Work {
    Batch { path: String, repeat: usize },
    Idempotent { prefix: String, repeat: usize },
    Emf { repeat: usize },
    Log { repeat: usize },
}

struct Tables {
    dynamodb: Client,
    records: String,
    orders: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let tables = Tables {
        dynamodb: Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await),
        records: std::env::var("IDEMPOTENCY_TABLE")?,
        orders: std::env::var("ORDERS_TABLE")?,
    };
    let tables = &tables;
    match std::env::args().nth(1).as_deref() {
        Some("works") => run(service_fn(move |event: LambdaEvent<Work>| work(tables, event.payload))).await,
        Some("invocation") => {
            run(service_fn(move |event: LambdaEvent<SqsEvent>| invocation(tables, event.payload))).await
        }
        _ => Err("which program? works or invocation".into()),
    }
}

async fn work(tables: &Tables, work: Work) -> Result<Value, Error> {
    match work {
        Work::Batch { path, repeat } => {
            let text = std::fs::read(path)?;
            let mut answer = Vec::new();
            for _ in 0..repeat {
                let event: SqsEvent = serde_json::from_slice(&text)?;
                let mut response = SqsBatchResponse::default();
                for record in event.records {
                    let order: Result<Order, _> = serde_json::from_str(record.body.as_deref().unwrap_or_default());
                    if !order.is_ok_and(|order| order.quantity > 0) {
                        response.batch_item_failures.push(failure(record.message_id.ok_or("no messageId")?));
                    }
                }
                answer = serde_json::to_vec(&response)?;
            }
            Ok(serde_json::from_slice(&answer)?)
        }
        Work::Idempotent { prefix, repeat } => {
            let (mut ran, mut last) = (0, Value::Null);
            for at in 0..repeat {
                let order_id = format!("{prefix}-{at}");
                last = match tables.claim(&order_id).await? {
                    Some(kept) => kept,
                    None => {
                        ran += 1;
                        let result = json!({ "order_id": order_id, "status": "accepted" });
                        tables.complete(&order_id, &result).await?;
                        result
                    }
                };
            }
            Ok(json!({ "ran": ran, "last": last }))
        }
        Work::Emf { repeat } => {
            for at in 0..repeat {
                emf(at)?;
            }
            Ok(Value::Null)
        }
        Work::Log { repeat } => {
            for at in 0..repeat {
                tracing::info!(order_id = "o-1", receive_count = at, queue = "validate", "order placed");
            }
            Ok(Value::Null)
        }
    }
}

/// The same DynamoDB calls as the others make, side by side for the records of a batch.
async fn invocation(tables: &Tables, event: SqsEvent) -> Result<SqsBatchResponse, Error> {
    let placed = join_all(event.records.into_iter().map(|record| async move {
        let id = record.message_id.ok_or("no messageId")?;
        let placed = place(tables, record.body.as_deref().unwrap_or_default()).await;
        Ok::<_, Error>(placed.err().map(|_| failure(id)))
    }))
    .await;
    let mut response = SqsBatchResponse::default();
    for failed in placed {
        response.batch_item_failures.extend(failed?);
    }
    Ok(response)
}

async fn place(tables: &Tables, body: &str) -> Result<(), Error> {
    let order: Order = serde_json::from_str(body)?;
    if tables.claim(&order.order_id).await?.is_some() {
        return Ok(());
    }
    let put = tables.dynamodb.put_item().table_name(&tables.orders);
    put.item("order_id", AttributeValue::S(order.order_id.clone()))
        .item("quantity", AttributeValue::N(order.quantity.to_string()))
        .send()
        .await?;
    let result = json!({ "order_id": order.order_id, "status": "accepted" });
    tables.complete(&order.order_id, &result).await
}

impl Tables {
    /// One conditional put; the kept result where there is one.
    async fn claim(&self, id: &str) -> Result<Option<Value>, Error> {
        let put = self.dynamodb.put_item().table_name(&self.records);
        let put = put
            .item("id", AttributeValue::S(id.to_owned()))
            .item("status", AttributeValue::S("INPROGRESS".to_owned()))
            .item("expiration", AttributeValue::N("1795429800".to_owned()))
            .condition_expression("attribute_not_exists(#id) OR #expiration < :now")
            .expression_attribute_names("#id", "id")
            .expression_attribute_names("#expiration", "expiration")
            .expression_attribute_values(":now", AttributeValue::N("1795426200".to_owned()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match put.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error) {
            Ok(_) => Ok(None),
            Err(PutItemError::ConditionalCheckFailedException(refused)) => {
                let item: HashMap<_, _> = refused.item.unwrap_or_default();
                let data = item.get("data").and_then(|data| data.as_s().ok()).ok_or("the record is in progress")?;
                Ok(Some(serde_json::from_str(data)?))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One update that keeps the result.
    async fn complete(&self, id: &str, result: &Value) -> Result<(), Error> {
        let update = self.dynamodb.update_item().table_name(&self.records);
        update
            .key("id", AttributeValue::S(id.to_owned()))
            .update_expression("SET #data = :data, #status = :status, #expiration = :expiration")
            .expression_attribute_names("#data", "data")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#expiration", "expiration")
            .expression_attribute_values(":data", AttributeValue::S(result.to_string()))
            .expression_attribute_values(":status", AttributeValue::S("COMPLETED".to_owned()))
            .expression_attribute_values(":expiration", AttributeValue::N("1795429800".to_owned()))
            .send()
            .await?;
        Ok(())
    }
}

fn failure(id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    failure
}

/// A document as one would write it by hand.
fn emf(lines: usize) -> Result<(), Error> {
    let metrics = json!([
        { "Name": "OrdersPlaced", "Unit": "Count" },
        { "Name": "Lines", "Unit": "Count" },
        { "Name": "Latency", "Unit": "Milliseconds" },
    ]);
    let document = json!({
        "_aws": {
            "Timestamp": 1_795_426_200_123_u64,
            "CloudWatchMetrics": [{ "Namespace": "Bench", "Dimensions": [["service"]], "Metrics": metrics }],
        },
        "service": "bench",
        "OrdersPlaced": 1,
        "Lines": lines,
        "Latency": 12,
    });
    let mut line = serde_json::to_vec(&document)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line)?;
    Ok(())
}
