"""Documents that name tests name tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def sources():
    for folder in ("crates", "functions", "tests"):
        for path in (ROOT / folder).rglob("*.rs"):
            if "target" not in path.parts:
                yield path.read_text()


def test_every_test_that_the_guarantees_rest_on_is_there():
    named = set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", (ROOT / "docs/GUARANTEES.md").read_text()))
    assert len(named) > 20
    text = "\n".join(sources())
    missing = {name for name in named if f"fn {name}(" not in text}
    assert not missing, f"no such test: {sorted(missing)}"


def test_every_invariant_that_a_run_checks_has_its_promise():
    checked = set(re.findall(r'"(I\d+)"', "\n".join(path.read_text() for path in (ROOT / "tests/src/check").glob("*.rs"))))
    promised = set(re.findall(r"^\| (I\d+) \|", (ROOT / "docs/GUARANTEES.md").read_text(), re.MULTILINE))
    assert checked - promised == set(), "checked, and not promised"


def test_every_code_has_its_line_in_the_runbook():
    runbook = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/runbooks/codes.md").read_text()))
    problems = re.findall(r'^    \w+ = "([a-z_]+)", [A-Z_]+, "', (ROOT / "functions/accept-order/src/problem.rs").read_text(), re.M)
    reasons = re.search(r"pub enum ReasonCode \{(.*?)\n\}", (ROOT / "crates/order/src/row.rs").read_text(), re.S).group(1)
    reasons = [re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() for name in re.findall(r"^    ([A-Z]\w+),", reasons, re.M)]
    failure = (ROOT / "crates/lambda-queue/src/failure.rs").read_text()
    verdicts = re.findall(r'Self::\w+(?: \{ \.\. \})? => "([a-z_]+)"', failure)
    envelope = "\n".join(path.read_text() for path in (ROOT / "crates/lambda-queue/src/envelope").glob("*.rs"))
    words = re.findall(r'#\[error\("((?:version|type|claim)_[a-z]+):', envelope)
    assert len(problems) > 35 and len(reasons) > 10 and len(verdicts) > 9 and len(words) > 10
    missing = {*problems, *reasons, *verdicts, *words} - runbook
    assert not missing, f"codes without a line: {sorted(missing)}"
