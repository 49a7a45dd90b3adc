"""Only what Twilio signed for us gets in; any other request is answered 403 and changes nothing.

Twilio signs the URL that it calls and the fields of a form, with the account's auth token, or with
a shared key where a Webhooks Rule says so. That URL is rebuilt from PUBLIC_BASE_URL and the raw
request target, never from Host or X-Forwarded-* headers, which any client can set. PUBLIC_BASE_URL
must therefore be exactly what Twilio calls: scheme, host, port and, behind a proxy that strips a
path prefix, that prefix.
"""

import hmac
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError
from starlette.datastructures import ImmutableMultiDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from twilio.request_validator import (
    HMAC_SHA1,
    HMAC_SHA256,
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
)

from signedfor.contract.fields import MessageId, problems_in
from signedfor.logging import RateLimitedLogger
from signedfor.tracing import TRACEPARENT
from signedfor.webhook_probe import PROBE_HEADER, is_probe
from webhook.body import (
    CLOSE,
    MAX_BODY_BYTES,
    DecodeError,
    Fields,
    check_field_count,
    decode_form,
    decode_json,
    read_body,
)
from webhook.metrics import Metrics

_log = logging.getLogger(__name__)

MESSAGE_ID: Final = "message_id"
"""The query parameter by which a status callback names its message."""

_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_BODY_HASH = "bodySHA256"
_NO_FIELDS: Fields = ImmutableMultiDict()
_DEFAULT_PORTS = {"http": 80, "https": 443}

_message_id = TypeAdapter(MessageId)
_Model = TypeVar("_Model", bound=BaseModel)


class Reason(StrEnum):
    """Why a request is refused."""

    UNSIGNED = "unsigned"
    """No signature header, or more than one."""
    SHARED_KEY = "shared_key"
    """Said to be signed with a shared key that is not configured, or by another algorithm than
    HMAC-SHA256. The auth token never verifies such a request, nor a shared key another one."""
    CONTENT_TYPE = "content_type"
    """Neither a form nor JSON: the signature would not cover the body."""
    UNREADABLE = "unreadable"
    """It cannot be decoded, so it cannot be verified."""
    WRONG_BODY_HASH = "wrong_body_hash"
    """JSON whose hash in the query is missing, repeated or wrong."""
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_ACCOUNT = "wrong_account"
    """The signature is valid, but the message belongs to another account."""


_ADVICE = {
    Reason.SHARED_KEY: (
        "Add the shared key to TWILIO_WEBHOOK_SHARED_KEYS, or remove it from this webhook's "
        "configuration in Twilio."
    ),
    Reason.WRONG_SIGNATURE: (
        "If Twilio sent it, PUBLIC_BASE_URL is not exactly what Twilio calls (scheme, host, port, "
        "path prefix), or TWILIO_AUTH_TOKEN is not the account's primary auth token."
    ),
    Reason.WRONG_ACCOUNT: "TWILIO_ACCOUNT_SID must be the account that the messages belong to.",
}


class Refusal(HTTPException):
    """The 403 for a request that Twilio may not have sent."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(403, "This request does not carry Twilio's valid signature.", CLOSE)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A request that Twilio signed: its query and its body's fields, decoded."""

    query: Fields
    fields: Fields

    @property
    def traceparent(self) -> str | None:
        """The trace of the message, if the URL carries one."""
        return self.query.get(TRACEPARENT)

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


@dataclass(frozen=True, kw_only=True)
class _Signed:
    """What Twilio signed; without a form, the body is JSON."""

    query: Fields
    form: Fields | None
    body: bytes


