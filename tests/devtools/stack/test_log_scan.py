from pathlib import Path

import pytest

from devtools.stack.log_scan import Scan, basic_auth, scan_logs

_NUMBER = "+15558675309"
_TEXT = "Your parcel, at the door."
_TOKEN = "f00dfeed"


def _scan(log: Path) -> Scan:
    return scan_logs(
        [log], numbers=[_NUMBER], texts=[_TEXT], secrets=[_TOKEN, basic_auth("AC1", _TOKEN)]
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("To=%2B15558675309&Body=x", "a phone number"),
        ("sent to +15558675309", "a phone number"),
        (f"body is {_TEXT!r}", "a message text"),
        ("Body=Your+parcel%2C+at+the+door.&To=x", "a message text"),
        ("?Body=Your%20parcel%2C%20at%20the%20door.", "a message text"),
        ("token f00dfeed", "a secret"),
        ("Authorization: Basic QUMxOmYwMGRmZWVk", "a secret"),
    ],
)
def test_a_value_is_found_and_not_repeated(line: str, kind: str, tmp_path: Path) -> None:
    """Each form of a number, text or token is found and reported by its place only."""
    log = tmp_path / "worker.log"
    log.write_text(f"harmless\n{line}\n")

    assert Scan(lines=2, found=(f"{kind} in worker.log, line 2",)) == _scan(log)


def test_a_clean_log_is_counted(tmp_path: Path) -> None:
    """Lines without findings are counted, even if they are not UTF-8."""
    log = tmp_path / "worker.log"
    log.write_bytes(b"one\n\xff two +1500***0006\nthree\n")

    assert Scan(lines=3, found=()) == _scan(log)
