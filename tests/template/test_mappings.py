"""Event source mappings: partial answers, lanes, visibility against time-out and window."""

import json
import math
import re

from capabilities import FED_BY, LANES, QUEUE
from stack_model import PROD, ROOT, Stack

CONCURRENCY = {"express": 20, "standard": 10, "bulk": 5}


def function_of(mapping: dict) -> str:
    return mapping["FunctionName"].removeprefix("shop-")


def test_every_queue_dead_letter_queues_among_them_feeds_exactly_its_function(prod: Stack) -> None:
    fed: dict[str, list[str]] = {}
    for mapping in prod.mappings().values():
        fed.setdefault(function_of(mapping), []).append(mapping["EventSourceArn"])
    stream = fed.pop("publish-events")
    assert stream == [prod.attribute("OrdersTable", "StreamArn")]
    assert fed.pop("control-breakers") == [prod.attribute("BreakersTable", "StreamArn")]
    assert {name: sorted(arns) for name, arns in fed.items()} == {
        name: sorted(QUEUE + queue for queue in queues) for name, (queues, _) in FED_BY.items()
    }
    assert sorted(arn for arns in fed.values() for arn in arns) == sorted(prod.queues()), "no queue is left to itself"


def test_dead_letters_are_taken_at_once_and_never_by_many(prod: Stack) -> None:
    mappings = [m for m in prod.mappings().values() if function_of(m) == "triage-dead-letters"]
    assert len(mappings) == 7
    for mapping in mappings:
        assert mapping["BatchSize"] == 10
        assert "MaximumBatchingWindowInSeconds" not in mapping
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2}


def test_every_mapping_reports_item_failures(prod: Stack) -> None:
    for name, mapping in prod.mappings().items():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], name


def test_visibility_covers_six_time_outs_and_the_window(prod: Stack) -> None:
    for name, mapping in prod.mappings().items():
        queue = prod.queues().get(mapping["EventSourceArn"])
        if queue is None:
            continue
        timeout = prod.functions()[function_of(mapping)]["Timeout"]
        wanted = 6 * timeout + mapping.get("MaximumBatchingWindowInSeconds", 0)
        assert queue["VisibilityTimeout"] >= wanted, f"{name}: {queue['VisibilityTimeout']} s is under {wanted} s"


def test_command_mappings_take_ten_and_only_express_takes_them_at_once(prod: Stack) -> None:
    for lane in LANES:
        mappings = [m for m in prod.mappings().values() if m["EventSourceArn"].endswith(f"-{lane}")]
        assert len(mappings) == 4
        for mapping in mappings:
            assert mapping["BatchSize"] == 10
            assert mapping["MaximumBatchingWindowInSeconds"] == (0 if lane == "express" else 1)


def test_a_lanes_share_is_its_own_concurrency(prod: Stack, local: Stack) -> None:
    for stack in (prod, local):
        for lane, concurrency in CONCURRENCY.items():
            for mapping in stack.mappings().values():
                if mapping["EventSourceArn"].endswith(f"-{lane}"):
                    assert int(mapping["ScalingConfig"]["MaximumConcurrency"]) == concurrency


def test_each_lanes_concurrency_can_be_turned_by_itself() -> None:
    turned = Stack(**PROD, ExpressMaximumConcurrency="40", StandardMaximumConcurrency="30", BulkMaximumConcurrency="7")
    found = {
        mapping["EventSourceArn"].rsplit("-", 1)[-1]: int(mapping["ScalingConfig"]["MaximumConcurrency"])
        for mapping in turned.mappings().values()
        if mapping["EventSourceArn"].rsplit("-", 1)[-1] in LANES
    }
    assert found == {"express": 40, "standard": 30, "bulk": 7}


def test_locally_the_numbers_of_mappings_are_numbers(local: Stack) -> None:
    # The emulator takes a parameter's number for text, compares it with a number, and polls no queue at all.
    for name, mapping in local.mappings().items():
        numbers = [
            mapping["BatchSize"],
            mapping.get("MaximumBatchingWindowInSeconds", 0),
            mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0),
            mapping.get("ParallelizationFactor", 0),
            mapping.get("MaximumRetryAttempts", 0),
            mapping.get("MaximumRecordAgeInSeconds", 0),
        ]
        assert all(isinstance(number, int) for number in numbers), f"{name}: {numbers}"


def test_local_mappings_have_the_numbers_of_the_parameters_defaults(prod: Stack, local: Stack) -> None:
    def numbers(stack: Stack) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(
                int(mapping.get(key) or mapping.get("ScalingConfig", {}).get(key) or 0)
                for key in (
                    "MaximumConcurrency", "ParallelizationFactor", "MaximumRetryAttempts", "MaximumRecordAgeInSeconds"
                )
            )
            for name, mapping in stack.mappings().items()
        }

    assert numbers(local) == numbers(prod)


def test_the_fifo_mapping_has_no_window_and_at_most_ten(prod: Stack) -> None:
    mapping = prod.mappings()["NotifyMapping"]
    assert "MaximumBatchingWindowInSeconds" not in mapping
    assert mapping["BatchSize"] <= 10


def test_the_archive_takes_a_thousand_or_what_came_in_a_minute(prod: Stack) -> None:
    mapping = prod.mappings()["ArchiveMapping"]
    assert (mapping["BatchSize"], mapping["MaximumBatchingWindowInSeconds"]) == (1000, 60)


