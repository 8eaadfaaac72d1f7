"""Alarms, dashboard and outputs: nothing that can go wrong is without a light, and nothing lit is misnamed."""

import json
import re

import pytest

from capabilities import LANES, QUEUE, STEPS
from stack_model import PROD, Refused, Stack
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


def ages(stack: Stack) -> dict[str, dict]:
    """Queue -> its alarm on the age of its oldest message."""
    return alarms_on(stack, "ApproximateAgeOfOldestMessage")


def of_dead_letters(stack: Stack, ending: str) -> dict[str, dict]:
    """Dead-letter queue -> the alarm of this kind on how many letters are in it, waiting and in flight."""
    found = {}
    for queue in stack.queues().values():
        if DLQ.search(queue["QueueName"]):
            name = queue["QueueName"].removeprefix("shop-")
            alarm = stack.alarms()[name.removesuffix(".fifo") + ending]
            watched = {
                query["MetricStat"]["Metric"]["MetricName"]: query["MetricStat"]["Metric"]["Dimensions"]
                for query in alarm["Metrics"]
                if "MetricStat" in query
            }
            own = [{"Name": "QueueName", "Value": queue["QueueName"]}]
            # One that triage cannot write is in flight, not visible, most of the time.
            assert watched == {
                "ApproximateNumberOfMessagesVisible": own, "ApproximateNumberOfMessagesNotVisible": own,
            }, name
            expression, = (query for query in alarm["Metrics"] if "Expression" in query)
            assert expression["Expression"] == "visible + FILL(in_flight, 0)", name
            assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("GreaterThanThreshold", "notBreaching")
            found[queue["QueueName"]] = alarm
    return found


def stat(alarm: dict) -> tuple[int, str]:
    """Period and statistic of an alarm by metric math."""
    both = {(query["MetricStat"]["Period"], query["MetricStat"]["Stat"]) for query in alarm["Metrics"] if "MetricStat" in query}
    only, = both
    return only


def test_a_dead_letter_queue_that_is_not_empty_for_five_minutes_alarms_whether_triage_tries_or_not(prod: Stack) -> None:
    alarms = of_dead_letters(prod, "-depth")
    assert len(alarms) == 7
    for alarm in alarms.values():
        assert stat(alarm) == (60, "Maximum")
        assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"], alarm["Threshold"]) == (5, 6, 0)


def test_no_alarm_of_a_dead_letter_queue_goes_by_age_as_that_leaves_out_what_was_received_thrice(prod: Stack) -> None:
    assert not [queue for queue in ages(prod) if DLQ.search(queue)]


def test_a_dead_letter_that_stays_alarms_a_week_before_it_is_deleted(prod: Stack) -> None:
    alarms = of_dead_letters(prod, "-time-to-loss")
    assert len(alarms) == 7
    before = max(q["MessageRetentionPeriod"] for q in prod.queues().values() if not DLQ.search(q["QueueName"]))
    for name, alarm in alarms.items():
        assert stat(alarm) == (3_600, "Average") and alarm["Threshold"] == 0.5
        kept, = (queue["MessageRetentionPeriod"] for queue in prod.queues().values() if queue["QueueName"] == name)
        stayed = int(alarm["EvaluationPeriods"]) * 3_600
        # SQS counts a letter that it moved itself from when it was first sent.
        assert stayed <= 7 * 86_400 and before + stayed <= kept - 7 * 86_400, name
    with pytest.raises(Refused):
        Stack(**PROD, DlqTimeToLossAlarmHours="169")


def test_triage_that_fails_alarms_before_a_letter_is_old(prod: Stack) -> None:
    alarm = prod.alarms()["triage-dead-letters-failing"]
    assert (alarm["MetricName"], alarm["Dimensions"]) == ("failed", [{"Name": "function", "Value": "triage-dead-letters"}])
    assert (alarm["Statistic"], alarm["Period"], alarm["Threshold"]) == ("Sum", 60, 0)
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (3, 5)


def test_who_consumes_a_standard_queue_alarms_when_most_of_its_records_come_back(prod: Stack) -> None:
    # Their alarms on age do not see those once they were received three times. A FIFO queue keeps its order.
    fed = {
        mapping["FunctionName"].removeprefix("shop-")
        for mapping in prod.mappings().values()
        if ":sqs:" in mapping["EventSourceArn"] and not mapping["EventSourceArn"].endswith(".fifo")
    } - {"triage-dead-letters"}
    failing = {
        name.removesuffix("-failing"): alarm
        for name, alarm in prod.alarms().items()
        if name.endswith("-failing") and "Metrics" in alarm
    }
    assert failing.keys() == fed and len(fed) == 5
    for name, alarm in failing.items():
        expression, *inputs = alarm["Metrics"]
        assert expression["Expression"] == "IF(records >= 5, 100 * (failed - deferred) / records, 0)"
        for query in inputs:
            assert query["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "function", "Value": name}]
            assert query["MetricStat"]["Metric"]["MetricName"] == query["Id"], name
        assert stat(alarm) == (300, "Sum")
        assert (int(alarm["Threshold"]), alarm["EvaluationPeriods"]) == (50, 1)


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
    alarms = ages(prod)
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
    for metric in ("IteratorAge", "DestinationDeliveryFailures"):
        assert alarms_on(prod, metric).keys() == {"shop-publish-events"}, metric
    # Of the mapping: what went to the bucket, and what did not even get there.
    for metric in ("OnFailureDestinationDeliveredEventCount", "DroppedEventCount"):
        alarm = alarms_on(prod, metric)["OrdersStreamMapping"]
        assert alarm["Dimensions"][0]["Name"] == "EventSourceMappingUUID", metric
        assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "GreaterThanThreshold", 0)


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


