"""Powertools for AWS Lambda (Python) doing the benchmark's small works, over and over inside one invocation.

The driver measures the process from outside; an answer only proves that the work was done.
"""

import json
import os
from typing import Any

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

from memory import MemoryPersistenceLayer

logger = Logger(service="bench")
metrics = Metrics(namespace="Bench", service="bench")
processor = BatchProcessor(event_type=EventType.SQS)
config = IdempotencyConfig(event_key_jmespath="order_id")

ran = 0


def _place(order: dict) -> dict:
    global ran
    ran += 1
    return {"order_id": order["order_id"], "status": "accepted"}


STORES = {
    "dynamodb": idempotent_function(
        _place,
        data_keyword_argument="order",
        config=config,
        persistence_store=DynamoDBPersistenceLayer(table_name=os.environ["POWERTOOLS_TABLE"]),
    ),
    "memory": idempotent_function(
        _place, data_keyword_argument="order", config=config, persistence_store=MemoryPersistenceLayer()
    ),
}

texts: dict[str, bytes] = {}


def _text(path: str) -> bytes:
    if path not in texts:
        with open(path, "rb") as file:
            texts[path] = file.read()
    return texts[path]


def _record(record: SQSRecord) -> None:
    if record.json_body["quantity"] < 1:
        raise ValueError("quantity")


def batch(event: dict, context: LambdaContext) -> Any:
    text = _text(event["path"])
    answer = b""
    for _ in range(event["repeat"]):
        done = process_partial_response(
            event=json.loads(text), record_handler=_record, processor=processor, context=context
        )
        answer = json.dumps(done).encode()
    return json.loads(answer)


def idempotent(event: dict, context: LambdaContext) -> Any:
    global ran
    ran = 0
    config.register_lambda_context(context)
    place = STORES[event["store"]]
    prefix = event["prefix"]
    answer = None
    for at in range(event["repeat"]):
        answer = place(order={"order_id": f"{prefix}-{at}", "quantity": 2, "currency": "EUR"})
    return {"ran": ran, "last": answer}


def emf(event: dict, _: LambdaContext) -> Any:
    for at in range(event["repeat"]):
        metrics.add_metric(name="OrdersPlaced", unit=MetricUnit.Count, value=1)
        metrics.add_metric(name="Lines", unit=MetricUnit.Count, value=at)
        metrics.add_metric(name="Latency", unit=MetricUnit.Milliseconds, value=12)
        metrics.flush_metrics()
    return None


def log(event: dict, context: LambdaContext) -> Any:
    logger.append_keys(function_request_id=context.aws_request_id)
    for at in range(event["repeat"]):
        logger.info("order placed", extra={"order_id": "o-1", "receive_count": at, "queue": "validate"})
    return None


WORKS = {"batch": batch, "idempotent": idempotent, "emf": emf, "log": log}


def handler(event: dict, context: LambdaContext) -> Any:
    return WORKS[event["work"]](event, context)
