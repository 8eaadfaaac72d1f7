"""Alarms, dashboard and outputs: nothing that can go wrong is without a light, and nothing lit is misnamed."""

import json
import re

import pytest

from capabilities import LANES, QUEUE, STEPS
from stack_model import PROD, Stack
from test_functions import TIMEOUT

DLQ = re.compile(r"-dlq(\.fifo)?$")
REJECTED_LOCALLY = {"AWS::CloudWatch::CompositeAlarm", "AWS::Events::Archive", "AWS::CloudWatch::AnomalyDetector"}


def alarms_on(stack: Stack, metric: str) -> dict[str, dict]:
    """Dimension value -> alarm, of the alarms on one metric."""
    return {
        alarm["Dimensions"][0]["Value"]: alarm
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == metric
    }


def short_names(stack: Stack) -> set[str]:
    return {arn.removeprefix(QUEUE) for arn in stack.queues()}


def ages(stack: Stack, name: str) -> dict[str, dict]:
    """Queue -> its alarm on the age of its oldest message, of those whose names end so."""
    return {
        alarm["Dimensions"][0]["Value"]: alarm
        for alarm in stack.of_type("AWS::CloudWatch::Alarm").values()
        if alarm.get("MetricName") == "ApproximateAgeOfOldestMessage" and alarm["AlarmName"].endswith(name)
    }


def test_a_dead_letter_queue_that_is_not_drained_for_five_minutes_says_that_triage_is_broken(prod: Stack) -> None:
    alarms = ages(prod, "-dlq-not-drained")
    assert {name.removeprefix("shop-") for name in alarms} == {name for name in short_names(prod) if DLQ.search(name)}
    for alarm in alarms.values():
        assert (alarm["Statistic"], int(alarm["Threshold"]), alarm["EvaluationPeriods"]) == ("Maximum", 300, 1)
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"


def test_a_dead_letter_that_is_about_to_be_deleted_alarms_days_before(prod: Stack) -> None:
    alarms = ages(prod, "-dlq-time-to-loss")
    assert {name.removeprefix("shop-") for name in alarms} == {name for name in short_names(prod) if DLQ.search(name)}
    for name, alarm in alarms.items():
        kept, = (queue["MessageRetentionPeriod"] for queue in prod.queues().values() if queue["QueueName"] == name)
        assert 0 < int(alarm["Threshold"]) <= kept - 3 * 24 * 3600, name


def test_cases_alarm_by_step_and_by_class(prod: Stack) -> None:
    alarms = [a for a in prod.of_type("AWS::CloudWatch::Alarm").values() if a.get("MetricName") == "cases_opened"]
    dimensions = sorted((a["Dimensions"][0]["Name"], a["Dimensions"][0]["Value"]) for a in alarms)
    steps = {name.split("-dlq")[0] for name in short_names(prod) if DLQ.search(name)} | {"recover", "reconcile"}
    assert dimensions == sorted(
        [("step", step) for step in steps] + [("class", kind) for kind in ("transient", "poison", "skew", "bug")]
    )
    for alarm in alarms:
        namespace = prod.functions()["triage-dead-letters"]["Environment"]["Variables"]["LAMBDA_QUEUE_METRICS_NAMESPACE"]
        assert (alarm["Namespace"], alarm["Statistic"], alarm["Threshold"]) == (namespace, "Sum", 0)


def test_every_other_queue_alarms_on_the_age_of_its_oldest_message(prod: Stack) -> None:
    alarms = {name: alarm for name, alarm in ages(prod, "").items() if not DLQ.search(name)}
    assert {name.removeprefix("shop-") for name in alarms} == {
        name for name in short_names(prod) if not DLQ.search(name)
    }
    for name, alarm in alarms.items():
        wanted = 60 if name.endswith("-express") else 900 if name.endswith("-archive") else 300
        assert int(alarm["Threshold"]) == wanted, name


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_every_function_alarms_on(prod: Stack, metric: str) -> None:
    assert {name.removeprefix("shop-") for name in alarms_on(prod, metric)} == TIMEOUT.keys()


def test_the_stream_alarms_when_it_falls_behind_and_when_it_gives_up(prod: Stack) -> None:
    for metric in ("IteratorAge", "OnFailureDestinationDeliveredEvents", "DestinationDeliveryFailures"):
        assert alarms_on(prod, metric).keys() == {"shop-publish-events"}, metric


def test_the_api_alarms_on_5xx_and_on_lost_availability(prod: Stack) -> None:
    assert alarms_on(prod, "5xx").keys() == {"Api"}
    share = prod.of_type("AWS::CloudWatch::Alarm")["ApiAvailabilityAlarm"]
    assert float(share["Threshold"]) == 0.1


