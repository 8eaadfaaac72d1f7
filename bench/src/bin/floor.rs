//! The floor: a bare `lambda_runtime` handler. It parses with serde, calls DynamoDB through the SDK, prints with `tracing`
//! or `println!`, and does nothing else.

use std::collections::HashMap;
use std::io::Write;

use aws_config::BehaviorVersion;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
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
    /// Whether the requests are those of `lambda-queue`, attribute for attribute, or the smallest that do the same.
    same: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    let tables = Tables {
        dynamodb: Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await),
        records: std::env::var("IDEMPOTENCY_TABLE")?,
        orders: std::env::var("ORDERS_TABLE")?,
        same: std::env::args().nth(1).as_deref() == Some("same"),
    };
    let tables = &tables;
    match std::env::args().nth(1).as_deref() {
        Some("works") => run(service_fn(move |event: LambdaEvent<Work>| work(tables, event.payload))).await,
        Some("invocation" | "same") => {
            run(service_fn(move |event: LambdaEvent<SqsEvent>| invocation(tables, event.payload))).await
        }
        _ => Err("which program? works, invocation or same".into()),
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

#[expect(clippy::disallowed_methods, reason = "a bare handler has no ports")]
async fn place(tables: &Tables, body: &str) -> Result<(), Error> {
    let order: Order = serde_json::from_str(body)?;
    let owner = tables.same.then(|| uuid::Uuid::new_v4().to_string());
    let claimed = match &owner {
        Some(owner) => tables.claim_the_same(&order.order_id, owner).await?,
        None => tables.claim(&order.order_id).await?.is_none(),
    };
    if !claimed {
        return Ok(());
    }
    let put = tables.dynamodb.put_item().table_name(&tables.orders);
    put.item("order_id", AttributeValue::S(order.order_id.clone()))
        .item("quantity", AttributeValue::N(order.quantity.to_string()))
        .send()
        .await?;
    let result = json!({ "order_id": order.order_id, "status": "accepted" });
    match &owner {
        Some(owner) => tables.complete_the_same(&order.order_id, owner, &result).await,
        None => tables.complete(&order.order_id, &result).await,
    }
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

/// The requests of `lambda-queue`'s idempotent call: as it writes them, and as long.
impl Tables {
    /// Its claim; whether it was taken.
    async fn claim_the_same(&self, id: &str, owner: &str) -> Result<bool, Error> {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let number = |number: u64| AttributeValue::N(number.to_string());
        let claim = self.dynamodb.update_item().table_name(&self.records).key("key", text(&key(id)));
        let claim = claim
            .update_expression(
                "SET operation = :operation, #status = :in_progress, #owner = :owner, lease_until = :until, \
                 attempts = :one, generation = :zero, subject_version = :version, key_since = :now, \
                 fingerprint = :fingerprint REMOVE note, expires_at, #result, result_bytes",
            )
            .condition_expression("attribute_not_exists(#key) OR (#status = :completed AND expires_at <= :now_s)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#result", "result")
            .expression_attribute_names("#key", "key")
            .expression_attribute_values(":version", number(0))
            .expression_attribute_values(":operation", text("call"))
            .expression_attribute_values(":in_progress", text("IN_PROGRESS"))
            .expression_attribute_values(":completed", text("COMPLETED"))
            .expression_attribute_values(":owner", text(owner))
            .expression_attribute_values(":until", number(1_795_426_230_000))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":now", number(1_795_426_200_000))
            .expression_attribute_values(":fingerprint", text(&"f".repeat(64)))
            .expression_attribute_values(":now_s", number(1_795_426_200))
            .return_values(ReturnValue::None)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match claim.map_err(aws_sdk_dynamodb::error::SdkError::into_service_error) {
            Ok(_) => Ok(true),
            Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Its completion.
    async fn complete_the_same(&self, id: &str, owner: &str, result: &Value) -> Result<(), Error> {
        let update = self.dynamodb.update_item().table_name(&self.records).key("key", AttributeValue::S(key(id)));
        update
            .update_expression("SET #status = :completed, expires_at = :expires_at, #result = :result")
            .condition_expression("#owner = :owner AND #status = :in_progress")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#result", "result")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", AttributeValue::S(owner.to_owned()))
            .expression_attribute_values(":in_progress", AttributeValue::S("IN_PROGRESS".to_owned()))
            .expression_attribute_values(":completed", AttributeValue::S("COMPLETED".to_owned()))
            .expression_attribute_values(":expires_at", AttributeValue::N("1795429800".to_owned()))
            .expression_attribute_values(":result", AttributeValue::S(result.to_string()))
            .return_values(ReturnValue::None)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await?;
        Ok(())
    }
}

/// As long as the key of a record of `lambda-queue`'s.
fn key(id: &str) -> String {
    format!("{id:0>71}")
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
