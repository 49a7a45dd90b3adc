"""The tables of docs/reference/where-data-is.md, compared with what a search has found."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from devtools.leaks.search import Searcher
from tests.leaks.places import COLUMNS, Piece
from tests.worker_process import ROOT

PAGE: Final = ROOT / "docs/reference/where-data-is.md"
_AT_TIMES: Final = " (at times)"
_ALL_AT_TIMES: Final = "at times: "
"""Before all kinds of a place."""
_COLUMN: Final = re.compile(r"`\w+\.\w+`")
_MAX_DETAILS: Final = 5


@dataclass(frozen=True)
class Row:
    """A place, and the kinds of data that are in it in clear."""

    place: str
    always: frozenset[str]
    at_times: frozenset[str]
    kept: str
    """What the table says of how long."""


def read(page: Path = PAGE) -> dict[str, Row]:
    """The rows by place."""
    rows: dict[str, Row] = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| ") or line.startswith("| Place |"):
            continue
        place, what, _, kept = (each.strip() for each in line.strip().strip("|").split("|"))
        kinds = set(what.removeprefix(_ALL_AT_TIMES).split(", ")) - {"nothing"}
        at_times = {each for each in kinds if each.endswith(_AT_TIMES)}
        if what.startswith(_ALL_AT_TIMES):
            at_times = kinds
        assert place not in rows, f"{place} is there twice"
        rows[place] = Row(
            place,
            always=frozenset(kinds - at_times),
            at_times=frozenset(each.removesuffix(_AT_TIMES) for each in at_times),
            kept=kept,
        )
    return rows


@dataclass
class Found:
    """What was found where, by kind; the values are not repeated."""

    searcher: Searcher
    rows: dict[str, Row]
    _kinds: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    """By place and kind: where in the place."""
    _searched: set[tuple[str, int]] = field(default_factory=set)

    def search(self, pieces: Iterable[Piece]) -> None:
        """Search them."""
        for piece in pieces:
            self.add(piece)

    def add(self, piece: Piece) -> None:
        """Search one; without data it does not count as searched."""
        place, detail = piece.place, piece.detail
        if _COLUMN.fullmatch(place) and place not in self.rows:
            place, detail = COLUMNS, f"{piece.place} {detail}"
        key = (place, hash(piece.data))
        if not piece.data or key in self._searched:
            return
        self._searched.add(key)
        found = self._kinds.setdefault(place, {})
        for kind in self.searcher.kinds_in(piece.data):
            found.setdefault(kind, set()).add(detail)

    def problems(self, *, absent: Collection[str] = (), may_be_empty: Collection[str] = ()) -> str:
        """How places and table differ, a line each; empty if the table is right.

        `absent` places are not there in this run; those that `may_be_empty` had perhaps nothing to
        search.
        """
        return "\n".join(sorted(self._problems({*absent}, {*may_be_empty})))

    def _problems(self, absent: set[str], may_be_empty: set[str]) -> Iterator[str]:
        for place in self._kinds.keys() - self.rows.keys():
            yield f"{place}: is not in the table"
        for place in self.rows.keys() - absent - may_be_empty - self._kinds.keys():
            yield f"{place}: nothing was searched there"
        for place in self.rows.keys() & self._kinds.keys():
            row, kinds = self.rows[place], self._kinds[place]
            for kind in kinds.keys() - row.always - row.at_times:
                where = ", ".join(sorted(kinds[kind])[:_MAX_DETAILS])
                yield f"{place}: {kind} in clear, which the table does not allow ({where})"
            for kind in row.always - kinds.keys():
                yield f"{place}: no {kind} found, which the table has"
