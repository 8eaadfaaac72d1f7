"""Functions: how they are built, timed and logged, and what they find in their environment."""

import json
import re
import tomllib

import pytest

import stack_model
from capabilities import COMMANDS_TO, QUEUE
from stack_model import PROD, ROOT, Refused, Stack, load

EVERY = {"STAGE", "LOG_LEVEL", "SERVICE_NAME", "LAMBDA_QUEUE_METRICS_NAMESPACE"}
TIMEOUT = {
    "accept-order": 25,
    "validate-order": 15,
    "process-payment": 15,
    "reserve-stock": 15,
    "ship-order": 15,
    "notify-customer": 10,
    "archive-events": 30,
    "publish-events": 30,
    "recover-orders": 50,
    "reconcile-payments": 900,
    "triage-dead-letters": 10,
    "control-breakers": 58,
}


@pytest.mark.parametrize("function", sorted(TIMEOUT))
def test_each_function_finds_what_it_reads_and_no_more(prod: Stack, function: str) -> None:
    files = sorted((ROOT / "functions" / function / "src").rglob("*.rs"))
    source = "\n".join(path.read_text(encoding="utf-8").split("#[cfg(test)]")[0] for path in files)
    read = set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', re.sub(r"//[^\n]*", "", source))) - EVERY
    assert read, f"functions/{function} reads no setting"
    set_ = prod.functions()[function]["Environment"]["Variables"].keys() - EVERY
    assert read == set_, f"read but not set: {sorted(read - set_)}, set but not read: {sorted(set_ - read)}"


def test_every_function_knows_its_stage_level_and_service(prod: Stack) -> None:
    for name, function in prod.functions().items():
        variables = function["Environment"]["Variables"]
        assert (variables["STAGE"], variables["SERVICE_NAME"]) == ("prod", "orderflow"), name
        assert variables["LOG_LEVEL"] == "info", name
        assert variables["LAMBDA_QUEUE_METRICS_NAMESPACE"] == "Orderflow/shop", name


def test_the_prefix_and_a_queues_short_name_make_its_address(prod: Stack) -> None:
    prefix = prod.functions()["accept-order"]["Environment"]["Variables"]["QUEUE_URL_PREFIX"]
    assert prefix + "payment-bulk" == prod.ref("PaymentBulkQueue")
    assert prefix == prod.outputs["QueueUrlPrefix"]


def test_each_function_names_the_dead_letter_queue_of_its_own_queues(prod: Stack) -> None:
    for mapping in prod.mappings().values():
        queue = prod.queues().get(mapping["EventSourceArn"])
        name = mapping["FunctionName"].removeprefix("shop-")
        if name == "triage-dead-letters":
            assert "DLQ_URL" not in prod.functions()[name]["Environment"]["Variables"], "its letters stay where they are"
        elif queue is not None:
            function = prod.functions()[name]
            dead = queue["RedrivePolicy"]["deadLetterTargetArn"].removeprefix(QUEUE)
            assert function["Environment"]["Variables"]["DLQ_URL"].endswith(f"/shop-{dead}")


def test_each_consumer_knows_when_its_queues_give_a_message_up() -> None:
    stack = Stack(**PROD, MaxReceiveCount="12", ProviderMaxReceiveCount="34")
    told = set()
    for mapping in stack.mappings().values():
        name = mapping["FunctionName"].removeprefix("shop-")
        variables = stack.functions()[name]["Environment"]["Variables"]
        if "MAX_RECEIVE_COUNT" in variables:
            redrive = stack.queues()[mapping["EventSourceArn"]]["RedrivePolicy"]
            assert str(variables["MAX_RECEIVE_COUNT"]) == str(redrive["maxReceiveCount"]), mapping["EventSourceArn"]
            told.add((name, str(variables["MAX_RECEIVE_COUNT"])))
    assert told == {
        ("validate-order", "12"), ("process-payment", "34"), ("reserve-stock", "12"), ("ship-order", "34"),
        ("notify-customer", "34"), ("archive-events", "12"),
    }


def test_each_lanes_deadline_can_be_turned_and_the_tools_see_it() -> None:
    stack = Stack(**PROD, ExpressDeadlineSeconds="30", StandardDeadlineSeconds="0", BulkDeadlineSeconds="7200")
    variables = stack.functions()["accept-order"]["Environment"]["Variables"]
    for lane, seconds in (("Express", "30"), ("Standard", "0"), ("Bulk", "7200")):
        assert str(variables[f"{lane.upper()}_DEADLINE_SECONDS"]) == seconds
        assert str(stack.outputs[f"{lane}DeadlineSeconds"]) == seconds


