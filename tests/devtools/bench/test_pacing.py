import math

import pytest

from devtools.bench.figures import Bound, Rounds
from devtools.bench.pacing_fixture import Posted, pace_bounds, text
from devtools.bench.report import Report
from devtools.sandbox.client import AcceptedRow
from signedfor.twilio.segments import count_segments


@pytest.mark.parametrize("segments", [1, 2, 4, 10])
def test_a_text_of_so_many_segments(segments: int) -> None:
    """What the reckoning counts on is what is sent."""
    assert segments == count_segments(text(segments)).count


def test_a_message_that_was_posted_twice_shows() -> None:
    """It counts for its own sender, and only what is too much."""
    posted = Posted([_row("a"), _row("b"), _row("a"), _row("a"), _row("c", sender="+2")], [])

    assert 2 == posted.twice("+1")
    assert 2 == posted.twice("+1", "+2")
    assert 0 == posted.twice("+2")


def test_a_second_after_the_first_is_held_to_less() -> None:
    """The gate's head start and the length of the last message, whichever kind allows more."""
    first, later = pace_bounds("x", rate=50, segments=10, urgent_segments=1)
    long = pace_bounds("x", rate=50, segments=25, urgent_segments=1)[1]

    assert 2 == first.at_most
    assert (1.92, 2.1) == pytest.approx((later.at_most, long.at_most))


def test_a_bound_without_its_figure_is_missed() -> None:
    """A line that nothing was posted in has not kept its pace."""
    bound = Bound(side="x", figure="worst second (x rate)", at_most=2)
    report = Report(benchmark="p", question="?", rounds=Rounds({"x": [{}]}), bounds=[bound])

    (decision,) = report.document()["bounds"]

    assert decision["value"] is None
    assert not decision["holds"]
    assert not bound.holds_for(math.nan)


def _row(message_id: str, *, sender: str = "+1") -> AcceptedRow:
    return {
        "n": 1,
        "sid": "SM1",
        "to": "+15550100001",
        "from": sender,
        "messaging_service_sid": None,
        "body": "",
        "body_sha256": "",
        "segments": 1,
        "status": "delivered",
        "error_code": None,
        "status_callback": f"http://localhost/webhook/status?message_id={message_id}",
        "created": 0.0,
        "sent": None,
        "finished": True,
    }