class Verifier:
    """Verifies the signature first, then the account; everything else is checked afterwards."""

    def __init__(self, *, signatures: "Signatures", account_sid: str, metrics: Metrics) -> None:
        self._signatures = signatures
        self._account_sid = account_sid
        self._metrics = metrics
        self._warnings = {reason: RateLimitedLogger(_log) for reason in Reason}

    async def __call__(self, request: Request) -> Callback:
        """The verified callback.

        Raises:
            Refusal: 403, counted and logged.
            HTTPException: 413 or 408 before the signature is verified (see `webhook.body`), 400 for
                signed JSON that is not a flat object.
        """
        try:
            return await self._verified(request)
        except Refusal as refusal:
            self._record(request, refusal.reason)
            raise

    async def json_body(self, request: Request, *, max_bytes: int) -> bytes:
        """The raw body of a verified JSON request; which account it names is not checked.

        Raises:
            Refusal: 403, counted and logged.
            HTTPException: 413 or 408 before the signature is verified (see `webhook.body`).
        """
        try:
            return (await self._signed(request, {_JSON}, max_bytes=max_bytes)).body
        except Refusal as refusal:
            self._record(request, refusal.reason)
            raise

    async def _verified(self, request: Request) -> Callback:
        signed = await self._signed(request, {_FORM, _JSON}, max_bytes=MAX_BODY_BYTES)
        fields = _signed_json(signed.body) if signed.form is None else signed.form
        if any(account != self._account_sid for account in fields.getlist("AccountSid")):
            raise Refusal(Reason.WRONG_ACCOUNT)
        return Callback(query=signed.query, fields=fields)

    async def _signed(
        self, request: Request, media_types: Collection[str], *, max_bytes: int
    ) -> "_Signed":
        given = request.headers.getlist(SIGNATURE_HEADER)
        if len(given) != 1 or not given[0]:
            raise Refusal(Reason.UNSIGNED)
        signer = self._signatures.signer(request.headers.getlist(SIGNATURE_SETTINGS_HEADER))
        if signer is None:
            raise Refusal(Reason.SHARED_KEY)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in media_types:
            raise Refusal(Reason.CONTENT_TYPE)
        body = await read_body(request, max_bytes=max_bytes)
        if media_type == _FORM:
            check_field_count(body)
        try:
            query = decode_form(request.scope["query_string"])
            form = decode_form(body) if media_type == _FORM else None
            covers_body = form is not None or has_body_hash(query, body)
            is_valid = signer.match(
                target=_target(request),
                fields=_NO_FIELDS if form is None else form,
                signature=given[0],
            )
        except Exception:  # noqa: BLE001 - whatever fails in verifying, it is not verified
            raise Refusal(Reason.UNREADABLE) from None
        if not covers_body:
            raise Refusal(Reason.WRONG_BODY_HASH)
        if not is_valid:
            raise Refusal(Reason.WRONG_SIGNATURE)
        return _Signed(query=query, form=form, body=body)

    def _record(self, request: Request, reason: Reason) -> None:
        if reason is Reason.WRONG_SIGNATURE and self._signatures.made_probe(request):
            return
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


class Signatures:
    """Who may have signed a request: the auth token, or the shared key that the request names.

    The SDK's `RequestValidator.validate` is not used, only its arithmetic: it mangles IPv6 hosts,
    compares the body hash case-sensitively and only if asked to, and raises on some malformed
    requests.
    """

    def __init__(
        self,
        *,
        public_base_url: str,
        auth_token: SecretStr,
        previous_auth_token: SecretStr | None = None,
        shared_keys: Mapping[str, SecretStr] = MappingProxyType({}),
    ) -> None:
        """`previous_auth_token` is accepted too, while the token is rotated."""
        self.public_base_url = public_base_url
        bases = (public_base_url, _with_other_port(public_base_url))
        tokens = [auth_token] if previous_auth_token is None else [auth_token, previous_auth_token]
        self._tokens = tokens
        self._by_token = _Signer(tokens, HMAC_SHA1, bases)
        self._by_shared_key = {
            key: _Signer([secret], HMAC_SHA256, bases) for key, secret in shared_keys.items()
        }

    def signer(self, settings: Sequence[str]) -> "_Signer | None":
        """Who has signed, by the headers that say so: none if that is nobody we know.

        Anybody can send such a header. So it only names a shared key, whose own algorithm is used,
        and without it only the auth token counts.
        """
        if not settings:
            return self._by_token
        named = dict(part.strip().partition("=")[::2] for part in ",".join(settings).split(","))
        if len(settings) > 1 or named.get("algorithm") != HMAC_SHA256:
            return None
        return self._by_shared_key.get(named.get("key", ""))

    def made_probe(self, request: Request) -> bool:
        """Whether a refused request is our own check's, by a header made with an auth token."""
        given = request.headers.get(PROBE_HEADER)
        signature = request.headers.get(SIGNATURE_HEADER, "")
        return given is not None and any(
            is_probe(given, signature, token=each.get_secret_value()) for each in self._tokens
        )

    def match(self, *, target: str, fields: Fields = _NO_FIELDS, signature: str) -> bool:
        """Whether `signature` was made for this request with an auth token: see `_Signer.match`."""
        return self._by_token.match(target=target, fields=fields, signature=signature)


