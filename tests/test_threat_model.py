"""SECURITY.md: each line of the threat model names tests that exist."""

import re

import pytest

from tests.worker_process import ROOT

_TEXT = (ROOT / "SECURITY.md").read_text()
_ROWS = [
    line
    for section in _TEXT.split("\n### ")[2:]  # the first is about what is trusted
    for line in section.splitlines()
    if line.startswith("| ") and not line.endswith("| Test |")
]


@pytest.mark.parametrize("row", _ROWS)
def test_each_line_has_a_test(row: str) -> None:
    """Each is a function of a file; with `*`, any in the file."""
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+|\*)`", row)

    assert tests, "it names no test"
    for path, name in tests:
        text = (ROOT / path).read_text()
        wanted = r"\w+" if name == "*" else name
        assert re.search(rf"^(async )?def {wanted}\(", text, re.MULTILINE), (path, name)


def test_every_section_is_read() -> None:
    """None is skipped because of its form."""
    assert len(_ROWS) > 20
    assert len(re.findall(r"`tests/[^`]+::", _TEXT)) == sum(row.count("`tests/") for row in _ROWS)