def test_a_schedule_that_fell_silent_alarms(prod: Stack) -> None:
    alarms = alarms_on(prod, "Invocations")
    assert alarms.keys() == {"shop-recover-orders", "shop-control-breakers", "shop-reconcile-payments"}
    for alarm in alarms.values():
        assert (alarm["TreatMissingData"], alarm["ComparisonOperator"]) == ("breaching", "LessThanThreshold")


def test_an_open_breaker_and_a_mapping_that_had_to_be_turned_on_alarm(prod: Stack) -> None:
    for metric in ("breakers_open", "mappings_turned_on"):
        alarm = alarms_on(prod, metric)["control-breakers"]
        namespace = prod.functions()["control-breakers"]["Environment"]["Variables"]["LAMBDA_QUEUE_METRICS_NAMESPACE"]
        assert (alarm["Namespace"], alarm["Dimensions"][0]["Name"]) == (namespace, "function"), metric
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0), metric


def test_orders_that_are_turned_away_alarm(prod: Stack) -> None:
    alarm = alarms_on(prod, "orders_shed")["accept-order"]
    namespace = prod.functions()["accept-order"]["Environment"]["Variables"]["LAMBDA_QUEUE_METRICS_NAMESPACE"]
    assert (alarm["Namespace"], alarm["Statistic"], alarm["Threshold"]) == (namespace, "Sum", 0)
    # The dimensions of the line that each request leaves: an alarm has to name all of them.
    assert [(d["Name"], d["Value"]) for d in alarm["Dimensions"]] == [
        ("function", "accept-order"), ("route", "POST /orders"),
    ]


def test_a_comparison_of_the_ledger_that_fell_silent_alarms_and_one_that_never_gets_through(prod: Stack) -> None:
    silent = alarms_on(prod, "Invocations")["shop-reconcile-payments"]
    assert (silent["TreatMissingData"], silent["ComparisonOperator"]) == ("breaching", "LessThanThreshold")
    unfinished = alarms_on(prod, "unfinished")["reconcile-payments"]
    assert (unfinished["Statistic"], unfinished["EvaluationPeriods"], unfinished["Threshold"]) == ("Minimum", 3, 0)


