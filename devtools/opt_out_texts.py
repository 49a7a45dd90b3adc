"""How well inbound messages are classified, measured over labeled texts.

    python -m devtools.opt_out_texts [FILE...]

prints the figures and the misses as Markdown, of the sets in
`tests/signedfor/twilio/inbound_texts` if no file is named.
"""

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signedfor.contract import InboundKind
from signedfor.twilio.classifier import classify_inbound

TEXTS: Final = Path(__file__).resolve().parents[1] / "tests/signedfor/twilio/inbound_texts"
_HEEDED: Final = frozenset({InboundKind.STOP, InboundKind.REVIEW})
_STOP: Final = frozenset({InboundKind.STOP})
_REVIEW: Final = frozenset({InboundKind.REVIEW})
_OTHER: Final = frozenset({InboundKind.OTHER})


@dataclass(frozen=True, slots=True)
class Text:
    """One labeled text, and what became of it."""

    text: str
    language: str
    expected: frozenset[InboundKind]
    group: str
    kind: InboundKind


@dataclass(frozen=True, slots=True)
class Figure:
    """A share of the texts with one label."""

    what: str
    texts: Sequence[Text]
    """All with the label."""
    counted: Sequence[Text]
    """Those of them that the figure counts."""

    @property
    def share(self) -> float:
        """The part that is counted; 0 if there are no texts."""
        return len(self.counted) / max(len(self.texts), 1)


def files() -> list[Path]:
    """The sets, by name. README.md there says of each what the rules know of it."""
    return sorted(path for path in TEXTS.glob("*.csv") if path.name != "groups.csv")


def read(path: Path) -> list[Text]:
    """Read a set, and classify each text. The labels do not distinguish a YES from a START."""
    with path.open(encoding="utf-8", newline="") as table:
        return [
            Text(
                text=row["text"],
                language=row["language"],
                expected=frozenset(map(InboundKind, row["expected"].split("|"))),
                group=row["group"],
                kind=classify_inbound(row["text"], None),
            )
            for row in csv.DictReader(table)
        ]


def missed_stops(texts: Sequence[Text]) -> Figure:
    """Opt-outs by a keyword that did not end as STOP."""
    stops = [each for each in texts if each.expected == _STOP]
    missed = [each for each in stops if each.kind is not InboundKind.STOP]
    return Figure("keywords that are no STOP", stops, missed)


def lost_stops(texts: Sequence[Text]) -> Figure:
    """Opt-outs by a keyword that nobody would even review."""
    stops = [each for each in texts if each.expected == _STOP]
    lost = [each for each in stops if each.kind not in _HEEDED]
    return Figure("keywords that are neither STOP nor REVIEW", stops, lost)


def missed_phrases(texts: Sequence[Text]) -> Figure:
    """Opt-outs in a person's own words that did not end as STOP or REVIEW."""
    phrases = [each for each in texts if each.expected == _REVIEW]
    missed = [each for each in phrases if each.kind not in _HEEDED]
    return Figure("opt-out phrases that are neither STOP nor REVIEW", phrases, missed)


def false_alarms(texts: Sequence[Text]) -> Figure:
    """Ordinary messages that ended as STOP or REVIEW."""
    ordinary = [each for each in texts if each.expected == _OTHER]
    alarms = [each for each in ordinary if each.kind in _HEEDED]
    return Figure("ordinary messages that are STOP or REVIEW", ordinary, alarms)


def report(paths: Sequence[Path] = ()) -> str:
    """The figures and misses of each set, as Markdown."""
    sets = {path.stem: read(path) for path in paths or files()}
    figures = [
        f"| `{name}` | {each.what} | {len(each.texts)} | {len(each.counted)} | {each.share:.1%} |"
        for name, texts in sets.items()
        for each in _figures(texts)
    ]
    misses = [
        f"| `{name}` | {_cell(each.text)} | {each.language} "
        f"| {' or '.join(sorted(each.expected))} | {each.kind} |"
        for name, texts in sets.items()
        for each in _misses(texts)
    ]
    return "\n".join(
        [
            *("| Set | Wrong | Texts | Number | Share |", "|---|---|---|---|---|", *figures, ""),
            *("| Set | Text | Language | Expected | Kind |", "|---|---|---|---|---|", *misses),
        ]
    )


def _figures(texts: Sequence[Text]) -> Iterator[Figure]:
    yield from (
        measure(texts) for measure in (missed_stops, lost_stops, missed_phrases, false_alarms)
    )


def _misses(texts: Sequence[Text]) -> Iterator[Text]:
    counted = {id(each) for figure in _figures(texts) for each in figure.counted}
    for each in texts:
        kind = InboundKind.START if each.kind is InboundKind.YES else each.kind
        heeded = each.expected == _REVIEW and kind in _HEEDED
        if id(each) in counted or (kind not in each.expected and not heeded):
            yield each


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


if __name__ == "__main__":
    sys.stdout.write(f"{report([Path(each) for each in sys.argv[1:]])}\n")
