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


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_with_what_the_operator_adds_the_environment_deploys(environment: str) -> None:
    stack = Stack(**{**PROD, **overrides(environment)})
    for function, (share, needed) in reserved(stack).items():
        assert share >= needed, f"{function} reserves less than its mappings may use: throttles cost receives"


def test_local_deploys_as_it_is() -> None:
    Stack(**overrides("local"))
