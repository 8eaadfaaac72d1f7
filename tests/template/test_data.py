"""Tables, archive, secrets: kept, encrypted, protected."""

import re

import pytest

from stack_model import PROD, Refused, Stack, walk

TABLES = {"shop-orders", "shop-stock", "shop-idempotency", "shop-cases", "shop-breakers"}


@pytest.fixture
def tables(prod: Stack) -> dict[str, dict]:
    return {table["TableName"]: table for table in prod.of_type("AWS::DynamoDB::Table").values()}


def keys(schema: list[dict]) -> tuple[str, ...]:
    return tuple(part["AttributeName"] for part in sorted(schema, key=lambda part: part["KeyType"]))


def test_the_tables_are_those_of_the_design(tables: dict[str, dict]) -> None:
    assert tables.keys() == TABLES
    assert {name.removeprefix("shop-"): keys(table["KeySchema"]) for name, table in tables.items()} == {
        "orders": ("order_id",),
        "stock": ("sku",),
        "idempotency": ("key",),
        "cases": ("case_id",),
        "breakers": ("dependency",),
    }


def test_the_indexes_are_those_the_ports_query(tables: dict[str, dict]) -> None:
    indexes = {
        (name.removeprefix("shop-"), index["IndexName"]): (keys(index["KeySchema"]), index["Projection"]["ProjectionType"])
        for name, table in tables.items()
        for index in table.get("GlobalSecondaryIndexes", [])
    }
    assert indexes == {
        ("orders", "open_shard-due_at"): (("open_shard", "due_at"), "KEYS_ONLY"),
        ("orders", "customer"): (("owner", "created_at"), "KEYS_ONLY"),
        ("cases", "fingerprint"): (("fingerprint", "opened_at"), "ALL"),
        ("cases", "status"): (("status", "opened_at"), "ALL"),
    }


def test_every_table_is_on_demand_restorable_and_encrypted(tables: dict[str, dict]) -> None:
    for name, table in tables.items():
        assert table["BillingMode"] == "PAY_PER_REQUEST", name
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, name
        assert table["SSESpecification"] == {"SSEEnabled": True, "SSEType": "KMS"}, name


def test_orders_and_breakers_stream_both_images_and_nothing_else_streams(tables: dict[str, dict]) -> None:
    streams = {name: table["StreamSpecification"] for name, table in tables.items() if "StreamSpecification" in table}
    both = {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    assert streams == {"shop-orders": both, "shop-breakers": both}


def test_only_effect_records_and_counts_of_requests_expire(tables: dict[str, dict]) -> None:
    # An order row that expired would let an old Idempotency-Key buy again. Of the breakers' table only the counts of tenants'
    # requests have the attribute.
    expiring = {name: table["TimeToLiveSpecification"] for name, table in tables.items() if "TimeToLiveSpecification" in table}
    by = {"AttributeName": "expires_at", "Enabled": True}
    assert expiring == {"shop-idempotency": by, "shop-breakers": by}


def test_tables_are_protected_from_deletion_outside_local_and_only_there(prod: Stack, local: Stack) -> None:
    for stack, protected in ((prod, True), (local, False)):
        for name, table in stack.of_type("AWS::DynamoDB::Table").items():
            assert table["DeletionProtectionEnabled"] is protected, name


def test_data_outlives_the_stack(prod: Stack) -> None:
    kept = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::SecretsManager::Secret")
    found = [resource for resource in prod.resources.values() if resource["Type"] in kept]
    assert len(found) == 8
    for resource in found:
        assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
        assert resource["UpdateReplacePolicy"] == "Retain"


def test_the_archive_is_encrypted_private_and_does_not_grow_for_ever(prod: Stack) -> None:
    bucket = prod.of_type("AWS::S3::Bucket")["ArchiveBucket"]
    rule, = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    block = bucket["PublicAccessBlockConfiguration"]
    assert len(block) == 4 and all(value is True for value in block.values())
    expiry, = bucket["LifecycleConfiguration"]["Rules"]
    assert expiry["Status"] == "Enabled" and int(expiry["ExpirationInDays"]) == 365
    assert "Prefix" not in expiry, "failed batches expire too"


def test_the_archive_refuses_plain_http(prod: Stack) -> None:
    statement, = prod.of_type("AWS::S3::BucketPolicy")["ArchiveBucketPolicy"]["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(statement["Resource"]) == 2


def test_the_bus_keeps_its_events_for_replay(prod: Stack) -> None:
    archive, = prod.of_type("AWS::Events::Archive").values()
    assert archive["SourceArn"] == prod.attribute("EventBus", "Arn")
    assert int(archive["RetentionDays"]) == 365


def test_effect_records_outlive_every_message_that_could_ask_for_their_effect_again(prod: Stack) -> None:
    using = {
        name: function["Environment"]["Variables"]
        for name, function in prod.functions().items()
        if "IDEMPOTENCY_TABLE" in function["Environment"]["Variables"]
    }
    using.pop("reconcile-payments")  # only reads them
    assert using.keys() == {"process-payment", "ship-order", "notify-customer"}
    bucket, = prod.of_type("AWS::S3::Bucket").values()
    archived = max(
        int(archive["RetentionDays"]) for archive in prod.of_type("AWS::Events::Archive").values()
    )
    expiry, = (rule for rule in bucket["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule)
    archived = max(archived, int(expiry["ExpirationInDays"]))
    queued = max(int(queue["MessageRetentionPeriod"]) for queue in prod.queues().values()) // 86_400
    for name, variables in using.items():
        assert int(variables["ARCHIVE_RETENTION_DAYS"]) == archived, name
        assert int(variables["IDEMPOTENCY_RETENTION_DAYS"]) >= archived + queued + queued, name


def test_the_retention_that_a_function_checks_is_the_one_deployed() -> None:
    # A template cannot add: functions refuse to start where the two do not fit (crates/platform/src/settings.rs).
    longer = Stack(**PROD, ArchiveRetentionDays="731", IdempotencyRetentionDays="759")
    variables = longer.functions()["notify-customer"]["Environment"]["Variables"]
    assert (variables["ARCHIVE_RETENTION_DAYS"], variables["IDEMPOTENCY_RETENTION_DAYS"]) == ("731", "759")
    assert longer.template["Parameters"]["IdempotencyRetentionDays"]["MinValue"] == 1 + 28
    with pytest.raises(Refused):
        Stack(**PROD, IdempotencyRetentionDays="28")


def test_a_providers_key_is_nowhere_but_in_its_secret(prod: Stack) -> None:
    places = {
        (logical_id, key)
        for logical_id, resource in prod.resources.items()
        for key, value in walk(resource)
        if isinstance(value, str) and ("key-of-the-payment" in value or "key-of-the-carrier" in value)
    }
    assert places == {("PaymentSecret", "SecretString"), ("CarrierSecret", "SecretString")}
    assert not any("key-of-the" in str(value) for value in prod.outputs.values())


def test_a_parameter_that_holds_a_key_is_never_shown(prod: Stack) -> None:
    secret = re.compile(r"(key|secret|password|token)$", re.IGNORECASE)
    for name, parameter in prod.template["Parameters"].items():
        if secret.search(name):
            assert parameter.get("NoEcho") is True, name


def test_no_environment_variable_holds_a_secret(prod: Stack) -> None:
    for function, properties in prod.functions().items():
        for name, value in properties["Environment"]["Variables"].items():
            if re.search(r"KEY|SECRET|PASSWORD|TOKEN", name):
                assert name.endswith("_SECRET_ARN") and str(value).startswith("arn:aws:secretsmanager:"), f"{function}: {name}"
