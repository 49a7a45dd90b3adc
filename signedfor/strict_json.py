"""JSON from others: parsed within limits, and refused where two readers could understand it twice.

The limits hold before anything is made of the document. A model that validates a hundred thousand
unknown fields makes an error of each, which takes seconds and a thousand times their size.
"""

import json
from collections import Counter
from typing import Any, Final

MAX_BYTES: Final = 262_144
"""A message with everything has 20 kB; a hundred variables of a template may have 160 kB."""
MAX_VALUES: Final = 1_000
"""Members of objects and items of arrays in all; a message has at most 200."""


class InvalidJson(ValueError):
    """The document is refused; the text says why and repeats no value, `path` says where."""

    def __init__(self, what: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(what)
        self.path = path
        """Names and indexes on the way to it, as the caller wrote them; empty for the whole."""


class _Object(dict[str, Any]):
    """A JSON object that remembers a name it had twice."""

    repeated: str | None = None


def parse_json(data: bytes, *, max_bytes: int = MAX_BYTES, max_values: int = MAX_VALUES) -> Any:
    """The document in `data`, which must be UTF-8.

    Raises:
        InvalidJson: it is too large, is not JSON in UTF-8, nests too deeply, or an object in it has
            a name twice.
    """
    if len(data) > max_bytes:
        raise InvalidJson(f"is larger than {max_bytes:,} bytes")
    try:
        document = json.loads(data.decode(), object_pairs_hook=_object)
    except RecursionError:
        raise InvalidJson("nests too deeply") from None
    except ValueError:
        raise InvalidJson("is not JSON in UTF-8") from None
    _check(document, max_values)
    return document


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        found.repeated = counts.most_common(1)[0][0]
    return found


def _check(document: Any, max_values: int) -> None:
    """Count the values and find repeated names; without recursion, as it may nest deeply."""
    values = 0
    repeated: tuple[str | int, ...] | None = None
    to_do: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while to_do:
        path, value = to_do.pop()
        if not isinstance(value, list | dict):
            continue
        values += len(value)
        if values > max_values:
            raise InvalidJson(f"has more than {max_values:,} values")
        if isinstance(value, _Object) and value.repeated is not None:
            repeated = (*path, value.repeated)
        members = value.items() if isinstance(value, dict) else enumerate(value)
        to_do += [((*path, name), each) for name, each in members]
    if repeated is not None:
        raise InvalidJson("is given more than once", repeated)