def test_no_mapping_of_a_queue_filters_since_a_filter_there_deletes(prod: Stack) -> None:
    filtering = [name for name, mapping in prod.mappings().items() if "FilterCriteria" in mapping]
    assert filtering == ["BreakersStreamMapping"]


def test_only_the_providers_rows_wake_control_breakers_and_not_what_lanes_tell(prod: Stack) -> None:
    criteria, = prod.mappings()["BreakersStreamMapping"]["FilterCriteria"]["Filters"]
    pattern = json.loads(criteria["Pattern"])
    source = (ROOT / "crates" / "ports" / "src" / "breakers.rs").read_text(encoding="utf-8")
    providers = re.findall(r'Self::\w+ => "(\w+)"', source)
    # The emulator knows equality, and takes everything for something else than a prefix: names, then.
    assert pattern == {"dynamodb": {"Keys": {"dependency": {"S": providers}}}}
    assert len(providers) == 3


def test_the_stream_misses_nothing_gives_up_in_time_and_keeps_what_it_gave_up(prod: Stack) -> None:
    mapping = prod.mappings()["OrdersStreamMapping"]
    assert mapping["StartingPosition"] == "TRIM_HORIZON"
    assert mapping["BisectBatchOnFunctionError"] is False
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": prod.attribute("ArchiveBucket", "Arn")}}
    assert 0 < int(mapping["MaximumRecordAgeInSeconds"]) < 24 * 3600, "a stream keeps its records for a day"
    assert 0 < int(mapping["MaximumRetryAttempts"]) <= 10_000
    assert 1 <= int(mapping["ParallelizationFactor"]) <= 10


def test_the_stream_counts_what_it_gives_up_and_the_emulator_is_not_asked_to(prod: Stack, local: Stack) -> None:
    # Opt-in, or the metrics that the alarms watch do not exist.
    counting = {name: mapping["MetricsConfig"] for name, mapping in prod.mappings().items() if "MetricsConfig" in mapping}
    assert counting == {"OrdersStreamMapping": {"Metrics": ["EventCount"]}}
    assert not any("MetricsConfig" in mapping for mapping in local.mappings().values())


def test_control_breakers_knows_every_mapping_but_its_own_and_what_it_normally_is(prod: Stack, local: Stack) -> None:
    for stack in (prod, local):
        variables = stack.functions()["control-breakers"]["Environment"]["Variables"]
        known = dict(pair.split("=") for pair in variables["MAPPING_IDS"].split())
        short = {"OrdersStreamMapping": "events", "NotifyMapping": "notify", "ArchiveMapping": "archive"}
        wanted = {
            short.get(name) or mapping["EventSourceArn"].removeprefix(QUEUE).removesuffix(".fifo"): name
            for name, mapping in stack.mappings().items()
            if name != "BreakersStreamMapping"
        }
        assert known == wanted
        for name, logical in known.items():
            kind = name.rsplit("-", 1)[-1].upper()
            scaling = stack.mappings()[logical].get("ScalingConfig")
            if scaling is not None:
                assert str(variables[f"{kind}_MAXIMUM_CONCURRENCY"]) == str(scaling["MaximumConcurrency"]), name


def test_the_breakers_stream_reads_no_history_and_blocks_nothing_for_long(prod: Stack) -> None:
    mapping = prod.mappings()["BreakersStreamMapping"]
    assert mapping["StartingPosition"] == "LATEST"
    assert (mapping["MaximumRetryAttempts"], mapping["MaximumRecordAgeInSeconds"]) == (3, 60)


def test_lambda_stops_a_function_that_runs_in_circles(prod: Stack) -> None:
    # An order comes back to process-payment three times in one chain (authorize, capture, refund); Lambda stops at 16.
    for function, properties in prod.functions().items():
        assert properties.get("RecursiveLoop", "Terminate") == "Terminate", function


def test_reserved_concurrency_is_off_unless_asked_for(prod: Stack, local: Stack) -> None:
    for stack in (prod, local):
        for function, properties in stack.functions().items():
            assert "ReservedConcurrentExecutions" not in properties, function


def reserved(stack: Stack) -> dict[str, tuple[int, int]]:
    """Function -> (reserved, sum of its mappings' MaximumConcurrency), for those that reserve."""
    found = {}
    for function, properties in stack.functions().items():
        if "ReservedConcurrentExecutions" not in properties:
            continue
        needed = sum(
            int(mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 0))
            for mapping in stack.mappings().values()
            if function_of(mapping) == function
        )
        found[function] = (int(properties["ReservedConcurrentExecutions"]), needed)
    return found


def test_each_functions_concurrency_can_be_reserved() -> None:
    stack = Stack(
        **PROD,
        ApiReservedConcurrency="100",
        StepReservedConcurrency=str(math.ceil(35 * 4 / 3)),
        NotifyReservedConcurrency="14",
        ArchiveReservedConcurrency="3",
        PublishReservedConcurrency="20",
        RecoverReservedConcurrency="2",
        ReconcileReservedConcurrency="2",
        TriageReservedConcurrency="14",
        ControlReservedConcurrency="4",
    )
    found = reserved(stack)
    assert found.keys() == stack.functions().keys()
    for function, (share, needed) in found.items():
        assert share >= needed, function
    assert found["process-payment"] == (47, 35)
    assert found["notify-customer"] == (14, 10)
