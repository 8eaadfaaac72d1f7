"""One build of each dependency serves programs and tests (docs/adr/0008-one-build.md).

cargo compiles a dependency anew for every set of features. `make run` and `make up` name LOCAL_PACKAGES, `make test` the
whole workspace with its development dependencies: every dependency has to get the same features from both.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
ARTIFACTS = (ROOT / "crates/orderflow/src/stack/artifacts.rs").read_text()

#: (name, version) -> the sets of features it is compiled with: one, or one for build scripts and one for programs.
Features = dict[tuple[str, str], set[frozenset[str]]]


def words(name: str) -> list[str]:
    """A list in the Makefile, its continuation lines and the lists that it names included."""
    match = re.search(rf"^{name} := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    assert match, f"the Makefile defines no {name}"
    found: list[str] = []
    for word in match[1].replace("\\\n", " ").split():
        other = re.fullmatch(r"\$\((\w+)\)", word)
        found += words(other[1]) if other else [word]
    return found


def parse(tree: str) -> Features:
    """Reads `cargo tree --prefix none --format "{p}|{f}"`; packages of the workspace, which have a path, are left out."""
    found: Features = defaultdict(set)
    # An empty line parts the trees of several packages.
    for line in filter(None, tree.splitlines()):
        package, _, features = line.removesuffix(" (*)").partition("|")
        name, version, *where = package.split()
        if not any(word.startswith("(/") for word in where):
            found[name, version].add(frozenset(filter(None, features.split(","))))
    return found


def resolved(*arguments: str) -> Features:
    command = ["cargo", "tree", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}|{f}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def differences(programs: Features, everything: Features) -> list[str]:
    """What to do, a line a dependency; empty where every set that programs are compiled with is one of the tests', too."""
    lines = []
    for (name, version), sets in sorted(programs.items()):
        for features in sorted(sets - everything.get((name, version), set()), key=sorted):
            wanted = frozenset().union(*everything.get((name, version), set()))
            lines.append(
                f"{name} {version} is compiled twice: make run has the features {sorted(features)}, the tests have "
                f"{sorted(wanted)}. Add `{name}` with features = {sorted(wanted - features)} to [workspace.dependencies] "
                f"of Cargo.toml, and `{name}.workspace = true` to the list at the end of tests/Cargo.toml"
            )
    return lines


def test_programs_and_tests_resolve_the_same_features() -> None:
    packages = [argument for package in words("LOCAL_PACKAGES") for argument in ("-p", package)]
    programs = resolved(*packages, "--edges", "normal,build")
    everything = resolved("--workspace", "--edges", "normal,build,dev")
    assert len(programs) > 100, "cargo tree told next to nothing"
    found = differences(programs, everything)
    assert not found, "\n".join(found)


def test_the_tool_compiles_what_the_makefile_does() -> None:
    lists = re.findall(r"const (?:FUNCTIONS|BESIDE): \[&str; \d+\] = \[(.*?)\];", ARTIFACTS, re.DOTALL)
    assert len(lists) == 2
    assert [name for text in lists for name in re.findall(r'"([^"]+)"', text)] == words("LOCAL_PACKAGES")


def test_a_feature_that_only_tests_turn_on_is_named() -> None:
    programs = parse("a v1.0.0|std\nb v2.0.0|\nours v0.1.0 (/here)|x\n")
    everything = parse("a v1.0.0|std,extra\na v1.0.0|std (*)\nb v2.0.0|default\nours v0.1.0 (/here)|x,y\n")
    (line,) = differences(programs, everything)
    assert line.startswith("b v2.0.0 is compiled twice") and "features = ['default']" in line
