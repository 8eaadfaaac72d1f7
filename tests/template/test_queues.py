"""Queues, dead-letter queues and topic: the numbers of the design, and what the local emulator would not notice."""

import json

import pytest

from capabilities import LANES, QUEUE, STEPS
from stack_model import Stack

DAY = 24 * 3600
COMMAND = {f"{QUEUE}{step}-{lane}" for step in STEPS for lane in LANES}
EVENT = {QUEUE + "notify.fifo", QUEUE + "archive"}
DEAD = {QUEUE + f"{step}-dlq" for step in STEPS} | {QUEUE + "notify-dlq.fifo", QUEUE + "archive-dlq"}
#: The topic's own: subscriptions that could not be served.
OF_THE_TOPIC = QUEUE + "events-dlq.fifo"
BEHIND_A_BREAKER = ("payment", "shipping", "notify")


def test_the_queues_are_those_of_the_design(prod: Stack) -> None:
    assert prod.queues().keys() == COMMAND | EVENT | DEAD | {OF_THE_TOPIC}


def test_every_queue_has_a_dead_letter_queue_of_its_own_step_and_kind(prod: Stack) -> None:
    for arn in sorted(COMMAND | EVENT):
        queue = prod.queues()[arn]
        name = arn.removeprefix(QUEUE).removesuffix(".fifo")
        step = name.split("-")[0]
        fifo = ".fifo" if arn.endswith(".fifo") else ""
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == f"{QUEUE}{step}-dlq{fifo}", arn


def test_a_message_is_received_often_enough_before_it_is_given_up(prod: Stack) -> None:
    for arn in sorted(COMMAND | EVENT):
        step = arn.removeprefix(QUEUE).split("-")[0].removesuffix(".fifo")
        wanted = 50 if step in BEHIND_A_BREAKER else 10
        assert int(prod.queues()[arn]["RedrivePolicy"]["maxReceiveCount"]) == wanted, arn


def test_a_dead_letter_queue_admits_exactly_its_sources(prod: Stack) -> None:
    for arn in sorted(DEAD):
        sources = {
            source
            for source, queue in prod.queues().items()
            if queue.get("RedrivePolicy", {}).get("deadLetterTargetArn") == arn
        }
        allow = prod.queues()[arn]["RedriveAllowPolicy"]
        assert allow["redrivePermission"] == "byQueue", arn
        assert sources and sorted(allow["sourceQueueArns"]) == sorted(sources), arn


def test_no_queue_may_name_the_topics_dead_letter_queue(prod: Stack) -> None:
    assert prod.queues()[OF_THE_TOPIC]["RedriveAllowPolicy"] == {"redrivePermission": "denyAll"}


def test_dead_letters_stay_fourteen_days_and_messages_four(prod: Stack) -> None:
    for arn, queue in prod.queues().items():
        days = 14 if arn in DEAD | {OF_THE_TOPIC} else 4
        assert queue["MessageRetentionPeriod"] == days * DAY, arn


def test_no_dead_letter_queue_has_a_dead_letter_queue(prod: Stack) -> None:
    for arn in DEAD | {OF_THE_TOPIC}:
        assert "RedrivePolicy" not in prod.queues()[arn], arn


def test_every_queue_is_encrypted_with_a_key_that_lets_the_topic_in(prod: Stack) -> None:
    # Under alias/aws/sqs neither SNS nor EventBridge could send.
    for arn, queue in prod.queues().items():
        assert queue["SqsManagedSseEnabled"] is True, arn
        assert "KmsMasterKeyId" not in queue, arn


@pytest.mark.parametrize(("lane", "visibility"), [("express", 90), ("standard", 91), ("bulk", 91)])
def test_command_queues_have_the_visibility_of_the_design(prod: Stack, lane: str, visibility: int) -> None:
    for step in STEPS:
        assert prod.queues()[f"{QUEUE}{step}-{lane}"]["VisibilityTimeout"] == visibility, step