def test_a_better_lane_has_the_shorter_deadline(prod: Stack) -> None:
    # Or the lower one would always be shed first for its own sake, and the higher one never take it along.
    express, standard, bulk = (int(prod.outputs[f"{lane}DeadlineSeconds"]) for lane in ("Express", "Standard", "Bulk"))
    assert 0 < express < standard < bulk


def newest_command_version() -> int:
    source = (ROOT / "crates/ports/src/version.rs").read_text(encoding="utf-8")
    shipped = r'pub const COMMAND_VERSION: u32 = (?:if cfg!\(feature = "rehearse-next"\) \{ \d+ \} else \{ )?(\d+)'
    return int(re.search(shipped, source).group(1))


def test_only_a_version_of_commands_that_the_program_can_send_is_taken() -> None:
    newest = newest_command_version()
    declared = load()["Parameters"]["CommandVersion"]
    assert declared["AllowedValues"] == list(range(max(newest - 1, 1), newest + 1)), "crates/ports/src/version.rs says which"
    assert declared["Default"] in declared["AllowedValues"]
    for wrong in (newest + 1, newest - 2, 0):
        with pytest.raises(Refused, match="CommandVersion"):
            Stack(**PROD, CommandVersion=str(wrong))


def test_who_sends_commands_is_told_their_version_and_so_are_the_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whatever can be sent today: the question here is where the value goes.
    template = load()
    template["Parameters"]["CommandVersion"]["AllowedValues"] = [1, 2]
    monkeypatch.setattr(stack_model, "load", lambda: template)
    stack = Stack(**PROD, CommandVersion="2")
    told = {
        name: str(function["Environment"]["Variables"]["EMITTED_COMMAND_VERSION"])
        for name, function in stack.functions().items()
        if "EMITTED_COMMAND_VERSION" in function["Environment"]["Variables"]
    }
    assert told == dict.fromkeys(COMMANDS_TO, "2")
    assert str(stack.outputs["CommandVersion"]) == "2"


def test_time_outs_are_those_of_the_design(prod: Stack) -> None:
    assert {name: function["Timeout"] for name, function in prod.functions().items()} == TIMEOUT


def test_a_run_of_a_schedule_ends_before_the_next(prod: Stack) -> None:
    schedules = prod.of_type("AWS::Scheduler::Schedule").values()
    scheduled = {
        schedule["Target"]["Arn"].rsplit(":shop-", 1)[-1]: schedule
        for schedule in schedules
        if schedule["ScheduleExpression"] == "rate(1 minute)"
    }
    assert scheduled.keys() == {"recover-orders", "control-breakers"}
    for name, schedule in scheduled.items():
        assert prod.functions()[name]["Timeout"] < 60
        assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0
    configs = prod.of_type("AWS::Lambda::EventInvokeConfig").values()
    assert {config["FunctionName"]: config["MaximumRetryAttempts"] for config in configs} == {
        "shop-" + name: 0 for name in [*scheduled, "reconcile-payments"]
    }


def test_the_ledger_is_compared_hourly_over_two_days_and_daily_over_sixteen(prod: Stack) -> None:
    schedules = {
        name: schedule
        for name, schedule in prod.of_type("AWS::Scheduler::Schedule").items()
        if schedule["Target"]["Arn"].endswith(":function:shop-reconcile-payments")
    }
    asked = {
        schedule["ScheduleExpression"]: json.loads(schedule["Target"]["Input"]) for schedule in schedules.values()
    }
    assert asked == {"rate(1 hour)": {"window_hours": 48}, "rate(1 day)": {"window_hours": 16 * 24}}
    for name, schedule in schedules.items():
        assert schedule["Target"]["RetryPolicy"]["MaximumRetryAttempts"] == 0, name
    assert prod.of_type("AWS::Lambda::EventInvokeConfig")["ReconcileInvokeConfig"]["MaximumRetryAttempts"] == 0
    assert prod.functions()["reconcile-payments"]["Timeout"] < 3600, "the next run does not meet it"


