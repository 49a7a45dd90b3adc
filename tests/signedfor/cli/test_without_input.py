"""A process that was started without standard input (`<&-`)."""

import pytest

from signedfor.cli.options import text_or_standard_input
from signedfor.cli.output import BadInput, Output


@pytest.fixture(autouse=True)
def without_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python starts then."""
    monkeypatch.setattr("sys.stdin", None)


def test_confirmation_is_impossible() -> None:
    """As without a terminal."""
    with pytest.raises(BadInput, match="--yes: is needed to send to 101 without a terminal"):
        Output(as_json=False).confirm("This will send.", what="send to 101")


def test_no_text_can_be_read() -> None:
    """It is said of the option that asked for it."""
    with pytest.raises(BadInput, match="--body: standard input is closed"):
        text_or_standard_input(Output(as_json=False), "-")
