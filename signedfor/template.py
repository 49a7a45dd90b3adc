"""The text of a campaign: `{name}` is replaced by the row's value in the column `name`.

Nothing else is interpreted, neither formats nor attributes nor indexes, so a text can show only the
cells of its row. `{{` and `}}` are literal braces.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

_PART = re.compile(r"(?P<braces>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<stray>[{}])|(?P<text>[^{}]+)")
_MAX_NAME = 64


class InvalidTemplate(ValueError):
    """The text is not a valid template; says what is wrong and where, without repeating it."""


class MissingField(ValueError):
    """A row has no value for a placeholder; names the placeholder."""


def placeholders(body: str) -> frozenset[str]:
    """The names in braces.

    Raises:
        InvalidTemplate: a brace has no counterpart, or there is no name between two.
    """
    return frozenset(name for is_name, name in _parts(body) if is_name)


def render(body: str, fields: Mapping[str, str]) -> str:
    """`body` with each placeholder replaced by its field; braces in a field are literal.

    Raises:
        InvalidTemplate: see `placeholders`.
        MissingField: a placeholder has no field.
    """
    try:
        return "".join([fields[part] if is_name else part for is_name, part in _parts(body)])
    except KeyError as error:
        name = error.args[0]
    raise MissingField(f"has no value for {{{name}}}")


@lru_cache(maxsize=32)
def _parts(body: str) -> tuple[tuple[bool, str], ...]:
    """The pieces of the text: whether it is a placeholder, and its name or the literal text."""
    parts: list[tuple[bool, str]] = []
    for match in _PART.finditer(body):
        place = f"character {match.start() + 1}"
        if match["stray"] == "{":
            raise InvalidTemplate(
                f"has a brace that is not closed at {place}; a literal brace is written {{{{"
            )
        if match["stray"]:
            raise InvalidTemplate(
                f"has a closing brace without an opening one at {place}; "
                "a literal brace is written }}"
            )
        if match["name"] is None:
            parts.append((False, match["text"] or match["braces"][0]))
            continue
        name = match["name"].strip()
        if not name or len(name) > _MAX_NAME or not name.isprintable():
            raise InvalidTemplate(
                f"has braces without a column's name at {place}: "
                f"1 to {_MAX_NAME} printable characters"
            )
        parts.append((True, name))
    return tuple(parts)
