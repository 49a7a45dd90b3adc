"""Turns a request into a `Callback` that Twilio signed, or refuses it with a 403."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from signedfor.contract.fields import MessageId
from signedfor.payloads import problems_in
from webhook.body import CLOSE, DecodeError, check_field_count, decode_form, decode_json, read_body
from webhook.metrics import Metrics
from webhook.resilience import RateLimitedLogger
from webhook.signature import (
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    Fields,
    Signatures,
    is_body_hash,
)

_log = logging.getLogger(__name__)

MESSAGE_ID = "message_id"
"""The query parameter by which a status callback names its message."""

_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_BODY_HASH = "bodySHA256"

_message_id = TypeAdapter(MessageId)
_Model = TypeVar("_Model", bound=BaseModel)


class Reason(StrEnum):
    """Why a request is refused as not one of Twilio's to us."""

    UNSIGNED = "unsigned"
    """No signature header, or more than one."""
    SHARED_KEY = "shared_key"
    """Signed with a webhook shared key (HMAC-SHA256). The auth token must never check that one."""
    CONTENT_TYPE = "content_type"
    """Neither a form nor JSON: the signature would not cover the body."""
    UNREADABLE = "unreadable"
    """It cannot be decoded, so it cannot be checked."""
    WRONG_BODY_HASH = "wrong_body_hash"
    """JSON whose hash in the query is missing, repeated or not the body's."""
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_ACCOUNT = "wrong_account"
    """Rightly signed, but about another account's message."""


_ADVICE = {
    Reason.SHARED_KEY: "Remove the shared key from this webhook's configuration in Twilio.",
    Reason.WRONG_SIGNATURE: (
        "If Twilio sent it, PUBLIC_BASE_URL is not exactly what Twilio calls (scheme, host, port, "
        "path prefix), or TWILIO_AUTH_TOKEN is not the account's primary auth token."
    ),
    Reason.WRONG_ACCOUNT: "TWILIO_ACCOUNT_SID must be the account whose messages these are.",
}


class Refusal(HTTPException):
    """The 403 for a request that Twilio may not have sent; nothing was changed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(403, "This request does not carry Twilio's valid signature.", CLOSE)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A request that Twilio signed: its query and its body's fields, decoded."""

    query: Fields
    fields: Fields

    def read(self, model: type[_Model]) -> _Model:
        """The fields whose names are `model`'s aliases, and `message_id` from the query.

        A blank field counts as absent. HTTPException 400 names each bad field, never its value.
        """
        names = [field.alias or name for name, field in model.model_fields.items()]
        values = {name: self._one(name) for name in names}
        try:
            return model.model_validate({name: value for name, value in values.items() if value})
        except ValidationError as error:
            problems = "; ".join(f"{field}: {what}" for field, what in problems_in(error))
            raise HTTPException(400, problems) from None

    def _one(self, name: str) -> str | None:
        values = (self.query if name == MESSAGE_ID else self.fields).getlist(name)
        if len(values) > 1:
            raise HTTPException(400, f"{name}: is given more than once")
        return values[0] if values else None


class Verifier:
    """Checks the signature first, then the account, and everything else only afterwards."""

    def __init__(self, *, signatures: Signatures, account_sid: str, metrics: Metrics) -> None:
        self._signatures = signatures
        self._account_sid = account_sid
        self._metrics = metrics
        self._warnings = {reason: RateLimitedLogger(_log) for reason in Reason}

    async def __call__(self, request: Request) -> Callback:
        """The verified callback.

        Raises:
            Refusal: 403, counted and logged.
            HTTPException: 413 or 408 before the check (see `body`), 400 for signed bad input.
        """
        try:
            return await self._verified(request)
        except Refusal as refusal:
            self._record(request, refusal.reason)
            raise

    async def _verified(self, request: Request) -> Callback:
        signatures = request.headers.getlist(SIGNATURE_HEADER)
        if len(signatures) != 1 or not signatures[0]:
            raise Refusal(Reason.UNSIGNED)
        if SIGNATURE_SETTINGS_HEADER in request.headers:
            raise Refusal(Reason.SHARED_KEY)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in {_FORM, _JSON}:
            raise Refusal(Reason.CONTENT_TYPE)
        body = await read_body(request)
        if media_type == _FORM:
            check_field_count(body)
        try:
            query = self._check(request, media_type, body, signatures[0])
            fields = None if media_type == _JSON else decode_form(body)
        except Refusal:
            raise
        except Exception:  # noqa: BLE001 - whatever goes wrong in checking, it is not verified
            raise Refusal(Reason.UNREADABLE) from None
        if fields is None:
            fields = _signed_json(body)
        if any(account != self._account_sid for account in fields.getlist("AccountSid")):
            raise Refusal(Reason.WRONG_ACCOUNT)
        return Callback(query=query, fields=fields)

    def _check(self, request: Request, media_type: str, body: bytes, signature: str) -> Fields:
        """The query of a request whose signature is valid; any exception means that it is not."""
        raw_query: bytes = request.scope["query_string"]
        target = request.scope["raw_path"].decode("ascii")
        if raw_query:
            target += "?" + raw_query.decode("ascii")
        query = decode_form(raw_query)
        if media_type == _JSON:
            hashes = query.getlist(_BODY_HASH)
            if len(hashes) != 1 or not is_body_hash(hashes[0], body):
                raise Refusal(Reason.WRONG_BODY_HASH)
            is_valid = self._signatures.match(target=target, signature=signature)
        else:
            fields = decode_form(body)
            is_valid = self._signatures.match(target=target, fields=fields, signature=signature)
        if not is_valid:
            raise Refusal(Reason.WRONG_SIGNATURE)
        return query

    def _record(self, request: Request, reason: Reason) -> None:
        path = request.scope["path"]  # request.url would be built from the Host header
        self._metrics.refused.labels(path, reason).inc()
        self._warnings[reason].warning(
            "Refused a request as not Twilio's (%s). Checked against %s%s%s %s",
            reason,
            self._signatures.public_base_url,
            path,
            _message_id_only(request.scope["query_string"]),
            _ADVICE.get(reason, ""),
        )


def _signed_json(body: bytes) -> Fields:
    try:
        return decode_json(body)
    except DecodeError as error:
        raise HTTPException(400, f"The body {error}.") from None


def _message_id_only(raw_query: bytes) -> str:
    """The part of a query that may be logged; the rest is not trusted."""
    try:
        ids = decode_form(raw_query).getlist(MESSAGE_ID)
        return f"?{MESSAGE_ID}={_message_id.validate_python(ids[0])}" if ids else ""
    except ValueError:
        return ""
