"""Every alarm says where its runbook is, and the runbook is there."""

import re

from stack_model import ROOT, Stack

NAMED = re.compile(r"(docs/[a-z/-]+\.md)#([a-z0-9-]+)$")
#: Families of alarms whose page is one of alarms.md's own sections.
OWN = "docs/runbooks/alarms.md"


def anchors(path: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^    .*$", "", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def descriptions(stack: Stack) -> dict[str, str]:
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    return {
        alarm["AlarmName"].removeprefix("shop-"): alarm["AlarmDescription"]
        for kind in kinds
        for alarm in stack.of_type(kind).values()
    }


def test_every_alarm_names_a_section_of_a_runbook_that_there_is(prod: Stack) -> None:
    described = descriptions(prod)
    assert len(described) > 80
    for name, text in described.items():
        named = NAMED.search(text)
        assert named, f"{name} does not end in a runbook's section: {text}"
        path, anchor = named.groups()
        assert (ROOT / path).is_file(), f"{name}: no {path}"
        assert anchor in anchors(path), f"{name}: {path} has no #{anchor}"


def test_every_alarm_says_more_than_where_its_runbook_is_and_fits_cloudwatch(prod: Stack) -> None:
    for name, text in descriptions(prod).items():
        assert len(NAMED.sub("", text).strip()) > 15, name
        assert len(text) <= 1024, name


def test_every_section_about_alarms_is_of_some_alarm(prod: Stack) -> None:
    named = {anchor for path, anchor in (NAMED.search(text).groups() for text in descriptions(prod).values()) if path == OWN}
    sections = re.findall(r"^## (.+)$", (ROOT / OWN).read_text(encoding="utf-8"), re.MULTILINE)
    assert {re.sub(r"[^a-z0-9 _-]", "", section.lower()).replace(" ", "-") for section in sections} == named


def test_every_alarm_that_a_runbook_names_in_full_is_there(prod: Stack) -> None:
    alarms = descriptions(prod).keys()
    named = [
        (page.name, name)
        for page in [*(ROOT / "docs" / "runbooks").glob("*.md"), ROOT / "docs" / "overload.md"]
        for name in re.findall(r"`<stack>-([a-z0-9-]+)`", page.read_text(encoding="utf-8"))
    ]
    assert len(named) > 4
    assert not [(page, name) for page, name in named if name not in alarms]


def test_every_family_of_alarms_stands_in_the_table(prod: Stack) -> None:
    table = [line for line in (ROOT / OWN).read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    names = [name for line in table for name in re.findall(r"`([a-z0-9<>-]+)`", line.split("|")[1])]
    patterns = [re.compile(re.sub(r"<[a-z]+>", "[a-z-]+", name) + "$") for name in names if not name.startswith("-")]
    patterns += [re.compile("reconcile-payments" + name + "$") for name in names if name.startswith("-")]
    unlisted = [alarm for alarm in descriptions(prod) if not any(pattern.match(alarm) for pattern in patterns)]
    assert not unlisted
    for pattern in patterns:
        assert any(pattern.match(alarm) for alarm in descriptions(prod)), f"the table tells of {pattern.pattern}"


def test_a_throttle_costs_a_receive_only_where_a_queue_feeds_the_function(prod: Stack) -> None:
    fed = {
        mapping["FunctionName"].removeprefix("shop-")
        for mapping in prod.mappings().values()
        if ":sqs:" in mapping["EventSourceArn"]
    }
    costly = {
        name.removesuffix("-throttles")
        for name, text in descriptions(prod).items()
        if name.endswith("-throttles") and "costs a message a receive" in text
    }
    # A throttle of triage costs one too, but its queues have no receive to count.
    assert costly == fed - {"triage-dead-letters"}
