"""JSON payloads by Pydantic, where bad input becomes one failure that names every bad field.

Bad input must fail its workflow at once. With the SDK's own converter it would fail the workflow
*task*, again and again, and Pydantic's error text would repeat the value. The same holds for input
that is so large, or so wrong, that its validation or its failure would outlast a limit of the SDK.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Any, Final, Self, Union, get_args, get_origin

from pydantic import ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    SerializationContext,
)
from temporalio.exceptions import ApplicationError

from signedfor.contract import ContractModel, DeadLetterRequest, MessageRequest
from signedfor.contract.base import OutputModel, OwnInput
from signedfor.contract.fields import MAX_MESSAGE_ID_CHARACTERS, field_name, problems_in
from signedfor.masks import contains_number_of
from signedfor.strict_json import MAX_BYTES, InvalidJson, parse_json

INVALID_INPUT = "InvalidInput"
"""The error type of a workflow that failed because its input was bad."""
MAX_PROBLEMS: Final = 100
"""A failure names so many: enough to correct the input, and small enough for any history."""

_MAX_BYTES: Final[dict[type[ContractModel], int]] = {DeadLetterRequest: 4 * MAX_BYTES}
"""A dead letter holds the message, its tags again, and what became of it."""

ENCODING_FIELD: Final = "encoding"
CIPHER_FIELD: Final = "encryption-cipher"
KEY_ID_FIELD: Final = "encryption-key-id"
ENCRYPTED: Final = b"binary/encrypted"
CIPHER: Final = b"AES-256-GCM"
_UNREADABLE: Final = b"binary/unreadable"
_REASON_FIELD: Final = "unreadable-because"

_KEY_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
MAX_KEY_ID_DIGITS: Final = 8
"""A date, but no phone number: the id is shown."""

_CLASS = re.compile(r"[A-Z][A-Za-z]{2,63}")
"""What the name of a failure class looks like."""
_MESSAGE_ID = re.compile(rf"[\x21-\x7e]{{1,{MAX_MESSAGE_ID_CHARACTERS}}}")


class Unreadable(StrEnum):
    """Why a payload cannot be read; the values follow "The payload" in a sentence."""

    KEY = "is encrypted with the key {key}, which is not among the PAYLOAD_KEYS here"
    CHANGED = (
        "cannot be decrypted with the key {key}: it was encrypted with another key of that id, or "
        "for another namespace, or it was changed"
    )
    FORMAT = "is encrypted in a format that is not ours"
    PLAIN = "is not encrypted, and PAYLOAD_ACCEPT_PLAIN is off here"
    OFF = "is encrypted with the key {key}, and PAYLOAD_ENCRYPTION is off here"


class UnreadablePayload(RuntimeError):
    """A payload cannot be decrypted, and the text names its key; or it is of a later version.

    In a workflow it fails the workflow task, not the workflow, which goes on when a worker has the
    key, or is of that version.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(f"What Temporal holds {problem}.")


class UnreadableInput(ApplicationError):
    """Input that cannot be decrypted: bad input, which fails its workflow or update once."""

    def __init__(self, problem: str) -> None:
        refused = invalid_input([("input", problem)])
        super().__init__(refused.message, *refused.details, type=refused.type, non_retryable=True)
        self.problem = problem


def is_key_id(text: str) -> bool:
    """Whether this may be the id of a key, which logs and errors show."""
    digits = sum(character.isdigit() for character in text)
    return bool(_KEY_ID.fullmatch(text)) and digits <= MAX_KEY_ID_DIGITS


def key_id_of(payload: Payload) -> str | None:
    """The id of the key that a payload names; None if it names none that could be shown."""
    text = payload.metadata.get(KEY_ID_FIELD, b"").decode("ascii", "replace")
    return text if is_key_id(text) else None


def unreadable(payload: Payload, reason: Unreadable) -> Payload:
    """What takes the place of a payload that cannot be read, until something reads it."""
    key_id = key_id_of(payload)
    return Payload(
        metadata={
            ENCODING_FIELD: _UNREADABLE,
            _REASON_FIELD: reason.name.encode(),
            **({} if key_id is None else {KEY_ID_FIELD: key_id.encode()}),
        }
    )


def _why_unreadable(payload: Payload) -> Unreadable | None:
    """None if the payload can be read. Without a codec, whatever is encrypted cannot."""
    encoding = payload.metadata.get(ENCODING_FIELD)
    if encoding == _UNREADABLE:
        name = payload.metadata.get(_REASON_FIELD, b"").decode("ascii", "replace")
        return Unreadable.__members__.get(name, Unreadable.FORMAT)
    if encoding == ENCRYPTED:
        is_ours = payload.metadata.get(CIPHER_FIELD) == CIPHER
        return Unreadable.OFF if is_ours else Unreadable.FORMAT
    return None


def unreadable_problem(payload: Payload) -> str | None:
    """What follows "The payload" in the sentence about one that cannot be read; None if it can."""
    reason = _why_unreadable(payload)
    if reason is None:
        return None
    return reason.value.format(key=key_id_of(payload) or "of an unknown id")


@dataclass(frozen=True)
class UnreadableSignal:
    """In place of a signal that a worker with another key can read.

    The SDK drops a signal that raises. Dropped here and received at a later replay, it would make
    the workflow nondeterministic. `OneArgument` fails the workflow task instead.
    """

    problem: str


def invalid_input(problems: Sequence[tuple[str, str]]) -> ApplicationError:
    """The failure for bad input: `problems` are pairs of a field and what is wrong with it."""
    if len(problems) > MAX_PROBLEMS:
        more = f"has {len(problems) - MAX_PROBLEMS:,} more problems"
        problems = [*problems[:MAX_PROBLEMS], ("input", more)]
    text = "; ".join(f"{field}: {what}" for field, what in problems)
    return ApplicationError(
        f"Bad input. {text}",
        [{"field": field, "problem": what} for field, what in problems],
        type=INVALID_INPUT,
        non_retryable=True,
    )


