"""A whole function as the documentation of Powertools for AWS Lambda (Python) writes it: a batch of SQS records, each
placed once, one row written for each."""

import os

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="bench")
metrics = Metrics(namespace="Bench", service="bench")
processor = BatchProcessor(event_type=EventType.SQS)
persistence_store = DynamoDBPersistenceLayer(table_name=os.environ["POWERTOOLS_TABLE"])
config = IdempotencyConfig(event_key_jmespath="order_id")
dynamodb = boto3.client("dynamodb")
ORDERS = os.environ["ORDERS_TABLE"]


@idempotent_function(data_keyword_argument="order", config=config, persistence_store=persistence_store)
def place(order: dict) -> dict:
    dynamodb.put_item(
        TableName=ORDERS,
        Item={"order_id": {"S": order["order_id"]}, "quantity": {"N": str(order["quantity"])}},
    )
    return {"order_id": order["order_id"], "status": "accepted"}


def record_handler(record: SQSRecord) -> None:
    order = record.json_body
    place(order=order)
    metrics.add_metric(name="OrdersPlaced", unit=MetricUnit.Count, value=1)
    logger.info("order placed", extra={"order_id": order["order_id"]})


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict, context: LambdaContext):
    config.register_lambda_context(context)
    return process_partial_response(
        event=event, record_handler=record_handler, processor=processor, context=context
    )