def test_a_difference_between_the_ledger_and_the_orders_alarms(prod: Stack) -> None:
    alarm = alarms_on(prod, "differences")["reconcile-payments"]
    variables = prod.functions()["reconcile-payments"]["Environment"]["Variables"]
    assert alarm["Namespace"] == variables["LAMBDA_QUEUE_METRICS_NAMESPACE"]
    assert (alarm["Dimensions"][0]["Name"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "function", "GreaterThanThreshold", 0,
    )


def test_a_mail_that_may_never_have_left_alarms(prod: Stack) -> None:
    alarm = alarms_on(prod, "mails_uncertain")["notify-customer"]
    variables = prod.functions()["notify-customer"]["Environment"]["Variables"]
    assert alarm["Namespace"] == variables["LAMBDA_QUEUE_METRICS_NAMESPACE"]
    assert (alarm["Dimensions"][0]["Name"], alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == (
        "function", "Sum", "GreaterThanThreshold", 0,
    )


def test_every_alarm_tells_somebody_when_it_comes_and_when_it_goes(prod: Stack) -> None:
    topic = prod.ref("AlarmTopic")
    for name, alarm in prod.of_type("AWS::CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == [topic] and alarm["OKActions"] == [topic], name
        assert alarm["AlarmDescription"], name


def test_every_single_metric_alarm_names_exactly_one_thing_that_exists(prod: Stack) -> None:
    existing = {name.removeprefix(QUEUE) for name in prod.queues()} | prod.functions().keys()
    existing |= {"order-events.fifo"}
    for name, alarm in prod.of_type("AWS::CloudWatch::Alarm").items():
        if "MetricName" in alarm and alarm["Namespace"] != "Orderflow":
            dimension, = alarm["Dimensions"]
            assert dimension["Value"] == "Api" or dimension["Value"].removeprefix("shop-") in existing, name


def test_alarm_names_are_unique(prod: Stack) -> None:
    names = [alarm["AlarmName"] for alarm in prod.of_type("AWS::CloudWatch::Alarm").values()]
    assert len(set(names)) == len(names)


def test_the_light_for_customers_is_made_of_alarms_that_exist(prod: Stack) -> None:
    composite, = prod.of_type("AWS::CloudWatch::CompositeAlarm").values()
    parts = re.findall(r'ALARM\("([^"]+)"\)', composite["AlarmRule"])
    names = {alarm["AlarmName"] for alarm in prod.of_type("AWS::CloudWatch::Alarm").values()}
    assert len(parts) == 7 and set(parts) <= names


def test_an_address_gets_the_alarms_only_if_there_is_one(prod: Stack) -> None:
    def mailed(stack: Stack) -> list[str]:
        return [s["Endpoint"] for s in stack.of_type("AWS::SNS::Subscription").values() if s["Protocol"] == "email"]

    assert mailed(prod) == []
    assert mailed(Stack(**PROD, AlarmEmail="on-call@example.net")) == ["on-call@example.net"]


# ---- local


def test_what_the_emulator_rejects_is_not_in_the_local_stage(local: Stack) -> None:
    kinds = {resource["Type"] for resource in local.resources.values()}
    assert not kinds & REJECTED_LOCALLY
    for name, alarm in local.of_type("AWS::CloudWatch::Alarm").items():
        assert "Metrics" not in alarm, f"{name}: the emulator has no metric math"


def test_local_lacks_only_what_it_cannot_have(prod: Stack, local: Stack) -> None:
    assert prod.resources.keys() - local.resources.keys() == {
        "EventArchive", "ApiAvailabilityAlarm", "CustomersNoticeAlarm", "RecoverOrdersSilentAlarm",
        "ControlBreakersSilentAlarm",
        "ReconcilePaymentsSilentAlarm",
    }


# ---- dashboard


def test_there_is_one_dashboard_and_it_shows_queues_functions_tables_stream_and_api(prod: Stack) -> None:
    dashboard, = prod.of_type("AWS::CloudWatch::Dashboard").values()
    body = json.loads(dashboard["DashboardBody"])
    shown = {
        (metric[0], metric[2], metric[3])
        for widget in body["widgets"]
        if widget["type"] == "metric"
        for metric in widget["properties"]["metrics"]
    }
    queues = {value for space, _, value in shown if space == "AWS/SQS"}
    assert queues == {"shop-" + name for name in short_names(prod)}
    assert {value for space, key, value in shown if key == "FunctionName"} == {"shop-" + name for name in TIMEOUT}
    assert {value for space, _, value in shown if space == "AWS/DynamoDB"} == {
        "shop-orders", "shop-stock", "shop-idempotency", "shop-cases", "shop-breakers",
    }
    assert ("AWS/ApiGateway", "ApiId", "Api") in shown
    lags = {
        tuple(metric[2:6])
        for widget in body["widgets"]
        if widget["type"] == "metric"
        for metric in widget["properties"]["metrics"]
        if metric[1] == "lane_lag_ms"
    }
    assert lags == {("lane", lane, "step", step) for lane in LANES for step in STEPS}


def test_no_two_widgets_overlap_and_none_hangs_over_the_edge(prod: Stack) -> None:
    dashboard, = prod.of_type("AWS::CloudWatch::Dashboard").values()
    taken: set[tuple[int, int]] = set()
    for widget in json.loads(dashboard["DashboardBody"])["widgets"]:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert widget["x"] + widget["width"] <= 24
        assert not cells & taken, widget["properties"]["title"]
        taken |= cells


# ---- outputs


def test_the_outputs_name_all_that_the_tools_read(prod: Stack) -> None:
    wanted = {
        "ApiUrl", "OrdersTable", "StockTable", "IdempotencyTable", "CasesTable", "BreakersTable", "EventsTopicArn",
        "EventBusName", "ArchiveBucket", "QueueUrlPrefix", "ExpressDeadlineSeconds", "StandardDeadlineSeconds",
        "BulkDeadlineSeconds", "DashboardName", "AlarmTopicArn", "NotifyQueueUrl", "ArchiveQueueUrl", "CommandVersion",
        "ValidateDlqUrl", "PaymentDlqUrl", "StockDlqUrl", "ShippingDlqUrl", "NotifyDlqUrl", "ArchiveDlqUrl",
        "EventsDlqUrl", "MailFrom", "PaymentApiUrl", "PaymentSecretArn",
    }
    functions = {
        "".join(part.capitalize() for part in name.split("-")) + "FunctionName": "shop-" + name for name in TIMEOUT
    }
    assert prod.outputs.keys() == wanted | functions.keys()
    assert {name: prod.outputs[name] for name in functions} == functions
    assert prod.outputs["OrdersTable"] == "shop-orders"
    assert prod.outputs["EventBusName"] == "shop-orders"
    assert prod.outputs["NotifyDlqUrl"].endswith("/shop-notify-dlq.fifo")
