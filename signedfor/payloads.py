"""JSON payloads by Pydantic, where bad input becomes one failure that names every bad field.

Bad input must fail its workflow at once. With the SDK's own converter it would fail the workflow
*task*, again and again, and Pydantic's error text would repeat the value.
"""

import json
import re
from collections.abc import Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)
from temporalio.exceptions import ApplicationError

from signedfor.contract import ContractModel, MessageRequest
from signedfor.contract.fields import MAX_MESSAGE_ID_CHARACTERS, problems_in
from signedfor.masks import contains_number_of

INVALID_INPUT = "InvalidInput"
"""The error type of a workflow that failed because its input was bad."""

_MESSAGE_ID = re.compile(rf"[\x21-\x7e]{{1,{MAX_MESSAGE_ID_CHARACTERS}}}")


def invalid_input(problems: Sequence[tuple[str, str]]) -> ApplicationError:
    """The failure for bad input: `problems` are pairs of a field and what is wrong with it."""
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
    """Pydantic's JSON; its errors for contract models name fields and hide values."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        try:
            return super().from_payload(payload, type_hint)
        except ValidationError as error:
            if type_hint is not None and _contract_in(type_hint) is None:
                raise  # an activity's result: a defect to fix and replay, not bad input
            raise invalid_input(_name_the_fields(payload, type_hint, error)) from None


def _name_the_fields(
    payload: Payload, type_hint: type | None, error: ValidationError
) -> list[tuple[str, str]]:
    """The bad fields, also if the JSON itself cannot be decoded.

    Pydantic rejects the whole document for a lone surrogate. Python's parser accepts it, and the
    model then names its field.
    """
    problems = problems_in(error)
    if type_hint is not None and error.errors()[0]["type"] == "json_invalid":
        try:
            TypeAdapter(type_hint).validate_python(json.loads(payload.data))
        except ValidationError as by_field:
            return problems_in(by_field)
        except (ValueError, RecursionError):
            return problems
    return problems


_JSON = _JSONConverter()
_ENCODINGS = tuple(
    _JSON if isinstance(each, JSONPlainPayloadConverter) else each
    for each in DefaultPayloadConverter.default_encoding_payload_converters
)
"""Created once: the SDK creates a payload converter for each workflow activation, and with it
Pydantic would build the schemas of our models again."""


class _PayloadConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*_ENCODINGS)

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Decode. For a contract model, null or an unknown encoding is bad input too."""
        if not any(_contract_in(hint) for hint in type_hints or ()):
            return super().from_payloads(payloads, type_hints)
        try:
            values = super().from_payloads(payloads, type_hints)
        except (KeyError, RuntimeError):
            raise invalid_input(
                [("input", "must be a JSON object, encoded as json/plain")]
            ) from None
        for hint, value in zip(type_hints or (), values, strict=False):
            if _contract_in(hint) and not isinstance(value, hint):
                raise invalid_input([("input", "must be a JSON object")])
        return values


data_converter = DataConverter(payload_converter_class=_PayloadConverter)
"""For every client and worker of ours; it decodes plain JSON from any other client."""
