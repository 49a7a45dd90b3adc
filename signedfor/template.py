"""The text of a campaign: `{name}` stands for what a row has in its column `name`.

Nothing else is understood: no formats, attributes or indexes, so that a text can show a row's own
cells and nothing besides. `{{` and `}}` are literal braces.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

_PART = re.compile(r"(?P<braces>\{\{|\}\})|\{(?P<name>[^{}]*)\}|(?P<stray>[{}])|(?P<text>[^{}]+)")
_LONGEST_NAME = 64


class InvalidTemplate(ValueError):
    """The text is no template; says what is wrong and where, without repeating the text."""


class MissingField(ValueError):
    """A row has no value for a placeholder; names the placeholder."""


def placeholders(body: str) -> frozenset[str]:
    """The names in braces.

    Raises:
        InvalidTemplate: a brace is left open or has nothing to close.
    """
    return frozenset(name for is_name, name in _parts(body) if is_name)


def render(body: str, fields: Mapping[str, str]) -> str:
    """`body` with each placeholder replaced by its field; the fields' own braces are text.

    Raises:
        InvalidTemplate: as `placeholders`.
        MissingField: there is no such field.
    """
    try:
        return "".join([fields[part] if is_name else part for is_name, part in _parts(body)])
    except KeyError as error:
        name = error.args[0]
    raise MissingField(f"has no value for {{{name}}}")


@lru_cache(maxsize=32)
def _parts(body: str) -> tuple[tuple[bool, str], ...]:
    """The text in pieces: whether it is a placeholder's name, and the name or the literal text."""
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
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise InvalidTemplate(
                f"has braces without a column's name at {place}: "
                f"1 to {_LONGEST_NAME} printable characters"
            )
        parts.append((True, name))
    return tuple(parts)
