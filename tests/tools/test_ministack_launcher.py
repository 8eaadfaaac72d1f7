"""The pinned launcher: which ministack it patches, and that a story is still told in order under the patch."""

import importlib.util
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlopen

import boto3
import pytest

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "tools/ministack/launch.py"
GROUPS, MESSAGES = 8, 12
DEADLINE_SECONDS = 60

spec = importlib.util.spec_from_file_location("launch", LAUNCHER)
launch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(launch)

# Says when it began and ended each message; slow enough that two batches of one group would overlap.
HANDLER = """
import json, os, random, time
def handler(event, context):
    for record in event["Records"]:
        group, began = record["attributes"]["MessageGroupId"], time.time()
        time.sleep(random.uniform(0.005, 0.02))
        line = json.dumps([group, int(record["body"]), began, time.time()]) + "\\n"
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(line)
    return {"batchItemFailures": []}
"""


def test_the_patches_are_written_for_the_pinned_and_installed_version():
    pinned = re.search(r"^ministack==(.+)$", (ROOT / "requirements.txt").read_text(), re.M).group(1)
    assert launch.PINNED_VERSION == pinned == version("ministack")


@pytest.mark.parametrize("other", ["1.5.32", "1.5.34", "1.6.0", "2.0.0"])
def test_another_version_is_refused(other):
    with pytest.raises(launch.UnknownVersion, match=re.escape(other)):
        launch.check_version(other)


def test_another_signature_is_refused():
    class Changed:
        @staticmethod
        def _sqs_esm_concurrency(mapping):
            return 1

    with pytest.raises(launch.UnknownVersion):
        launch.patch_fifo_concurrency(Changed)


def test_the_patched_launcher_runs_groups_side_by_side_and_each_in_order(tmp_path):
    seen = send_and_collect(tmp_path, "--patched")
    assert_each_group_in_order(seen)
    assert most_at_once(seen) > 1


def test_the_plain_launcher_runs_one_batch_at_a_time(tmp_path):
    seen = send_and_collect(tmp_path)
    assert_each_group_in_order(seen)
    assert most_at_once(seen) == 1


# Leaves some records unfinished the first times it sees them.
STREAM_HANDLER = """
import json, os
def handler(event, context):
    seen = os.environ["SEEN"]
    told = open(seen).read().splitlines() if os.path.exists(seen) else []
    for record in event["Records"]:
        number = record["dynamodb"]["SequenceNumber"]
        name = record["dynamodb"]["Keys"]["id"]["S"]
        if name in ("3", "7", "8") and told.count("left " + name) < 2:
            with open(seen, "a") as out:
                out.write("left " + name + "\\n")
            return {"batchItemFailures": [{"itemIdentifier": number}]}
        with open(seen, "a") as out:
            out.write("done " + name + "\\n")
        told = open(seen).read().splitlines()
    return {"batchItemFailures": []}
"""
RECORDS = 12


def test_a_stream_goes_on_from_the_first_record_that_was_not_finished(tmp_path):
    path = tmp_path / "seen.txt"
    with ministack(tmp_path, "--patched") as endpoint:

        def client(service):
            return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1",
                                aws_access_key_id="000000000000", aws_secret_access_key="local")

        dynamodb, functions = client("dynamodb"), client("lambda")
        table = dynamodb.create_table(
            TableName="rows", BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )["TableDescription"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as package:
            package.writestr("index.py", STREAM_HANDLER)
        functions.create_function(
            FunctionName="stream", Runtime=f"python3.{sys.version_info.minor}", Handler="index.handler",
            Role="arn:aws:iam::000000000000:role/stream", Code={"ZipFile": code.getvalue()}, Timeout=30,
            Environment={"Variables": {"SEEN": str(path)}},
        )
        for number in range(RECORDS):
            dynamodb.put_item(TableName="rows", Item={"id": {"S": str(number)}})
        functions.create_event_source_mapping(
            FunctionName="stream", EventSourceArn=table["LatestStreamArn"], BatchSize=100,
            StartingPosition="TRIM_HORIZON", FunctionResponseTypes=["ReportBatchItemFailures"],
        )
        wait_until(lambda: path.exists() and f"done {RECORDS - 1}" in path.read_text().splitlines())
    told = path.read_text().splitlines()
    assert [line for line in told if line.startswith("done")] == [f"done {number}" for number in range(RECORDS)]
    assert [told.count(f"left {name}") for name in ("3", "7", "8")] == [2, 2, 2]


def test_records_of_a_stream_outlive_a_restart(tmp_path):
    def client(service, endpoint):
        return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1",
                            aws_access_key_id="000000000000", aws_secret_access_key="local")

    with ministack(tmp_path, "--patched", PERSIST_STATE="1") as endpoint:
        dynamodb = client("dynamodb", endpoint)
        dynamodb.create_table(
            TableName="rows", BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        )
        dynamodb.put_item(TableName="rows", Item={"id": {"S": "before"}})
    with ministack(tmp_path, "--patched", PERSIST_STATE="1") as endpoint:
        dynamodb, streams = client("dynamodb", endpoint), client("dynamodbstreams", endpoint)
        dynamodb.put_item(TableName="rows", Item={"id": {"S": "after"}})
        arn = dynamodb.describe_table(TableName="rows")["Table"]["LatestStreamArn"]
        shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
        start = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
        records = streams.get_records(ShardIterator=start["ShardIterator"])["Records"]
    assert [record["dynamodb"]["Keys"]["id"]["S"] for record in records] == ["before", "after"]


