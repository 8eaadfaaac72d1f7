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
