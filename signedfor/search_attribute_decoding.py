"""Search attributes of a workflow, read by the SDK without failing for those that nobody can read.

The server stores the metadata of a search attribute as the caller wrote it. The SDK (1.35) decodes
it before any interceptor or converter of ours: a type that is not UTF-8, or a text that is said to
be a time, fails the workflow task again and again, and every description of the workflow.
"""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import temporalio.converter
from temporalio.api.common.v1 import SearchAttributes

_Decoded = TypeVar("_Decoded")
_Decode = Callable[[SearchAttributes], _Decoded]


def skip_unreadable_search_attributes() -> None:
    """Let this process's clients and workers leave them out. Calling it again changes nothing."""
    for name in ("decode_search_attributes", "decode_typed_search_attributes"):
        decode = getattr(temporalio.converter, name)
        if not hasattr(decode, "__wrapped__"):
            setattr(temporalio.converter, name, _skipping(decode))


def _skipping(decode: _Decode[_Decoded]) -> _Decode[_Decoded]:
    @wraps(decode)
    def decode_readable(api: SearchAttributes) -> _Decoded:
        try:
            return decode(api)
        except Exception:  # noqa: BLE001 - whatever is wrong with one, the others are right
            readable = {
                name: value
                for name, value in api.indexed_fields.items()
                if _can_read(decode, SearchAttributes(indexed_fields={name: value}))
            }
            return decode(SearchAttributes(indexed_fields=readable))

    return decode_readable


def _can_read(decode: _Decode[_Decoded], one: SearchAttributes) -> bool:
    try:
        decode(one)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True
