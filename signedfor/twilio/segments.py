"""How many segments a text takes: the unit that Twilio paces and bills by.

Rules: 3GPP TS 23.038 for the alphabets, 140 octets a segment and a concatenation header of
6 octets once there is more than one (TS 23.040), and Twilio's own message-segment-calculator
where those leave room. Smart Encoding is not predicted; `num_segments` in Twilio's answer is
what was billed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import regex

_GSM7_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENDED = frozenset("\f^{}\\[~]|€")  # an escape septet and a second one: two units each
_GSM7 = _GSM7_BASIC | _GSM7_EXTENDED

# Of the characters of one code unit, those that join with none of their own kind.
_PLAIN = r"[[\p{GCB=Other}&&[\u0000-\uffff]]\r\n]"
# A run of them, up to the one before what may join it; or else one cluster. Most text is such runs:
# looking for one cluster after the other takes ten times as long.
_GRAPHEMES = regex.compile(rf"(?V1)(?P<plain>{_PLAIN}+(?={_PLAIN}|\Z))|\X")

_EXTENDED_OR_NOT = regex.compile(
    rf"(?P<extended>[{regex.escape(''.join(sorted(_GSM7_EXTENDED)))}]+)"
    rf"|[^{regex.escape(''.join(sorted(_GSM7_EXTENDED)))}]+"
)

_Run = tuple[int, int]
"""Units of a piece, and how many such pieces follow each other."""


class Encoding(StrEnum):
    """The alphabet that the whole text is sent in; one character outside GSM-7 decides it."""

    GSM7 = "GSM-7"
    UCS2 = "UCS-2"


_ALONE = {Encoding.GSM7: 160, Encoding.UCS2: 70}
_JOINED = {Encoding.GSM7: 153, Encoding.UCS2: 67}


@dataclass(frozen=True, slots=True)
class Segments:
    """What a text takes on the air.

    `units` are septets for GSM-7 (two for an extension character) and UTF-16 code units for
    UCS-2; `count` is the number of segments.
    """

    encoding: Encoding
    count: int
    units: int


def count_segments(body: str) -> Segments:
    """Return encoding, segments and units of `body`; an empty body takes no segment.

    Any string is counted and none raises: a lone surrogate, which Twilio could not be sent at
    all, counts as one unit. A message of media alone has no text and is billed as one; that is
    the caller's to add.
    """
    if _GSM7_BASIC.issuperset(body):
        return _segments(Encoding.GSM7, units=len(body), pieces=None)
    if _GSM7.issuperset(body):
        septets = len(body) + sum(map(body.count, _GSM7_EXTENDED))
        return _segments(Encoding.GSM7, units=septets, pieces=_septets(body))
    return _segments(Encoding.UCS2, units=_code_units(body), pieces=_grapheme_units(body))


def _segments(encoding: Encoding, *, units: int, pieces: Iterable[_Run] | None) -> Segments:
    """Count the segments of `units` that come in indivisible `pieces`, or all of one unit."""
    if units <= _ALONE[encoding]:
        count = min(units, 1)
    elif pieces is None:
        count = -(-units // _JOINED[encoding])
    else:
        count = _packed(pieces, room=_JOINED[encoding])
    return Segments(encoding=encoding, count=count, units=units)


def _packed(runs: Iterable[_Run], *, room: int) -> int:
    """Return how many segments of `room` units the pieces fill in order, none of them split."""
    count, free = 0, 0
    for units, times in runs:
        here = min(free // units, times)
        free -= here * units
        if rest := times - here:
            each = room // units
            more = -(-rest // each)
            count += more
            free = room - (rest - (more - 1) * each) * units
    return count


def _septets(body: str) -> Iterator[_Run]:
    for match in _EXTENDED_OR_NOT.finditer(body):
        yield (2 if match["extended"] else 1), len(match[0])


def _grapheme_units(body: str) -> Iterator[_Run]:
    """Yield the code units of what may not be split: a grapheme cluster, as a reader sees it.

    A line end of two characters may be split, as in Twilio's calculator, and so must be a
    cluster that is longer than a segment (letters piled with marks): there, by code point.
    """
    for match in _GRAPHEMES.finditer(body):
        cluster = match[0]
        if match["plain"]:
            yield 1, len(cluster)
            continue
        units = _code_units(cluster)
        if cluster == "\r\n" or units > _JOINED[Encoding.UCS2]:
            yield from ((_code_units(each), 1) for each in cluster)
        else:
            yield units, 1


def _code_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