def test_a_comparison_of_the_ledger_that_fell_silent_alarms(prod: Stack) -> None:
    silent = alarms_on(prod, "Invocations")["shop-reconcile-payments"]
    assert (silent["TreatMissingData"], silent["ComparisonOperator"]) == ("breaching", "LessThanThreshold")


def test_each_window_that_no_run_gets_through_alarms_and_another_one_does_not_hide_it(prod: Stack) -> None:
    schedules = [
        schedule
        for schedule in prod.of_type("AWS::Scheduler::Schedule").values()
        if schedule["Target"]["Arn"].endswith(":function:shop-reconcile-payments")
    ]
    wanted = {str(json.loads(schedule["Target"]["Input"])["window_hours"]) for schedule in schedules}
    found = {}
    for alarm in prod.alarms().values():
        if alarm.get("MetricName") == "walks":
            dimensions = {one["Name"]: one["Value"] for one in alarm["Dimensions"]}
            assert dimensions["function"] == "reconcile-payments"
            # No run, one that dies and one that does not get through are the same here: none came to its end.
            assert (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"]) == ("Sum", "LessThanThreshold", 1)
            assert alarm["TreatMissingData"] == "breaching"
            found[dimensions["window_hours"]] = (alarm["Period"], alarm["EvaluationPeriods"])
    assert found.keys() == wanted and len(wanted) == 2
    assert found == {"48": (3_600, 3), "384": (86_400, 2)}


def test_a_difference_between_the_ledger_and_the_orders_alarms_until_its_case_is_closed(prod: Stack) -> None:
    alarm = prod.alarms()["payment-differences"]
    variables = prod.functions()["reconcile-payments"]["Environment"]["Variables"]
    assert alarm["Namespace"] == variables["LAMBDA_QUEUE_METRICS_NAMESPACE"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Threshold"]) == ("differences_open", "Maximum", 0)
    assert alarm["Dimensions"] == [{"Name": "function", "Value": "reconcile-payments"}]
    # A run that could not count says nothing, and does not make it green.
    assert (alarm["ComparisonOperator"], alarm["TreatMissingData"]) == ("GreaterThanThreshold", "ignore")


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


def test_every_single_metric_alarm_names_exactly_one_thing_that_exists(prod: Stack) -> None:
    existing = {name.removeprefix(QUEUE) for name in prod.queues()} | prod.functions().keys()
    existing |= {"order-events.fifo"} | prod.mappings().keys()
    for name, alarm in prod.of_type("AWS::CloudWatch::Alarm").items():
        if "MetricName" in alarm and alarm["Namespace"] != "Orderflow/shop":
            dimension, = alarm["Dimensions"]
            assert dimension["Value"] == "Api" or dimension["Value"].removeprefix("shop-") in existing, name


def test_alarm_names_are_unique(prod: Stack) -> None:
    names = [alarm["AlarmName"] for alarm in prod.of_type("AWS::CloudWatch::Alarm").values()]
    assert len(set(names)) == len(names)


def test_the_light_for_customers_is_made_of_alarms_that_exist(prod: Stack) -> None:
    composite, = prod.of_type("AWS::CloudWatch::CompositeAlarm").values()
    parts = re.findall(r'ALARM\("([^"]+)"\)', composite["AlarmRule"])
    names = {alarm["AlarmName"] for alarm in prod.of_type("AWS::CloudWatch::Alarm").values()}
    assert set(parts) <= names
    assert {name.removeprefix("shop-") for name in parts} == {
        "api-5xx", "api-availability", "orders-stream-age",
        *(f"{step}-express-age" for step in STEPS),
        # A process that dies counts no failed record: only its errors tell.
        *(
            f"{function}-{what}"
            for function in ("validate-order", "process-payment", "reserve-stock", "ship-order")
            for what in ("failing", "errors")
        ),
    }


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
    silence = {
        "RecoverOrdersSilentAlarm", "ControlBreakersSilentAlarm", "ReconcilePaymentsSilentAlarm",
        "ReconcileUnfinishedAlarm", "ReconcileDailyUnfinishedAlarm",
    }
    math = {name for name, alarm in prod.of_type("AWS::CloudWatch::Alarm").items() if "Metrics" in alarm}
    assert len(math) == 7 + 7 + 5 + 1
    assert prod.resources.keys() - local.resources.keys() == {"EventArchive", "CustomersNoticeAlarm"} | silence | math


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
    assert {value for _, key, value in shown if key == "FunctionName"} == {"shop-" + name for name in TIMEOUT}
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


def test_the_dashboard_lights_alarms_that_exist_dead_letters_first(prod: Stack) -> None:
    dashboard, = prod.of_type("AWS::CloudWatch::Dashboard").values()
    lit, = (w["properties"]["alarms"] for w in json.loads(dashboard["DashboardBody"])["widgets"] if w["type"] == "alarm")
    # Some are named there by text, which nothing else would check.
    arns = {prod.attribute(name, "Arn") for name in prod.of_type("AWS::CloudWatch::Alarm")}
    assert len(lit) == len(set(lit)) and set(lit) <= arns
    assert all(arn.endswith("-dlq-depth") for arn in lit[:7])


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
