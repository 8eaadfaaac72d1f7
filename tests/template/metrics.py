"""The metrics that there are: what alarms and dashboard may name, and under which dimensions.

CloudWatch takes an alarm on a metric that nobody publishes without a word, and it never comes. So every name is written
down here once, with where it is from.
"""

#: Namespace -> dimensions, by which its metrics are published -> these metrics.
AWS: dict[str, dict[tuple[str, ...], set[str]]] = {
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    "AWS/SQS": {
        ("QueueName",): {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesVisible",
            "ApproximateNumberOfMessagesNotVisible",
            "NumberOfMessagesSent",
        },
    },
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    "AWS/Lambda": {
        ("FunctionName",): {
            "Invocations",
            "Errors",
            "Throttles",
            "Duration",
            "ConcurrentExecutions",
            "IteratorAge",
            "DestinationDeliveryFailures",
        },
        # Of a mapping whose MetricsConfig asks for EventCount.
        ("EventSourceMappingUUID",): {"OnFailureDestinationDeliveredEventCount", "DroppedEventCount"},
    },
    # https://docs.aws.amazon.com/sns/latest/dg/sns-monitoring-using-cloudwatch.html
    "AWS/SNS": {
        ("TopicName",): {
            "NumberOfMessagesPublished",
            "NumberOfNotificationsDelivered",
            "NumberOfNotificationsFailed",
            "NumberOfNotificationsFilteredOut",
        },
    },
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html (of a REST API they differ)
    "AWS/ApiGateway": {("ApiId",): {"Count", "4xx", "5xx", "Latency"}},
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
    "AWS/DynamoDB": {
        ("TableName",): {
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "WriteThrottleEvents",
            "TransactionConflict",
        },
    },
}

#: Our own: metric -> the dimensions that it is published under, and the file that does it.
OWN: dict[str, tuple[set[tuple[str, ...]], str]] = {
    "records": ({("function",)}, "crates/lambda-queue/src/batch/lines.rs"),
    "failed": ({("function",)}, "crates/lambda-queue/src/batch/lines.rs"),
    "deferred": ({("function",)}, "crates/lambda-queue/src/batch/lines.rs"),
    "lane_lag_ms": ({("lane", "step")}, "crates/lambda-queue/src/lag/teller.rs"),
    "cases_opened": ({("step",), ("class",), ("step", "class")}, "crates/ports/src/cases.rs"),
    "differences_open": ({("function",)}, "functions/reconcile-payments/src/told.rs"),
    "walks": ({("function", "window_hours")}, "functions/reconcile-payments/src/told.rs"),
    "mails_uncertain": ({("function",)}, "functions/notify-customer/src/lib.rs"),
    "breakers_open": ({("function",)}, "functions/control-breakers/src/main.rs"),
    "mappings_turned_on": ({("function",)}, "functions/control-breakers/src/main.rs"),
    "orders_shed": ({("function", "route")}, "functions/accept-order/src/lib.rs"),
}
