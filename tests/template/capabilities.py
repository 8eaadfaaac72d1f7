"""What each port of `crates/ports` calls, as (action, resource).

A function's bounds (`pub trait Ports: LoadOrder + ...` in functions/<name>/src/lib.rs) are its IAM policy: the test
adds up these rows for the bounds it reads there and compares them with the function's role, both ways. A new port
gets a row here and, if it calls AWS, lines in the role.

A transaction has no action of its own: it needs those of its items.
"""

TABLE = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop-"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:shop-"
BUCKET = "arn:aws:s3:::ArchiveBucket"
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-"

MAPPING = "arn:aws:lambda:eu-west-1:123456789012:event-source-mapping:"

LANES = ("express", "standard", "bulk")
STEPS = ("validate", "payment", "stock", "shipping")
#: What control-breakers looks after.
MAPPINGS = [step.capitalize() + lane.capitalize() for step in STEPS for lane in LANES]
MAPPINGS += ["Notify", "Archive", "OrdersStream"]
MAPPINGS += [f"{queue}Dlq" for queue in ("Validate", "Payment", "Stock", "Shipping", "Notify", "Archive", "Events")]

#: Port -> what it calls.
CAPABILITIES: dict[str, set[tuple[str, str]]] = {
    "LoadOrder": {("dynamodb:GetItem", TABLE + "orders")},
    "CommitOrder": {("dynamodb:UpdateItem", TABLE + "orders")},
    "AcceptOrder": {("dynamodb:PutItem", TABLE + "orders")},
    "ListOrders": {
        ("dynamodb:Query", TABLE + "orders/index/customer"),
        ("dynamodb:BatchGetItem", TABLE + "orders"),
    },
    "FindDue": {("dynamodb:Query", TABLE + "orders/index/open_shard-due_at")},
    "ReadCatalogue": {("dynamodb:BatchGetItem", TABLE + "stock")},
    "CommitStock": {("dynamodb:UpdateItem", TABLE + "stock"), ("dynamodb:UpdateItem", TABLE + "orders")},
    "Effects": {
        ("dynamodb:UpdateItem", TABLE + "idempotency"),
        ("dynamodb:UpdateItem", TABLE + "orders"),
    },
    "ReadEffects": {("dynamodb:GetItem", TABLE + "idempotency")},
    "ClaimOnce": {("dynamodb:UpdateItem", TABLE + "idempotency")},
    "OpenCase": {("dynamodb:UpdateItem", TABLE + "cases")},
    "KeepDeadLetters": {
        ("dynamodb:UpdateItem", TABLE + "cases"),
        ("s3:PutObject", BUCKET + "/dead-letters/*"),
    },
    "RecordDifference": {("dynamodb:UpdateItem", TABLE + "cases")},
    "CountCases": {("dynamodb:Query", TABLE + "cases/index/status")},
    "KeepPlace": {("dynamodb:GetItem", TABLE + "cases"), ("dynamodb:UpdateItem", TABLE + "cases")},
    "SetAside": {("dynamodb:UpdateItem", TABLE + "orders")},
    "PublishEvents": {
        ("sns:Publish", "arn:aws:sns:eu-west-1:123456789012:shop-order-events.fifo"),
        ("events:PutEvents", "arn:aws:events:eu-west-1:123456789012:event-bus/shop-orders"),
    },
    "ArchiveEvents": {("s3:PutObject", BUCKET + "/events/*")},
    "SendMail": {("ses:SendEmail", "arn:aws:ses:eu-west-1:123456789012:identity/orders@shop.example.net")},
    # Over HTTP, with a key from the function's own secret.
    "Payments": {("secretsmanager:GetSecretValue", SECRET + "payment-api-key")},
    "ListPayments": {("secretsmanager:GetSecretValue", SECRET + "payment-api-key")},
    "Carrier": {("secretsmanager:GetSecretValue", SECRET + "carrier-api-key")},
    # Breakers: a step's own read of the row and its counts; those who only look; the prober.
    "Gate": {("dynamodb:GetItem", TABLE + "breakers"), ("dynamodb:UpdateItem", TABLE + "breakers")},
    "ReadBreakers": {("dynamodb:GetItem", TABLE + "breakers")},
    "ProbeBreakers": {("dynamodb:GetItem", TABLE + "breakers"), ("dynamodb:UpdateItem", TABLE + "breakers")},
    # Lanes: what consumers tell of them, and who goes by it.
    "TellLanes": {("dynamodb:UpdateItem", TABLE + "breakers")},
    "ReadLanes": {("dynamodb:BatchGetItem", TABLE + "breakers")},
    # Of tenants' rows only; test_roles.py looks at the condition.
    "CountRequests": {("dynamodb:UpdateItem", TABLE + "breakers")},
    # Reads without an effect: over HTTP with the providers' keys, and the sender's identity.
    "ProbeProviders": {
        ("secretsmanager:GetSecretValue", SECRET + "payment-api-key"),
        ("secretsmanager:GetSecretValue", SECRET + "carrier-api-key"),
        ("ses:GetEmailIdentity", "arn:aws:ses:eu-west-1:123456789012:identity/orders@shop.example.net"),
    },
    # Every mapping but the one that feeds the function itself.
    "SetMappings": {
        (f"lambda:{verb}EventSourceMapping", f"{MAPPING}{name}Mapping")
        for verb in ("Get", "Update")
        for name in MAPPINGS
    },
    "StartWatch": {("lambda:InvokeFunction", "arn:aws:lambda:eu-west-1:123456789012:function:shop-control-breakers")},
    # To the queues of COMMANDS_TO, below.
    "SendCommands": set(),
    # What the batch loop does with the function's own queues; see FED_BY.
    "Queue": set(),
    # Of the process itself.
    "Clock": set(),
    "Ids": set(),
    "Random": set(),
    "Send": set(),
    "Sync": set(),
}

