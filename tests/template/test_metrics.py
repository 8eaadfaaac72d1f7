"""Alarms and dashboard name metrics that somebody publishes, and alarms look no further back than CloudWatch does."""

import json
import re
from collections.abc import Iterator

from metrics import AWS, OWN
from stack_model import ROOT, Stack

Metric = tuple[str, str, tuple[tuple[str, str], ...]]

# Each stack has a namespace of its own: what another one in the same account publishes sets off none of its alarms.
OURS = "Orderflow/shop"


def of_alarms(stack: Stack) -> Iterator[tuple[str, Metric]]:
    """Alarm, and a metric that it watches: namespace, name, dimensions."""
    for name, alarm in stack.alarms().items():
        watched = [alarm] if "MetricName" in alarm else [
            query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query
        ]
        assert watched, name
        for metric in watched:
            dimensions = tuple((one["Name"], one["Value"]) for one in metric["Dimensions"])
            yield name, (metric["Namespace"], metric["MetricName"], dimensions)


def of_the_dashboard(stack: Stack) -> Iterator[tuple[str, Metric]]:
    dashboard, = stack.of_type("AWS::CloudWatch::Dashboard").values()
    for widget in json.loads(dashboard["DashboardBody"])["widgets"]:
        for line in widget["properties"].get("metrics", []):
            namespace, name, *pairs = (part for part in line if isinstance(part, str))
            yield widget["properties"]["title"], (namespace, name, tuple(zip(pairs[::2], pairs[1::2], strict=True)))


def test_every_metric_of_aws_that_is_named_is_published_under_these_dimensions(prod: Stack) -> None:
    named = [*of_alarms(prod), *of_the_dashboard(prod)]
    spaces = {metric[0] for _, metric in named}
    assert spaces == {*AWS, OURS}
    for where, (namespace, name, dimensions) in named:
        if namespace != OURS:
            keys = tuple(key for key, _ in dimensions)
            assert name in AWS[namespace].get(keys, set()), f"{where}: {namespace} has no {name} by {keys}"


def test_every_metric_of_ours_that_is_named_is_published_under_these_dimensions(prod: Stack) -> None:
    named = {(metric[1], tuple(key for key, _ in metric[2])) for _, metric in [*of_alarms(prod), *of_the_dashboard(prod)]
             if metric[0] == OURS}
    for name, keys in sorted(named):
        assert keys in OWN[name][0], f"{name} is not published by {keys}"
    assert {name for name, _ in named} == OWN.keys(), "written down and watched by nobody"


def test_what_is_written_down_of_our_metrics_is_what_the_code_publishes() -> None:
    for name, (sets, path) in OWN.items():
        source = (ROOT / path).read_text(encoding="utf-8").split("#[cfg(test)]")[0]
        assert re.search(rf'\.metric\(\s*"{name}"', source), f"{path} publishes no {name}"
        for key in {key for keys in sets for key in keys}:
            assert f'"{key}"' in source, f"{path} has no dimension {key}"


def test_a_metric_of_a_mapping_is_watched_only_where_the_mapping_publishes_it(prod: Stack) -> None:
    watched = {
        value for _, (_, _, dimensions) in of_alarms(prod) for key, value in dimensions if key == "EventSourceMappingUUID"
    }
    assert watched == {"OrdersStreamMapping"}
    for mapping in watched:
        assert prod.mappings()[mapping]["MetricsConfig"]["Metrics"] == ["EventCount"], mapping


def test_no_alarm_looks_further_back_than_cloudwatch_does(prod: Stack) -> None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html: seven days, with periods
    # of under an hour one.
    for name, alarm in prod.alarms().items():
        periods = [alarm["Period"]] if "Period" in alarm else [
            query["MetricStat"]["Period"] for query in alarm["Metrics"] if "MetricStat" in query
        ]
        assert len(set(periods)) == 1, name
        most = 604_800 if periods[0] >= 3_600 else 86_400
        assert periods[0] * int(alarm["EvaluationPeriods"]) <= most, name
        assert int(alarm.get("DatapointsToAlarm", 1)) <= int(alarm["EvaluationPeriods"]), name


def test_every_metric_of_an_alarm_by_metric_math_is_used_and_only_its_expression_is_looked_at(prod: Stack) -> None:
    for name, alarm in prod.alarms().items():
        if "Metrics" not in alarm:
            continue
        expression, = (query for query in alarm["Metrics"] if "Expression" in query)
        inputs = {query["Id"] for query in alarm["Metrics"] if "MetricStat" in query}
        assert [query["Id"] for query in alarm["Metrics"] if query["ReturnData"]] == [expression["Id"]], name
        assert inputs == set(re.findall(r"\b[a-z][a-z_]*\b", expression["Expression"])), name
