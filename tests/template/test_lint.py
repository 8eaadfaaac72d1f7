"""The linters: on the template as written, and on what SAM makes of it. Offline."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from samtranslator.translator.transform import transform

from stack_model import PROD, ROOT, TEMPLATE, load

BIN = Path(sys.executable).parent
OFFLINE = {
    **os.environ,
    "SAM_CLI_TELEMETRY": "0",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ACCESS_KEY_ID": "000000000000",
    "AWS_SECRET_ACCESS_KEY": "none",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=OFFLINE, capture_output=True, text=True, check=False)


class NoManagedPolicies:
    """Stands in for the loader that would ask IAM; no function of ours takes a policy by name."""

    def load(self) -> dict[str, str]:
        return {}


@pytest.fixture(scope="module")
def translated() -> dict:
    template = load()
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return transform(template, dict(PROD), NoManagedPolicies())


def test_sam_validates_the_template_with_lint() -> None:
    done = run(BIN / "sam", "validate", "--lint", "--template-file", TEMPLATE, "--region", "us-east-1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_cfn_lint_finds_nothing_in_what_sam_makes_of_it(translated: dict, tmp_path: Path) -> None:
    written = tmp_path / "translated.json"
    written.write_text(json.dumps(translated, indent=1), encoding="utf-8")
    done = run(BIN / "cfn-lint", "--regions", "us-east-1", "--template", written)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sam_adds_nothing_that_the_template_does_not_show(translated: dict) -> None:
    # Roles, permissions and mappings are written out; a function becomes one function and nothing beside it.
    assert translated["Resources"].keys() == load()["Resources"].keys()


def test_the_template_fits_cloudformation(translated: dict) -> None:
    assert len(translated["Resources"]) <= 500
    assert len(translated["Parameters"]) <= 200
    assert len(translated["Outputs"]) <= 200
    assert len(json.dumps(translated)) <= 1_000_000
