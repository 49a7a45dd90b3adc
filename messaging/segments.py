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

_GRAPHEME = regex.compile(r"\X")


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
        septets = [2 if character in _GSM7_EXTENDED else 1 for character in body]
        return _segments(Encoding.GSM7, units=sum(septets), pieces=septets)
    return _segments(Encoding.UCS2, units=_code_units(body), pieces=_grapheme_units(body))


def _segments(encoding: Encoding, *, units: int, pieces: Iterable[int] | None) -> Segments:
    """Count the segments of `units` that come in indivisible `pieces`, or all of one unit."""
    if units <= _ALONE[encoding]:
        count = min(units, 1)
    elif pieces is None:
        count = -(-units // _JOINED[encoding])
    else:
        count = _packed(pieces, room=_JOINED[encoding])
    return Segments(encoding=encoding, count=count, units=units)


def _packed(pieces: Iterable[int], *, room: int) -> int:
    """Return how many segments of `room` units the pieces fill in order, none of them split."""
    count, free = 0, 0
    for piece in pieces:
        if piece > free:
            count, free = count + 1, room
        free -= piece
    return count


def _grapheme_units(body: str) -> Iterator[int]:
    """Yield the code units of what may not be split: a grapheme cluster, as a reader sees it.

    A line end of two characters may be split, as in Twilio's calculator, and so must be a
    cluster that is longer than a segment (letters piled with marks): there, by code point.
    """
    for match in _GRAPHEME.finditer(body):
        cluster = match[0]
        units = _code_units(cluster)
        if cluster == "\r\n" or units > _JOINED[Encoding.UCS2]:
            yield from map(_code_units, cluster)
        else:
            yield units


def _code_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
