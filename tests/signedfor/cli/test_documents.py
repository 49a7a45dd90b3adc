"""The documents that commands print with `--json` have the fields that the reference names."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devtools.reference_pages import COMMAND_TREE
from tests.signedfor.cli.support import CommandLine, LiveSystem, new_id, until
from tests.workflows.fakes import RECIPIENT, SENDER

PAGE = (Path(__file__).parents[3] / "docs/reference/command-line.md").read_text()
ENTRIES = dict(re.findall(r"^`(signedfor [a-z -]+)`\n: (.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL))
"""What the reference says of each command."""
ALIKE = {
    command: ENTRIES[name]
    for name, text in list(ENTRIES.items())
    for command in re.findall(r"The same with `(signedfor [a-z -]+)`", text)
    + re.findall(r"The same with `signedfor [a-z -]+` and\s+`(signedfor [a-z -]+)`", text)
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def fields(document: Any) -> set[str]:
    """The names of the fields, without those below fields that are models of the contract."""
    if isinstance(document, list):
        return set().union(*(fields(each) for each in document))
    if not isinstance(document, dict):
        return set()
    named: set[str] = set()
    for name, value in document.items():
        below = isinstance(value, list) and any(isinstance(each, dict) for each in value)
        named.add(f"{name}[]" if below else name)
        if below:
            named |= fields(value)
    return named


def times(document: Any) -> Iterator[str]:
    """The values of fields that are times."""
    if isinstance(document, list):
        for each in document:
            yield from times(each)
    elif isinstance(document, dict):
        for name, value in document.items():
            if isinstance(value, str) and re.search(r"(^at|_at|^since|^until|_until)$", name):
                yield value
            yield from times(value)


def undocumented(command: str, document: Any) -> set[str]:
    """The fields that the reference does not name for the command."""
    text = (ENTRIES | ALIKE)[command]
    if "as in `signedfor show`" in text or "fields\n  of `signedfor show`" in text:
        text += ENTRIES["signedfor show"]
    if text.startswith("The same."):
        text += ENTRIES["signedfor campaign status"]
    if "(as `suppressions[]`)" in text:
        text += ENTRIES["signedfor opt-outs list"]
    known = set(re.findall(r"`([a-z_]+(?:\[\])?)`", text))
    known |= {name.removesuffix("[]") for name in known}  # a list that is empty
    return fields(document) - known


def test_every_command_that_prints_results_is_documented() -> None:
    """Each command has `--json` and an entry."""
    commands = {
        path
        for path, command in COMMAND_TREE.items()
        if not any(each.startswith(f"{path} ") for each in COMMAND_TREE)
    }

    assert set() == {
        path
        for path in commands
        if not any("--json" in each.opts for each in COMMAND_TREE[path].params)
    }
    assert commands == (ENTRIES | ALIKE).keys()


@pytest.fixture
def database(cli: CommandLine, tmp_path: Path) -> CommandLine:
    """The command line with a migrated database."""
    url = f"sqlite:///{tmp_path}/signedfor.db"
    assert 0 == cli("migrate", DATABASE_URL=url).exit_code
    return CommandLine(env={**cli.env, "DATABASE_URL": url})


def test_documents_of_commands_that_need_only_the_database(
    database: CommandLine, tmp_path: Path
) -> None:
    """Each field is documented, and each time is ISO 8601 with a Z."""
    file = tmp_path / "opt-outs.csv"
    opt_ins = tmp_path / "opt-ins.csv"
    opt_ins.write_text(
        "recipient,category,source,opted_in_at\n+15558675310,news,web,2026-11-21T20:15:00Z\n"
    )
    seen = []
    for group, *arguments in (
        ("migrate",),
        ("migrate", "--check"),
        ("opt-outs add", RECIPIENT),
        ("opt-outs list",),
        ("opt-ins add", RECIPIENT, "--category", "news", "--source", "web"),
        ("opt-ins list",),
        ("opt-ins remove", RECIPIENT, "--category", "news"),
        ("opt-ins import", str(opt_ins)),
        ("opt-outs history", RECIPIENT),
        ("opt-outs export", str(file)),
        ("opt-outs import", str(file)),
        ("opt-outs remove", RECIPIENT, "--reason", "opted_out", "--yes"),
        ("opt-outs review",),
        ("inbound list", "--reveal"),
        ("senders rate", SENDER, "2"),
        ("senders list",),
        ("senders pause", SENDER),
        ("senders resume", SENDER),
        ("campaign list",),
    ):
        result = database(*group.split(), *arguments, "--json")
        assert 0 == result.exit_code, result.output
        document = json.loads(result.stdout)
        seen += list(times(document))
        assert set() == undocumented(f"signedfor {group}", document)
        assert document

    assert len(seen) > 5
    assert [] == [each for each in seen if not _TIME.fullmatch(each)]


def test_an_undocumented_field_is_found() -> None:
    """So is a list that is documented as one value."""
    assert {"color"} == undocumented("signedfor senders rate", {"rate": 1, "color": "red"})
    assert {"checks[]", "rate"} - undocumented("signedfor doctor", {"checks": [{"rate": 1}]}) == {
        "checks[]"
    }


@pytest.mark.integration
async def test_documents_of_commands_that_need_temporal(system: LiveSystem) -> None:
    """Each field is documented, and each time is ISO 8601 with a Z."""
    tenant = new_id()
    message_id = await system.dead_letter("--tenant", tenant)
    query = ("--query", f"Tenant = '{tenant}'")
    await until(
        lambda: system.cli.document("dead-letters", "list", *query), lambda it: it["dead_letters"]
    )
    seen = []
    for group, *arguments in (
        ("send", RECIPIENT, "--from", SENDER, "--body", "x", "--send-at", "2030-01-31T09:00:00Z"),
        ("show", message_id, "--reveal"),
        ("dead-letters list", *query),
        ("dead-letters show", message_id, "--reveal"),
        ("dead-letters discard", *query, "--yes"),
        ("doctor",),
    ):
        result = await system.cli.later(*group.split(), *arguments, "--json")
        document = json.loads(result.stdout)
        seen += list(times(document))
        assert set() == undocumented(f"signedfor {group}", document)

    assert len(seen) > 3
    assert [] == [each for each in seen if not _TIME.fullmatch(each)]