def test_a_dead_letter_queue_gives_triage_the_time_that_any_consumer_needs(prod: Stack) -> None:
    for arn in sorted(DEAD | {OF_THE_TOPIC}):
        assert prod.queues()[arn]["VisibilityTimeout"] >= 6 * 10, arn


def test_notices_have_the_visibility_of_the_design(prod: Stack) -> None:
    assert prod.queues()[QUEUE + "notify.fifo"]["VisibilityTimeout"] == 60


def test_fifo_queues_are_high_throughput_and_grouped_by_order(prod: Stack) -> None:
    fifo = {arn: queue for arn, queue in prod.queues().items() if arn.endswith(".fifo")}
    assert len(fifo) == 3
    for arn, queue in fifo.items():
        assert queue["FifoQueue"] is True, arn
        assert queue["DeduplicationScope"] == "messageGroup", arn
        assert queue["FifoThroughputLimit"] == "perMessageGroupId", arn
        assert queue["ContentBasedDeduplication"] is False, arn


def test_standard_queues_carry_no_attribute_of_a_fifo_queue(prod: Stack) -> None:
    for arn, queue in prod.queues().items():
        if not arn.endswith(".fifo"):
            assert not {"FifoQueue", "DeduplicationScope", "FifoThroughputLimit"} & queue.keys(), arn


def test_the_topic_is_fifo_and_takes_its_deduplication_from_the_publisher(prod: Stack) -> None:
    topic = prod.of_type("AWS::SNS::Topic")["EventsTopic"]
    assert topic["TopicName"] == "shop-order-events.fifo"
    assert topic["FifoTopic"] is True
    assert topic["ContentBasedDeduplication"] is False
    assert topic["FifoThroughputScope"] == "MessageGroup"


def test_both_subscriptions_get_the_bare_message_and_have_a_dead_letter_queue(prod: Stack) -> None:
    topic = prod.attribute("EventsTopic", "Arn")
    ours = [s for s in prod.of_type("AWS::SNS::Subscription").values() if s["TopicArn"] == topic]
    assert {s["Endpoint"] for s in ours} == EVENT
    for subscription in ours:
        assert subscription["Protocol"] == "sqs"
        assert subscription["RawMessageDelivery"] is True
        assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": OF_THE_TOPIC}


def test_a_customer_is_told_the_story_and_not_the_inner_steps(prod: Stack) -> None:
    subscriptions = prod.of_type("AWS::SNS::Subscription")
    assert subscriptions["NotifySubscription"]["FilterPolicy"] == {
        "event": ["accepted", "rejected", "shipped", "cancel_requested", "cancelled", "cancel_refused", "refunded"]
    }
    assert subscriptions["NotifySubscription"]["FilterPolicyScope"] == "MessageAttributes"
    assert "FilterPolicy" not in subscriptions["ArchiveSubscription"], "the archive takes everything"


def test_only_the_topic_may_send_to_the_event_queues(prod: Stack) -> None:
    policies = prod.of_type("AWS::SQS::QueuePolicy")
    reached = set()
    for name, policy in policies.items():
        statement, = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Allow", name
        assert statement["Principal"] == {"Service": "sns.amazonaws.com"}, name
        assert statement["Action"] == "sqs:SendMessage", name
        assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": prod.attribute("EventsTopic", "Arn")}}, name
        queue, = policy["Queues"]
        assert queue.endswith("/shop-" + statement["Resource"].removeprefix(QUEUE)), name
        reached.add(statement["Resource"])
    assert reached == EVENT | {OF_THE_TOPIC}


def test_no_command_queue_has_a_policy_that_lets_strangers_in(prod: Stack) -> None:
    named = json.dumps(prod.of_type("AWS::SQS::QueuePolicy"))
    for arn in COMMAND | DEAD:
        assert arn + '"' not in named, arn
