import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from signedfor.twilio.segments import Encoding, Segments, _grapheme_units, _pack, count_segments

GSM7, UCS2 = Encoding.GSM7, Encoding.UCS2

EXTENDED = ["|", "^", "€", "{", "}", "[", "]", "~", "\\", "\f"]
ACCENTED_OUTSIDE_GSM7 = ["Á", "Ú", "ú", "ç", "í", "Í", "ó", "Ó"]

# Expected values: the tests of Twilio's own message-segment-calculator, and an independent
# implementation that passes them.
VECTORS = [
    ("1" * 160, GSM7, 1),
    ("1" * 161, GSM7, 2),
    ("1" * 306, GSM7, 2),
    ("1" * 307, GSM7, 3),
    *((character + "1" * 158, GSM7, 1) for character in EXTENDED),
    *((character + "1" * 159, GSM7, 2) for character in EXTENDED),
    ("😜" + "1" * 68, UCS2, 1),
    ("😜" + "1" * 69, UCS2, 2),
    ("😜" + "1" * 133, UCS2, 3),
    ("🇮🇹" + "1" * 66, UCS2, 1),
    ("🇮🇹" + "1" * 67, UCS2, 2),
    ("🏳️‍🌈" + "1" * 64, UCS2, 1),
    ("🏳️‍🌈" + "1" * 65, UCS2, 2),
    *((character * 70, UCS2, 1) for character in ACCENTED_OUTSIDE_GSM7),
    *((character * 71, UCS2, 2) for character in ACCENTED_OUTSIDE_GSM7),
    ("a" * 459, GSM7, 3),
    ("a" * 460, GSM7, 4),
    ("a" * 1600, GSM7, 11),
    ("€" * 80, GSM7, 1),
    ("€" * 81, GSM7, 2),
    ("€" * 152, GSM7, 2),
    ("€" * 153, GSM7, 3),
    ("a" * 152 + "€" + "a" * 151, GSM7, 2),
    ("a" * 152 + "€" + "a" * 152, GSM7, 3),
    ("é" * 160, GSM7, 1),
    ("ç" * 134, UCS2, 2),
    ("ç" * 135, UCS2, 3),
    ("ç" * 1600, UCS2, 24),
    ("👍" * 35, UCS2, 1),
    ("👍" * 36, UCS2, 2),
    ("👍" * 66, UCS2, 2),
    ("👍" * 67, UCS2, 3),
    ("a" * 66 + "👍" + "a" * 66, UCS2, 3),
    ("a" * 158 + "\r\n", GSM7, 1),
    ("a" * 159 + "\r\n", GSM7, 2),
    ("ç" * 66 + "\r\n" + "ç" * 66, UCS2, 2),
    ("`", UCS2, 1),
    ("\t", UCS2, 1),
]


@pytest.mark.parametrize(
    ("body", "encoding", "count"),
    VECTORS,
    ids=[f"{index}-{body[:1]!a}-{len(body)}" for index, (body, _, _) in enumerate(VECTORS)],
)
def test_segments_are_counted_as_by_twilio(body: str, encoding: Encoding, count: int) -> None:
    """Every published example has Twilio's encoding and number of segments."""
    counted = count_segments(body)

    assert (encoding, count) == (counted.encoding, counted.count)


def test_an_empty_body_has_no_segment() -> None:
    """It has no units either."""
    assert Segments(encoding=GSM7, count=0, units=0) == count_segments("")


@pytest.mark.parametrize("character", list("`\t’“”–—…\u00a0áíóúçÀ"))  # noqa: RUF001 - these characters are the case under test
def test_a_character_outside_gsm7_decides_the_encoding(character: str) -> None:
    """One such character makes the whole text UCS-2."""
    assert Segments(encoding=UCS2, count=1, units=4) == count_segments("abc" + character)


def test_units_of_gsm7_are_septets() -> None:
    """A character of the extension table takes two."""
    assert Segments(encoding=GSM7, count=1, units=8) == count_segments("a€b{}")


def test_units_of_ucs2_are_utf16_code_units() -> None:
    """An emoji outside the basic plane takes two."""
    assert Segments(encoding=UCS2, count=1, units=5) == count_segments("ab👍c")


def test_a_cluster_longer_than_a_segment_is_split() -> None:
    """A letter with very many combining marks takes several segments."""
    assert Segments(encoding=UCS2, count=3, units=200) == count_segments("a" + "\u0301" * 199)


def test_a_lone_surrogate_is_counted() -> None:
    """Refusing text that cannot be sent is the job of the validation."""
    assert Segments(encoding=UCS2, count=1, units=2) == count_segments("a\ud83d")


@given(st.text(max_size=400))
def test_the_number_of_segments_has_bounds(body: str) -> None:
    """The segments have room for all units, and packing wastes less than half of it."""
    counted = count_segments(body)
    alone, joined = (160, 153) if counted.encoding is GSM7 else (70, 67)

    if counted.units <= alone:
        assert min(counted.units, 1) == counted.count
    else:
        assert -(-counted.units // joined) <= counted.count <= 2 * counted.units // joined + 1


@given(st.text(alphabet="abc €{é\n", max_size=500), st.text(alphabet="abc €{é\n", max_size=50))
def test_more_text_never_has_fewer_segments(body: str, more: str) -> None:
    """Appending text does not lower the count."""
    assert count_segments(body).count <= count_segments(body + more).count


@given(
    st.text(
        alphabet="ab\u0301\u0600\u0e33\u1100\u1161\u200d\u2764\r\n\U0001f468\U0001f1e6…",
        max_size=200,
    )
)
def test_runs_have_the_same_units_as_single_clusters(body: str) -> None:
    """Grouping equal clusters into runs is an optimization only."""
    pieces = [
        units
        for cluster in regex.findall(r"\X", body)
        for units in (
            [len(each.encode("utf-16-le")) // 2 for each in cluster]
            if cluster == "\r\n" or len(cluster.encode("utf-16-le")) // 2 > 67
            else [len(cluster.encode("utf-16-le")) // 2]
        )
    ]

    assert pieces == [units for units, times in _grapheme_units(body) for _ in range(times)]


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 200)), max_size=20),
    st.sampled_from([67, 153]),
)
def test_runs_are_packed_like_single_clusters(runs: list[tuple[int, int]], room: int) -> None:
    """Packing a run at once leads to the same number of segments."""
    count, free = 0, 0
    for units, times in runs:
        for _ in range(times):
            if units > free:
                count, free = count + 1, room
            free -= units

    assert count == _pack(runs, capacity=room)