def test_every_function_is_a_rust_binary_of_its_own_name(prod: Stack) -> None:
    for resource in prod.resources.values():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        short = resource["Properties"]["FunctionName"].removeprefix("shop-")
        assert resource["Metadata"] == {"BuildMethod": "rust-cargolambda", "BuildProperties": {"Binary": short}}
        assert resource["Properties"]["CodeUri"] == ".", "the workspace, so that dependencies are built once"
        package = tomllib.loads((ROOT / "functions" / short / "Cargo.toml").read_text(encoding="utf-8"))
        assert package["package"]["name"] == short
    for name, function in prod.functions().items():
        assert (function["Runtime"], function["Handler"]) == ("provided.al2023", "bootstrap"), name


def test_a_release_unwinds_so_that_a_panic_is_one_records_failure_and_not_the_batchs() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))
    profiles = workspace["profile"]
    assert profiles["release"]["panic"] == "unwind", "said, so that nobody takes it for an oversight"
    assert {name for name, profile in profiles.items() if profile.get("panic", "unwind") != "unwind"} == set()
    # Elsewhere it could be said again: cargo's own settings win over the manifest, and the environment over both.
    configured = [path for path in ROOT.glob(".cargo/config*") if "panic" in path.read_text(encoding="utf-8")]
    builds = [ROOT / name for name in ("Makefile", "samconfig.toml", "template.yaml", ".ci/run")]
    configured += [path for path in builds if "PROFILE_RELEASE_PANIC" in path.read_text(encoding="utf-8")]
    assert configured == []


def test_architecture_and_memory_are_parameters() -> None:
    stack = Stack(**PROD, Architecture="arm64", FunctionMemoryMegabytes="512")
    for name, function in stack.functions().items():
        assert function["Architectures"] == ["arm64"], name
        assert int(function["MemorySize"]) == 512, name


def test_x86_64_is_the_default_architecture(prod: Stack) -> None:
    assert {tuple(function["Architectures"]) for function in prod.functions().values()} == {("x86_64",)}


def test_every_log_group_forgets_after_a_time(prod: Stack) -> None:
    groups = prod.of_type("AWS::Logs::LogGroup")
    assert len(groups) == len(prod.functions()) + 1
    for name, group in groups.items():
        assert int(group["RetentionInDays"]) == 30, name
    for name, function in prod.functions().items():
        assert function["LoggingConfig"]["LogGroup"] == f"/aws/lambda/shop-{name}"


def test_the_keys_address_follows_the_issuer_unless_given() -> None:
    def jwks(**more: str) -> str:
        return Stack(**PROD, **more).functions()["accept-order"]["Environment"]["Variables"]["JWKS_URL"]

    assert jwks() == "https://tokens.example.net/shop/.well-known/jwks.json"
    assert jwks(JwksUrl="https://keys.example.net/all") == "https://keys.example.net/all"


def test_an_issuer_that_ends_in_a_slash_keeps_it_in_its_claims_and_not_in_the_address_of_its_keys() -> None:
    stack = Stack(**{**PROD, "JwtIssuer": "https://shop.eu.auth0.com/"})
    variables = stack.functions()["accept-order"]["Environment"]["Variables"]
    assert variables["JWT_ISSUER"] == "https://shop.eu.auth0.com/"
    assert variables["JWKS_URL"] == "https://shop.eu.auth0.com/.well-known/jwks.json"


def test_who_calls_an_address_that_the_operator_gives_refuses_a_stand_in_outside_local(prod: Stack) -> None:
    # No rule of CloudFormation looks into a text, so the functions have to (crates/platform/src/settings.rs).
    given = {"JWT_ISSUER", "JWKS_URL", "PAYMENT_API_URL", "CARRIER_API_URL"}
    reading = {}
    for name, function in prod.functions().items():
        addresses = given & function["Environment"]["Variables"].keys()
        source = (ROOT / "functions" / name / "src" / "main.rs").read_text(encoding="utf-8")
        for address in addresses:
            assert f'address("{address}")' in source, f"{name} reads {address} without looking at it"
        if addresses:
            reading[name] = addresses
    assert reading == {
        "accept-order": {"JWT_ISSUER", "JWKS_URL"},
        "process-payment": {"PAYMENT_API_URL"},
        "ship-order": {"CARRIER_API_URL"},
        "reconcile-payments": {"PAYMENT_API_URL"},
        "control-breakers": {"PAYMENT_API_URL", "CARRIER_API_URL"},
    }
