import math

import pytest

from devtools.bench.figures import Bound, Rounds
from devtools.bench.pacing_fixture import Posted, pace_bounds, text
from devtools.bench.report import Report
from devtools.sandbox.client import AcceptedRow
from signedfor.twilio.segments import count_segments


@pytest.mark.parametrize("segments", [1, 2, 4, 10])
def test_a_text_has_the_requested_segments(segments: int) -> None:
    """The figures count on it."""
    assert segments == count_segments(text(segments)).count


def test_a_message_posted_twice_is_counted() -> None:
    """For its own sender, and only the POSTs after the first."""
    posted = Posted([_row("a"), _row("b"), _row("a"), _row("a"), _row("c", sender="+2")], [])

    assert 2 == posted.twice("+1")
    assert 2 == posted.twice("+1", "+2")
    assert 0 == posted.twice("+2")


def test_a_later_second_has_a_lower_bound() -> None:
    """The rate limiter's allowance and the length of the last message, the larger of both kinds."""
    first, later = pace_bounds("x", rate=50, segments=10, urgent_segments=1)
    long = pace_bounds("x", rate=50, segments=25, urgent_segments=1)[1]

    assert 2 == first.at_most
    assert (1.92, 2.1) == pytest.approx((later.at_most, long.at_most))


def test_a_bound_without_its_figure_is_missed() -> None:
    """A backlog of which nothing was posted has not kept its rate."""
    bound = Bound(side="x", figure="worst second (x rate)", at_most=2)
    report = Report(benchmark="p", question="?", rounds=Rounds({"x": [{}]}), bounds=[bound])

    (bound_result,) = report.document()["bounds"]

    assert bound_result["value"] is None
    assert not bound_result["holds"]
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
        "arrived": 0.0,
        "created": 0.0,
        "sent": None,
        "finished": True,
    }
