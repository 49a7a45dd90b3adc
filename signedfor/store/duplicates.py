"""The duplicate guard: the same content to the same person, from another message of ours.

It is part of the statement that claims a submission. Retries of a dead letter (`<id>.retry-N`) and
what they retry are one message here.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, String, bindparam, exists, func, select

from signedfor.contract import MessageRequest, first_id
from signedfor.store.tables import send_attempts


@dataclass(frozen=True)
class DuplicateOf:
    """Another message with the same content was sent to the person, or may have been."""

    message_id: str
    started_at: datetime


_other = send_attempts.alias().c
_CONDITIONS: Final = (
    _other.content_hash == bindparam("content_hash", type_=String),
    _other.started_at > bindparam("duplicates_since", type_=_other.started_at.type),
    ~_other.is_refused,
    _other.message_id != bindparam("first_id", type_=String),
    func.substr(_other.message_id, 1, bindparam("prefix_length", type_=Integer))
    != bindparam("retry_prefix", type_=String),
)
IS_DUPLICATE: Final = exists(_other.id).where(*_CONDITIONS)
FIND_DUPLICATE: Final = (
    select(_other.message_id, _other.started_at)
    .where(*_CONDITIONS)
    .order_by(_other.started_at.desc())
    .limit(1)
)


def parameters(
    message_id: str,
    message: MessageRequest,
    *,
    person_reference: str,
    within: timedelta,
    now: datetime,
) -> dict[str, Any]:
    """Those of the conditions above."""
    first = first_id(message_id)
    prefix = f"{first}.retry-"
    return {
        "content_hash": content_hash(message, person_reference=person_reference),
        "duplicates_since": now - within,
        "first_id": first,
        "retry_prefix": prefix,
        "prefix_length": len(prefix),
    }


def content_hash(message: MessageRequest, *, person_reference: str) -> str:
    """Equal for two messages with the same content to the same person, on whatever channel.

    The reference is a keyed hash: without the key, no text can be tried.
    """
    parts = [
        person_reference,
        message.body,
        message.media_urls,
        message.content_sid,
        message.content_variables,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