class _Signer:
    """Matches signatures that are made with one of some secrets, by one algorithm."""

    def __init__(self, secrets: Sequence[SecretStr], algorithm: str, bases: Sequence[str]) -> None:
        self._validators = [_Validator(each.get_secret_value(), algorithm) for each in secrets]
        self._bases = bases

    def match(self, *, target: str, fields: Fields = _NO_FIELDS, signature: str) -> bool:
        """Whether `signature` belongs to this request.

        `target` is the raw path and, if there is one, `?` and the raw query. `fields` are those of
        a form body; a JSON body is covered by the hash in the query instead. May raise on input
        that cannot be encoded: that is no match either.
        """
        given = signature.encode()
        return any(
            hmac.compare_digest(validator.sign(base + target, fields).encode(), given)
            for validator in self._validators
            for base in self._bases
        )


class _Validator(RequestValidator):
    """The SDK's arithmetic, with the types it lacks."""

    def __init__(self, secret: str, algorithm: str) -> None:
        super().__init__(secret)  # type: ignore[no-untyped-call] # the SDK's own has no types
        self._algorithm = algorithm

    def sign(self, url: str, fields: Fields) -> str:
        """The signature of a URL and a form's fields, in base64."""
        signature: str = self.compute_signature(url, fields, self._algorithm)  # type: ignore[no-untyped-call] # likewise
        return signature


def _with_other_port(base_url: str) -> str:
    """The URL without its port or, if it has none, with the default port.

    Twilio is not consistent about the port it signs, so both are accepted, as in the SDK.
    """
    parts = urlsplit(base_url)
    if parts.port is None:
        other = f"{parts.netloc.removesuffix(':')}:{_DEFAULT_PORTS[parts.scheme]}"
    else:
        other = parts.netloc.rpartition(":")[0]
    return parts._replace(netloc=other).geturl()


def _target(request: Request) -> str:
    path: str = request.scope["raw_path"].decode("ascii")
    query: str = request.scope["query_string"].decode("ascii")
    return f"{path}?{query}" if query else path


def has_body_hash(query: Fields, body: bytes) -> bool:
    """Whether the query holds the one SHA-256 of `body`, in hexadecimal digits of either case."""
    hashes = query.getlist(_BODY_HASH)
    expected = sha256(body).hexdigest().encode()
    return len(hashes) == 1 and hmac.compare_digest(expected, hashes[0].lower().encode())


def _signed_json(body: bytes) -> Fields:
    try:
        return decode_json(body)
    except DecodeError as error:
        raise HTTPException(400, f"The body {error}.") from None


def _message_id_only(raw_query: bytes) -> str:
    """The part of an unverified query that is safe to log."""
    try:
        ids = decode_form(raw_query).getlist(MESSAGE_ID)
        return f"?{MESSAGE_ID}={_message_id.validate_python(ids[0])}" if ids else ""
    except ValueError:
        return ""
