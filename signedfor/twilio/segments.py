"""Counts the segments of a text: the unit of Twilio's rate limits and prices.

Rules: 3GPP TS 23.038 for the alphabets, 140 octets per segment and a 6-octet concatenation header
if there is more than one (TS 23.040), and Twilio's message-segment-calculator where those leave a
choice. Smart Encoding is not predicted; Twilio bills `num_segments` in its response.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import regex

_GSM7_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENDED = frozenset("\f^{}\\[~]|€")  # an escape septet and a second one: two units
_GSM7 = _GSM7_BASIC | _GSM7_EXTENDED

# One code unit each, and never part of a longer grapheme cluster with one another.
_PLAIN = r"[[\p{GCB=Other}&&[\u0000-\uffff]]\r\n]"
# A run of them, except the last before a character that may join it; otherwise one cluster. Most
# text consists of such runs, and matching every cluster separately takes ten times as long.
_GRAPHEMES = regex.compile(rf"(?V1)(?P<plain>{_PLAIN}+(?={_PLAIN}|\Z))|\X")

_EXTENDED_OR_NOT = regex.compile(
    rf"(?P<extended>[{regex.escape(''.join(sorted(_GSM7_EXTENDED)))}]+)"
    rf"|[^{regex.escape(''.join(sorted(_GSM7_EXTENDED)))}]+"
)

_Run = tuple[int, int]
"""The units of one piece, and how many such pieces follow each other."""


class Encoding(StrEnum):
    """The encoding of the whole text; a single character outside GSM-7 requires UCS-2."""

    GSM7 = "GSM-7"
    UCS2 = "UCS-2"


_SINGLE = {Encoding.GSM7: 160, Encoding.UCS2: 70}
_CONCATENATED = {Encoding.GSM7: 153, Encoding.UCS2: 67}


@dataclass(frozen=True, slots=True)
class Segments:
    """The size of a text.

    `units` are septets for GSM-7 (two for an extension character) and UTF-16 code units for
    UCS-2; `count` is the number of segments.
    """

    encoding: Encoding
    count: int
    units: int


def count_segments(body: str) -> Segments:
    """Return encoding, segments and units of `body`; an empty body has no segments.

    Never raises: a lone surrogate, which cannot be sent to Twilio, counts as one unit. A message
    with media only has no text and is billed as one segment; the caller must add it.
    """
    if _GSM7_BASIC.issuperset(body):
        return _segments(Encoding.GSM7, units=len(body), pieces=None)
    if _GSM7.issuperset(body):
        septets = len(body) + sum(map(body.count, _GSM7_EXTENDED))
        return _segments(Encoding.GSM7, units=septets, pieces=_septets(body))
    return _segments(Encoding.UCS2, units=_code_units(body), pieces=_grapheme_units(body))


def _segments(encoding: Encoding, *, units: int, pieces: Iterable[_Run] | None) -> Segments:
    """Count the segments of `units` in indivisible `pieces`; None means pieces of one unit."""
    if units <= _SINGLE[encoding]:
        count = min(units, 1)
    elif pieces is None:
        count = -(-units // _CONCATENATED[encoding])
    else:
        count = _pack(pieces, capacity=_CONCATENATED[encoding])
    return Segments(encoding=encoding, count=count, units=units)


def _pack(runs: Iterable[_Run], *, capacity: int) -> int:
    """Return how many segments of `capacity` units the pieces fill, in order and unsplit."""
    count, free = 0, 0
    for units, times in runs:
        here = min(free // units, times)
        free -= here * units
        if rest := times - here:
            each = capacity // units
            more = -(-rest // each)
            count += more
            free = capacity - (rest - (more - 1) * each) * units
    return count


def _septets(body: str) -> Iterator[_Run]:
    for match in _EXTENDED_OR_NOT.finditer(body):
        yield (2 if match["extended"] else 1), len(match[0])


def _grapheme_units(body: str) -> Iterator[_Run]:
    """Yield the code units of each grapheme cluster, which must not be split.

    A CR LF may be split, as in Twilio's calculator, and so must a cluster that is longer than a
    segment (letters with many marks): these are split into code points.
    """
    for match in _GRAPHEMES.finditer(body):
        cluster = match[0]
        if match["plain"]:
            yield 1, len(cluster)
            continue
        units = _code_units(cluster)
        if cluster == "\r\n" or units > _CONCATENATED[Encoding.UCS2]:
            yield from ((_code_units(each), 1) for each in cluster)
        else:
            yield units, 1


def _code_units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
