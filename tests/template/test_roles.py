"""Every function's role names exactly what its ports call: nothing more, nothing less."""

import re

import pytest

from capabilities import CAPABILITIES, COMMANDS_TO, FED_BY, FED_BY_STREAM, expected
from stack_model import ROOT, Stack, as_list

FUNCTIONS = sorted(path.parent.name for path in (ROOT / "functions").glob("*/Cargo.toml"))


def ports_of(function: str) -> set[str]:
    """The bounds of `pub trait Ports` in the function's lib.rs, by name, and those of the bundles beside it.

    A bundle is a public trait without a body of its own (`pub trait Provider: Payments {}`).
    """
    source = (ROOT / "functions" / function / "src" / "lib.rs").read_text(encoding="utf-8")
    source = re.sub(r"//[^\n]*", "", source)
    bundles = dict(re.findall(r"\bpub\s+trait\s+(\w+)\s*:\s*([^{;]+?)\s*\{\s*\}", source))
    assert "Ports" in bundles, (
        f"functions/{function}/src/lib.rs declares no `pub trait Ports: LoadOrder + ... {{}}`: "
        "a function's bounds are its IAM policy, so it has to name them"
    )
    bounds = {
        re.sub(r"<.*", "", bound).split("::")[-1].strip() for named in bundles.values() for bound in named.split("+")
    }
    return bounds - bundles.keys() - {""}


def role_of(stack: Stack, function: str) -> str:
    arn = stack.functions()[function]["Role"]
    return arn.rsplit("/", 1)[-1]


def allowed_to(stack: Stack, function: str) -> set[tuple[str, str]]:
    return {
        (action, resource)
        for statement in stack.statements(role_of(stack, function))
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def test_every_function_of_the_workspace_is_deployed(prod: Stack) -> None:
    assert sorted(prod.functions()) == FUNCTIONS


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_names_exactly_what_the_functions_ports_call(prod: Stack, function: str) -> None:
    ports = ports_of(function)
    unknown = ports - CAPABILITIES.keys()
    assert not unknown, f"{function} has ports that capabilities.py does not know: {sorted(unknown)}"
    wanted, has = expected(function, ports), allowed_to(prod, function)
    assert not has - wanted, f"{function}'s role allows what no port of it calls: {sorted(has - wanted)}"
    assert not wanted - has, f"{function}'s role lacks what its ports call: {sorted(wanted - has)}"


def test_the_table_of_capabilities_names_no_function_that_is_not_there() -> None:
    named = COMMANDS_TO.keys() | FED_BY.keys() | FED_BY_STREAM.keys()
    assert named <= set(FUNCTIONS)


@pytest.mark.parametrize("function", sorted(COMMANDS_TO))
def test_a_function_with_a_list_of_command_queues_sends_commands(function: str) -> None:
    assert "SendCommands" in ports_of(function)


def test_no_two_functions_share_a_role(prod: Stack) -> None:
    roles = [role_of(prod, function) for function in FUNCTIONS]
    assert len(set(roles)) == len(roles)


def test_no_role_allows_with_a_wildcard_action_or_resource(prod: Stack) -> None:
    # Log streams and object keys cannot be named before they exist; their group and prefix are.
    open_ended = re.compile(
        r"arn:aws:logs:[^*]+:log-group:/aws/lambda/shop-[a-z-]+:\*|arn:aws:s3:::ArchiveBucket/(events|dead-letters|aws/lambda)/\*"
    )
    for role in prod.of_type("AWS::IAM::Role"):
        for statement in prod.statements(role):
            assert statement["Effect"] == "Allow"
            assert not {"NotAction", "NotResource"} & statement.keys()
            for action in statement["Action"]:
                assert re.fullmatch(r"[a-z0-9]+:[A-Za-z]+", action), f"{role}: {action}"
            for resource in statement["Resource"]:
                assert "*" not in resource or open_ended.fullmatch(resource), f"{role}: {resource}"


def test_who_has_no_breaker_writes_only_rows_of_lanes(prod: Stack) -> None:
    table = prod.attribute("BreakersTable", "Arn")
    of_lanes = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["lane#*"]}}
    telling = [function for function in FUNCTIONS if "TellLanes" in ports_of(function)]
    assert len(telling) == 4
    for function in telling:
        writes = [
            statement
            for statement in prod.statements(role_of(prod, function))
            if table in statement["Resource"] and "dynamodb:UpdateItem" in statement["Action"]
        ]
        assert writes, function
        wanted = None if "Gate" in ports_of(function) else of_lanes
        assert all(statement.get("Condition") == wanted for statement in writes), function


def test_the_api_writes_only_rows_of_tenants_beside_the_breakers(prod: Stack) -> None:
    table = prod.attribute("BreakersTable", "Arn")
    writes = [
        statement
        for statement in prod.statements(role_of(prod, "accept-order"))
        if table in statement["Resource"] and "dynamodb:UpdateItem" in statement["Action"]
    ]
    of_tenants = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["tenant#*"]}}
    assert [statement.get("Condition") for statement in writes] == [of_tenants]


def test_no_role_takes_a_managed_policy_or_a_policy_written_elsewhere(prod: Stack) -> None:
    for role, properties in prod.of_type("AWS::IAM::Role").items():
        assert "ManagedPolicyArns" not in properties, role
    assert not prod.of_type("AWS::IAM::Policy") and not prod.of_type("AWS::IAM::ManagedPolicy")
    for logical_id, properties in prod.of_type("AWS::Serverless::Function").items():
        assert "Policies" not in properties, f"{logical_id}: SAM ignores Policies beside Role"


def test_only_the_service_that_needs_a_role_may_take_it(prod: Stack) -> None:
    for role, properties in prod.of_type("AWS::IAM::Role").items():
        statement, = properties["AssumeRolePolicyDocument"]["Statement"]
        service = "scheduler.amazonaws.com" if role.endswith("ScheduleRole") else "lambda.amazonaws.com"
        assert statement["Principal"] == {"Service": service}, role


@pytest.mark.parametrize(
    ("role", "function"),
    [
        ("RecoverScheduleRole", "recover-orders"),
        ("ControlScheduleRole", "control-breakers"),
        ("ReconcileScheduleRole", "reconcile-payments"),
    ],
)
def test_a_schedule_may_invoke_its_function_and_nothing_else(prod: Stack, role: str, function: str) -> None:
    statement, = prod.statements(role)
    assert statement["Action"] == ["lambda:InvokeFunction"]
    assert statement["Resource"] == [f"arn:aws:lambda:eu-west-1:123456789012:function:shop-{function}"]
    schedules = prod.of_type("AWS::Scheduler::Schedule").values()
    own = {s["Target"]["Arn"] for s in schedules if s["Target"]["RoleArn"] == prod.attribute(role, "Arn")}
    assert own == set(statement["Resource"])


def test_mail_goes_out_under_the_one_sender_only(prod: Stack) -> None:
    statement, = (s for s in prod.statements("NotifyCustomerRole") if s["Action"] == ["ses:SendEmail"])
    assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": "orders@shop.example.net"}}


def test_a_domain_that_is_the_verified_identity_is_what_the_role_names() -> None:
    from stack_model import PROD

    stack = Stack(**PROD, MailIdentity="shop.example.net")
    statement, = (s for s in stack.statements("NotifyCustomerRole") if s["Action"] == ["ses:SendEmail"])
    assert as_list(statement["Resource"]) == ["arn:aws:ses:eu-west-1:123456789012:identity/shop.example.net"]