@pytest.mark.parametrize("named, left", [([], 0), (["11"], 2), (["12"], 1), (["12", "10"], 3), (["9"], 0)])
def test_records_are_unfinished_from_the_first_one_that_is_named(named, left):
    event = {"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"SequenceNumber": str(number)}}
                         for number in (10, 11, 12)]}
    answer = {"body": {"batchItemFailures": [{"itemIdentifier": number} for number in named]}}
    assert launch.unfinished_records(event, answer) == left
    assert launch.unfinished_records({"Records": [{"eventSource": "aws:sqs"}]}, answer) == 0
    assert launch.unfinished_records(event, {"body": None}) == 0


def assert_each_group_in_order(seen):
    stories = defaultdict(list)
    for group, number, began, ended in sorted(seen, key=lambda entry: entry[2]):
        stories[group].append((number, began, ended))
    assert len(stories) == GROUPS
    for group, story in stories.items():
        assert [number for number, _, _ in story] == list(range(MESSAGES)), group
        for (_, _, ended), (_, began, _) in zip(story, story[1:]):
            assert ended <= began, f"two messages of {group} at once"


def most_at_once(seen):
    edges = sorted([(began, 1) for *_, began, _ in seen] + [(ended, -1) for *_, ended in seen])
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def send_and_collect(tmp_path, *options):
    """Sends every group's messages in order and answers what the function saw."""
    path = tmp_path / "seen.jsonl"
    with ministack(tmp_path, *options) as endpoint:

        def client(service):
            return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1",
                                aws_access_key_id="000000000000", aws_secret_access_key="local")

        sqs, functions = client("sqs"), client("lambda")
        queue = sqs.create_queue(QueueName="story.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]
        for number in range(MESSAGES):
            sqs.send_message_batch(QueueUrl=queue, Entries=[
                {"Id": f"g{group}", "MessageBody": str(number), "MessageGroupId": f"g{group}",
                 "MessageDeduplicationId": f"g{group}-{number}"}
                for group in range(GROUPS)
            ])
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as package:
            package.writestr("index.py", HANDLER)
        functions.create_function(
            FunctionName="story", Runtime=f"python3.{sys.version_info.minor}", Handler="index.handler",
            Role="arn:aws:iam::000000000000:role/story", Code={"ZipFile": code.getvalue()}, Timeout=30,
            Environment={"Variables": {"SEEN": str(path)}},
        )
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        functions.create_event_source_mapping(
            FunctionName="story", EventSourceArn=arn, BatchSize=5, ScalingConfig={"MaximumConcurrency": 4},
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )
        wait_until(lambda: path.exists() and len(path.read_text().splitlines()) >= GROUPS * MESSAGES)
    return [json.loads(line) for line in path.read_text().splitlines()]


@contextmanager
def ministack(tmp_path, *options, **settings):
    """A ministack of its own on a free loopback port, stopped with everything it started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "AWS_ENDPOINT_URL": endpoint, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "TMPDIR": str(tmp_path),
        "STATE_DIR": str(tmp_path / "state"), "S3_DATA_DIR": str(tmp_path / "s3"), "IOT_MTLS_ENABLED": "0",
        **settings,
    }
    with open(tmp_path / "ministack.log", "wb") as log:
        process = subprocess.Popen([sys.executable, LAUNCHER, *options], env=environment, stdout=log, stderr=log,
                                   start_new_session=True)
    try:
        wait_until(lambda: process.poll() is not None or answers(f"{endpoint}/_ministack/health"))
        assert process.poll() is None, (tmp_path / "ministack.log").read_text()
        yield endpoint
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def answers(url):
    try:
        with urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
