"""The tables of docs/reference/where-data-is.md, compared with what a search has found."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devtools.leaks.search import Searcher
from tests.leaks.places import COLUMNS, Piece
from tests.worker_process import ROOT

PAGE: Final = ROOT / "docs/reference/where-data-is.md"
_OPTIONAL: Final = re.compile(r" \(at times\)$")
_NOTHING: Final = "nothing"


@dataclass(frozen=True)
class Row:
    """A place, and what is in it in clear: always, or at times."""

    place: str
    always: frozenset[str]
    at_times: frozenset[str]


def read(page: Path = PAGE) -> dict[str, Row]:
    """The rows by place."""
    rows = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [each.strip() for each in line.strip().strip("|").split("|")]
        if not line.startswith("| ") or cells[0] == "Place":
            continue
        place, what = cells[0], cells[1]
        kinds = [] if what == _NOTHING else re.split(r"[,;] ", what)
        at_times = {_OPTIONAL.sub("", each) for each in kinds if _OPTIONAL.search(each)}
        always = {each for each in kinds if not _OPTIONAL.search(each)}
        assert place not in rows, f"{place} is there twice"
        rows[place] = Row(place, _plain(always), _plain(at_times))
    return rows


def _plain(kinds: Iterable[str]) -> frozenset[str]:
    return frozenset(each.strip("`") for each in kinds)


@dataclass
class Found:
    """What was found where; a value is never repeated."""

    searcher: Searcher
    rows: dict[str, Row]
    kinds: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """By place and kind: where in the place."""
    _searched: set[tuple[str, int]] = field(default_factory=set)

    def search(self, pieces: Iterable[Piece]) -> None:
        """Search them."""
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        """Search one."""
        place, detail = piece.place, piece.detail
        if place.startswith("`") and "." in place and place not in self.rows:
            place, detail = COLUMNS, f"{piece.place} {detail}"
        found = self.kinds.setdefault(place, {})
        key = (place, hash(piece.data))
        if key in self._searched:
            return
        self._searched.add(key)
        for kind in self.searcher.kinds_in(piece.data):
            found.setdefault(kind, set()).add(detail)

    def problems(self) -> Iterator[str]:
        """How places and table differ; none if the table is right."""
        for place in self.kinds.keys() - self.rows.keys():
            yield f"{place}: is not in the table"
        for place in self.rows.keys() - self.kinds.keys():
            yield f"{place}: was not searched"
        for place in self.rows.keys() & self.kinds.keys():
            row, kinds = self.rows[place], self.kinds[place]
            for kind in kinds.keys() - row.always - row.at_times:
                where = ", ".join(sorted(kinds[kind])[:5])
                yield f"{place}: {kind} in clear, which the table does not allow ({where})"
            for kind in row.always - kinds.keys():
                yield f"{place}: {kind} was not found there, as the table says"
