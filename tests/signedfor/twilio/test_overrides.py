import pytest

from devtools.sandbox.webhooks import ConnectionOverrides
from signedfor.twilio.overrides import OVERRIDES, repeats_failures


@pytest.mark.parametrize(
    ("fragment", "expected"),
    [
        (OVERRIDES, True),
        ("rc=1&rp=all", True),
        ("rp=all", True),  # once, by default
        ("rc=3&rp=5xx,ct,rt", True),
        ("", False),
        ("rc=5", False),
        ("rc=5&rp=ct", False),
        ("rc=5&rp=4xx,5xx", False),
        ("rc=0&rp=all", False),
        ("rc=6&rp=all", False),  # out of range
        ("section", False),
    ],
)
def test_which_overrides_repeat_a_webhook_after_every_failure(
    fragment: str, expected: bool
) -> None:
    """After a 503, without an answer and without a connection."""
    assert expected is repeats_failures(fragment)


def test_ours_are_in_twilios_ranges_and_leave_time_for_a_second_attempt() -> None:
    """Twilio ignores what is out of range; an attempt that hangs must not take the whole time."""
    ours = ConnectionOverrides.parse(OVERRIDES)

    assert (5, 5000) == (ours.rc, ours.rt)
    assert {"5xx", "ct", "rt"} < ours.rp
    assert 2 * ours.rt < ours.tt
