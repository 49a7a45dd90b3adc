"""A whole file is checked: all of it, quickly, and without keeping it in memory."""

import io
import time
import tracemalloc
from collections.abc import Collection, Iterator

import pytest

from signedfor.cli.campaigns.check import BadRows, check_file
from signedfor.cli.campaigns.kept import KeptRows
from signedfor.cli.campaigns.preview import Tally
from signedfor.cli.campaigns.recipients import RecipientsFile
from signedfor.contract import CampaignMessage
from signedfor.twilio.segments import Encoding
from tests.signedfor.cli.campaigns.support import good_rows, message, number


class OptedOut:
    """Knows who opted out, and how many it was asked about at a time."""

    def __init__(self, *recipients: str) -> None:
        self._recipients = frozenset(recipients)
        self.asked: list[int] = []

    def among(
        self, recipients: Collection[str], *, sender: str | None, category: str | None
    ) -> frozenset[str]:
        """See base class."""
        assert sender is not None
        assert category == "news"
        self.asked.append(len(recipients))
        return self._recipients.intersection(recipients)


@pytest.fixture
def kept() -> Iterator[KeptRows]:
    """Nothing kept yet."""
    with KeptRows() as rows:
        yield rows


def _check(
    lines: Collection[str],
    kept: KeptRows,
    *,
    opted_out: OptedOut | None = None,
    text: CampaignMessage | None = None,
) -> Tally:
    raw = "".join(f"{line}\n" for line in lines).encode()
    return check_file(
        RecipientsFile(io.BytesIO(raw), size=len(raw)),
        text or message(category="news"),
        to_column="to",
        suppressed=opted_out or OptedOut(),
        kept=kept,
    )


def test_rows_are_counted_and_kept(kept: KeptRows) -> None:
    """The tally of the whole file, opted-out recipients in it, and every row put aside."""
    opted_out = OptedOut(number(3), number(2100), number(9999))
    lines = [*good_rows(2101), f"{number(5000)},Zoë…,{'x' * 70}"]

    tally = _check(lines, kept, opted_out=opted_out)

    assert (2102, 2103, 2) == (tally.rows, tally.segments, tally.suppressed)
    assert 2101 == tally.segments_to_send
    assert {Encoding.GSM7: 2101, Encoding.UCS2: 1} == tally.encodings
    assert [1000, 1000, 102] == opted_out.asked
    rows = [row for batch in kept.batches() for row in batch]
    assert list(range(1, 2103)) == [row.number for row in rows]
    assert "Zoë…" == rows[-1].fields["name"]


def test_the_first_twenty_problems_are_shown_and_all_counted(kept: KeptRows) -> None:
    """Those of a file that cannot be read on among them."""
    lines = ["to,name,code", *(f"{index},private," for index in range(15)), '"x" private']

    with pytest.raises(BadRows) as caught:
        _check(lines, kept)

    error = caught.value
    assert (20, 31) == (len(error.problems), error.total)
    assert "and 11 more problems" in str(error)
    assert "private" not in str(error)
    assert ("line 2", "code: is empty, and the text needs it") == error.problems[1]
    assert 31 == error.document()["error"]["total"]


def test_a_file_without_rows_is_refused(kept: KeptRows) -> None:
    """A header alone is nobody to send to."""
    with pytest.raises(BadRows, match="line 1: has a header and no rows"):
        _check(["to,name,code", "", ",,"], kept)


def test_a_quote_left_open_is_found_by_the_files_own_separator(kept: KeptRows) -> None:
    """The row that it swallowed begins with a recipient."""
    lines = ["to\tname\tcode", f'{number(1)}\t"Ann', f'{number(2)}\tBen"\tC2']

    with pytest.raises(BadRows) as caught:
        _check(lines, kept)

    (problem,) = caught.value.problems
    assert ("line 2", "name: holds what looks like another row; is a quote left open?") == problem


@pytest.mark.parametrize("body", ["Hi {name}, your code is {code}.", "😀 {name}…" + " {code}" * 20])
def test_a_hundred_thousand_rows_take_less_than_ten_seconds(body: str) -> None:
    """Of a processor's time, measured on a tenth of them; other work on the machine disturbs it."""
    lines = list(good_rows(10_000))

    def seconds() -> float:
        with KeptRows() as kept:
            began = time.process_time()
            _check(lines, kept, text=message(body, category="news"))
            return time.process_time() - began

    assert any(seconds() < 1 for _ in range(3))


def test_memory_does_not_grow_with_the_file(kept: KeptRows) -> None:
    """What is remembered of a row is its number, to find who comes twice: under 250 bytes."""
    lines = list(good_rows(4000))
    _check(lines[:100], kept)
    tracemalloc.start()
    try:
        _check(lines[:1001], kept)
        first = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        _check(lines, kept)
        grown = tracemalloc.get_traced_memory()[1] - first
    finally:
        tracemalloc.stop()

    assert grown / 3000 < 250