#: Function -> the steps whose queues it sends commands to, with `SendCommands`: those that its outcomes can owe, and
#: its own where a re-send may be owed to it.
COMMANDS_TO: dict[str, tuple[str, ...]] = {
    "accept-order": STEPS,
    "validate-order": ("validate", "payment"),
    "process-payment": ("payment", "stock", "shipping"),
    "reserve-stock": ("payment", "stock"),
    "ship-order": ("stock", "shipping"),
    "recover-orders": STEPS,
}

#: Every dead-letter queue; the last one is the topic's own.
DEAD_LETTERS = tuple(f"{step}-dlq" for step in STEPS) + ("notify-dlq.fifo", "archive-dlq", "events-dlq.fifo")

#: Function -> the queues that feed it, and its dead-letter queue for what can never succeed. What drains the dead-letter
#: queues has none: what it cannot deal with stays where it is.
FED_BY: dict[str, tuple[tuple[str, ...], str | None]] = {
    "validate-order": (tuple(f"validate-{lane}" for lane in LANES), "validate-dlq"),
    "process-payment": (tuple(f"payment-{lane}" for lane in LANES), "payment-dlq"),
    "reserve-stock": (tuple(f"stock-{lane}" for lane in LANES), "stock-dlq"),
    "ship-order": (tuple(f"shipping-{lane}" for lane in LANES), "shipping-dlq"),
    "notify-customer": (("notify.fifo",), "notify-dlq.fifo"),
    "archive-events": (("archive",), "archive-dlq"),
    "triage-dead-letters": (DEAD_LETTERS, None),
}
CONSUME = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility")

#: What Lambda itself does with the function's role for a stream and its failure destination.
STREAM = TABLE + "orders/stream/2026-01-01T00:00:00.000"
FED_BY_STREAM: dict[str, set[tuple[str, str]]] = {
    "publish-events": {
        ("dynamodb:DescribeStream", STREAM),
        ("dynamodb:GetRecords", STREAM),
        ("dynamodb:GetShardIterator", STREAM),
        ("dynamodb:ListStreams", STREAM),
        ("s3:PutObject", BUCKET + "/aws/lambda/*"),
        ("s3:ListBucket", BUCKET),
    },
    "control-breakers": {
        (action, TABLE + "breakers/stream/2026-01-01T00:00:00.000")
        for action in (
            "dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams",
        )
    },
}


def expected(function: str, ports: set[str]) -> set[tuple[str, str]]:
    """Everything that a function with these bounds may do."""
    log_group = f"arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/shop-{function}:*"
    allowed = {("logs:CreateLogStream", log_group), ("logs:PutLogEvents", log_group)}
    for port in ports:
        allowed |= CAPABILITIES[port]
    if "SendCommands" in ports:
        allowed |= {
            ("sqs:SendMessage", f"{QUEUE}{step}-{lane}") for step in COMMANDS_TO[function] for lane in LANES
        }
    if function in FED_BY:
        queues, dead_letters = FED_BY[function]
        allowed |= {(action, QUEUE + queue) for queue in queues for action in CONSUME}
        if dead_letters is not None:
            allowed.add(("sqs:SendMessage", QUEUE + dead_letters))
    return allowed | FED_BY_STREAM.get(function, set())