def id_problems(
    message_id: str, request: MessageRequest, *, id_field: str = "workflow id"
) -> list[tuple[str, str]]:
    """What is wrong with a message's id, tenant and campaign, which are shown in plain text."""
    problems: list[tuple[str, str]] = []
    if not _MESSAGE_ID.fullmatch(message_id):
        allowed = f"1 to {MAX_MESSAGE_ID_CHARACTERS} visible ASCII characters"
        problems.append((id_field, f"the message id must be {allowed}"))
    shown = {
        id_field: message_id,
        "tenant": request.tenant,
        "campaign_id": request.campaign_id,
    }
    problems += [
        (field, "must not contain the recipient's number")
        for field, text in shown.items()
        if text is not None and contains_number_of(text, request.to)
    ]
    return problems


def _contract_in(hint: Any) -> type[ContractModel] | None:
    """The contract model that `hint` is, or the one in an optional type."""
    alternatives = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    for each in alternatives:
        if isinstance(each, type) and issubclass(each, ContractModel):
            return each
    return None


class _JSONConverter(PydanticJSONPlainPayloadConverter):
    """Pydantic's JSON; for contract models with limits, and errors that name fields, not values."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        contract = None if type_hint is None else _contract_in(type_hint)
        if contract is None:
            # An activity's result, above all: a defect to fix and replay, not bad input.
            return super().from_payload(payload, type_hint)
        try:
            document = parse_json(payload.data, max_bytes=_MAX_BYTES.get(contract, MAX_BYTES))
            return self._type_adapter(type_hint).validate_python(document)
        except InvalidJson as error:
            raise invalid_input([(field_name(error.path), str(error))]) from None
        except ValidationError as error:
            # What we have written ourselves is not bad input, and failing would lose it.
            if issubclass(contract, OutputModel) and _is_of_later_version(error):
                raise UnreadablePayload(
                    "has a failure class that only a later version knows"
                ) from None
            raise invalid_input(problems_in(error)) from None
        except UnicodeEncodeError:  # where no field can be named: in the name of one
            raise invalid_input([("input", "has half a character in a name")]) from None


def _is_of_later_version(error: ValidationError) -> bool:
    """Whether nothing is wrong but a failure class that is not known here."""
    return all(
        each["type"] == "enum"
        and each["loc"][-1:] == ("failure_class",)
        and isinstance(each["input"], str)
        and _CLASS.fullmatch(each["input"])
        for each in error.errors(include_url=False, include_context=False)
    )


def _is_json_or_null(payload: Payload) -> bool:
    encoding = payload.metadata.get("encoding")  # bytes, of any kind
    return encoding == b"json/plain" or (encoding == b"binary/null" and not payload.data)


_JSON = _JSONConverter()
_ENCODINGS = {
    each.encoding.encode(): _JSON if isinstance(each, JSONPlainPayloadConverter) else each
    for each in DefaultPayloadConverter.default_encoding_payload_converters
}


class _PayloadConverter(CompositePayloadConverter):
    """The same for every workflow and activity: the SDK creates several for each activation."""

    def __init__(self) -> None:
        # Pydantic would build the schemas of our models again for an encoding of its own.
        self.converters = _ENCODINGS

    def with_context(self, _context: SerializationContext) -> Self:
        """See base class."""
        return self

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Decode. For a contract model, null or another encoding than JSON is bad input too.

        Several payloads without types are the wrong number of arguments. They are not decoded:
        `OneArgument` refuses them, whatever they are.

        Raises:
            UnreadablePayload: it cannot be decrypted, and is no input; or it is of a later version.
            ApplicationError: bad input, of the type InvalidInput.
        """
        if not type_hints and len(payloads) > 1:
            return [RawValue(each) for each in payloads]
        for payload in payloads:
            if (problem := unreadable_problem(payload)) is not None:
                return [_unreadable_value(payload, problem, type_hints)]
        hints = type_hints or ()
        for payload, hint in zip(payloads, hints, strict=False):
            if _contract_in(hint) and not _is_json_or_null(payload):
                raise invalid_input([("input", "must be a JSON object, encoded as json/plain")])
        try:
            values = super().from_payloads(payloads, type_hints)
        except RuntimeError as error:  # the SDK's, around any other
            if isinstance(error.__cause__, UnreadablePayload):
                raise error.__cause__ from None
            raise
        for hint, value in zip(hints, values, strict=False):
            if _contract_in(hint) and not isinstance(value, hint):
                raise invalid_input([("input", "must be a JSON object")])
        return values


def _unreadable_value(
    payload: Payload, problem: str, type_hints: list[type] | None
) -> UnreadableSignal:
    hints = type_hints or []
    is_transient = _why_unreadable(payload) in {Unreadable.KEY, Unreadable.OFF}
    if is_transient and any(getattr(hint, "is_signal", False) for hint in hints):
        return UnreadableSignal(problem)
    models = [model for hint in hints if (model := _contract_in(hint))]
    if any(_is_refused(model, is_transient=is_transient) for model in models):
        raise UnreadableInput(problem)
    raise UnreadablePayload(problem)


def _is_refused(model: type[ContractModel], *, is_transient: bool) -> bool:
    """Whether it is input that fails its workflow or update, rather than what waits for a key."""
    if issubclass(model, OwnInput):
        return not is_transient
    return not issubclass(model, OutputModel)


data_converter = DataConverter(payload_converter_class=_PayloadConverter)
"""Without encryption; `signedfor.encryption` adds it. Decodes plain JSON from any other client."""
