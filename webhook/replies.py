"""Texts that the webhook answers to keywords, from the file INBOUND_REPLIES_FILE."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from twilio.twiml.messaging_response import MessagingResponse

from signedfor.contract import InboundKind
from signedfor.contract.fields import Body, problem, problems_in
from signedfor.masks import masked_sender
from signedfor.twilio.phone import InvalidAddress, normalize_sender

NO_REPLY: Final = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""Anything else would be sent to the person as a message, or logged as an error."""
DEFAULT: Final = "default"
"""The table for senders that have none, or no text for a keyword."""

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_POSITION = re.compile(r"\((at [^()]*)\)$")


class InvalidReplies(Exception):
    """INBOUND_REPLIES_FILE cannot be used; the text says why and repeats no number and no text."""


def _printable(text: str) -> str:
    if _NOT_IN_XML.search(text):
        raise problem("has a control character")
    return text


class _Texts(BaseModel):
    """The reply to each keyword; an empty one is none.

    There is none to other messages: two machines could answer each other for ever.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    stop: Annotated[Body, AfterValidator(_printable)] | None = None
    start: Annotated[Body, AfterValidator(_printable)] | None = None
    yes: Annotated[Body, AfterValidator(_printable)] | None = None
    help: Annotated[Body, AfterValidator(_printable)] | None = None

    def twiml(self) -> dict[InboundKind, bytes]:
        """The whole answer to each keyword that has a text here."""
        texts: dict[str, str] = self.model_dump(exclude_none=True)
        return {InboundKind(keyword): _twiml(text) for keyword, text in texts.items()}


class Replies:
    """The answers to keywords, for each sender of ours; without any, all are empty."""

    def __init__(self, twiml: Mapping[str, Mapping[InboundKind, bytes]] | None = None) -> None:
        """`twiml` by sender or `DEFAULT`."""
        self._twiml = twiml or {}

    def to(self, kind: InboundKind, sender: str, *, service: str | None) -> bytes:
        """The answer of the number `sender`, else of its Messaging Service, else the default."""
        for name in (sender, service or DEFAULT, DEFAULT):
            if (found := self._twiml.get(name, {}).get(kind)) is not None:
                return found
        return NO_REPLY


def read_replies(path: Path | None) -> Replies:
    """Read the file, a table for each sender with a text for each keyword; None: no replies.

    Raises:
        InvalidReplies: it cannot be used.
    """
    if path is None:
        return Replies()
    found: dict[str, dict[InboundKind, bytes]] = {}
    problems: list[str] = []
    for number, (name, table) in enumerate(_document(path).items(), 1):
        where = f"table {number}"
        if not isinstance(table, dict):
            problems.append(f"{where}: must be a table, such as [{DEFAULT}]")
            continue
        try:
            sender = DEFAULT if name == DEFAULT else normalize_sender(name)
            where = f"{where} ({masked_sender(sender)})"
            found[sender] = _Texts.model_validate(table).twiml()
        except InvalidAddress as error:
            problems.append(f"{where}: its name must be {DEFAULT} or a sender, which {error}")
        except ValidationError as error:
            problems += [f"{where}: {field}: {what}" for field, what in problems_in(error)]
    if problems:
        raise InvalidReplies("\n  ".join(["INBOUND_REPLIES_FILE is wrong:", *problems]))
    return Replies(found)


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidReplies(f"INBOUND_REPLIES_FILE cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise InvalidReplies("INBOUND_REPLIES_FILE is not UTF-8 text.") from None
    except RecursionError:
        raise InvalidReplies("INBOUND_REPLIES_FILE nests too deeply.") from None
    except tomllib.TOMLDecodeError as error:  # its text may name a key, which is a number
        position = _POSITION.search(str(error))
        where = f" ({position[1]})" if position else ""
        raise InvalidReplies(f"INBOUND_REPLIES_FILE is not TOML{where}.") from None


def _twiml(text: str) -> bytes:
    if not text:
        return NO_REPLY
    response = MessagingResponse()  # type: ignore[no-untyped-call] # the SDK is untyped here
    response.message(text)  # type: ignore[no-untyped-call] # as above
    return str(response).encode()
