"""samconfig.toml: three environments, each deployable with what it says and what it leaves to the operator."""

import tomllib

import pytest

from stack_model import PROD, ROOT, Stack
from test_mappings import reserved

CONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
ENVIRONMENTS = ("local", "dev", "prod")
#: Never written down: who may call, whom we call, and the keys.
THE_OPERATORS = {key for key in PROD if key != "Stage"}


def overrides(environment: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in CONFIG[environment]["deploy"]["parameters"]["parameter_overrides"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_environment_deploys_its_own_stage_as_its_own_stack(environment: str) -> None:
    deploy = CONFIG[environment]["deploy"]["parameters"]
    assert overrides(environment)["Stage"] == environment
    assert deploy["stack_name"] == f"orderflow-{environment}"
    assert deploy["resolve_s3"] is True
    assert deploy["capabilities"] == "CAPABILITY_IAM", "no role has a name of its own choosing"


def test_local_asks_nothing_and_the_others_ask_before_they_change() -> None:
    assert {name: CONFIG[name]["deploy"]["parameters"]["confirm_changeset"] for name in ENVIRONMENTS} == {
        "local": False, "dev": True, "prod": True,
    }
    assert not any(CONFIG[name]["deploy"]["parameters"]["fail_on_empty_changeset"] for name in ENVIRONMENTS)


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_no_issuer_provider_or_key_is_given_by_default(environment: str) -> None:
    assert not THE_OPERATORS & overrides(environment).keys()


def too_small(stack: Stack) -> dict[str, tuple[int, int]]:
    """Function -> (reserved, needed), of those that reserve less than their mappings may use: throttles cost receives."""
    return {function: (share, needed) for function, (share, needed) in reserved(stack).items() if share < needed}


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_with_what_the_operator_adds_the_environment_deploys(environment: str) -> None:
    assert too_small(Stack(**{**PROD, **overrides(environment)})) == {}


def test_a_section_that_reserved_too_little_would_be_found() -> None:
    # dev: 4 + 2 + 2 of each step. Neither section reserves today, so the rule itself is tried here.
    enough = {**PROD, **overrides("dev"), "StepReservedConcurrency": "8", "NotifyReservedConcurrency": "2"}
    assert too_small(Stack(**enough)) == {} and len(reserved(Stack(**enough))) == 5
    steps = ("validate-order", "process-payment", "reserve-stock", "ship-order")
    assert too_small(Stack(**{**enough, "StepReservedConcurrency": "7"})) == dict.fromkeys(steps, (7, 8))
    assert too_small(Stack(**{**enough, "NotifyReservedConcurrency": "1"})) == {"notify-customer": (1, 2)}


def test_local_deploys_as_it_is() -> None:
    Stack(**overrides("local"))
