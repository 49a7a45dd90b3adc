"""Was this request signed by Twilio? Checked with the account's auth token over the exact bytes.

The URL that was signed is rebuilt from PUBLIC_BASE_URL and the raw request target, never from
Host or X-Forwarded-* headers, which anybody can set. PUBLIC_BASE_URL must therefore be exactly
what Twilio calls: scheme, host, port and, behind a proxy that strips a path prefix, that prefix.

The SDK's `RequestValidator.validate` is not used: it mangles IPv6 hosts, compares the body hash
case-sensitively and only if told to, and raises on what a stranger can send. Only its arithmetic
is used here.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import (
    SIGNATURE_HEADER,
    SIGNATURE_SETTINGS_HEADER,
    RequestValidator,
)

from signedfor.settings import InvalidSettings

__all__ = ["SIGNATURE_HEADER", "SIGNATURE_SETTINGS_HEADER", "Fields", "Signatures", "is_body_hash"]

Fields = ImmutableMultiDict[str, str]
"""Decoded names and values; a name may be given more than once."""

_NO_FIELDS: Fields = ImmutableMultiDict()
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Signatures:
    """Checks signatures made with any of the given auth tokens (current, and previous)."""

    def __init__(self, *, public_base_url: str, auth_tokens: Iterable[SecretStr]) -> None:
        self._bases = _spellings(public_base_url)
        self._validators = [_Validator(token.get_secret_value()) for token in auth_tokens]
        if not self._validators:
            raise InvalidSettings("TWILIO_AUTH_TOKEN: give at least one auth token")

    @property
    def public_base_url(self) -> str:
        """What every checked URL begins with."""
        return self._bases[0]

    def match(self, *, target: str, fields: Fields = _NO_FIELDS, signature: str) -> bool:
        """Whether `signature` belongs to this request.

        `target` is the raw path and, if there is one, `?` and the raw query. `fields` are those of
        a form body; the body of a JSON request is covered by the hash in its query instead (see
        `is_body_hash`). May raise on input that cannot be encoded: that is no match either.
        """
        given = signature.encode()
        return any(
            hmac.compare_digest(validator.sign(base + target, fields).encode(), given)
            for validator in self._validators
            for base in self._bases
        )


class _Validator(RequestValidator):
    """The SDK's arithmetic, with the types it lacks."""

    def __init__(self, token: str) -> None:
        super().__init__(token)  # type: ignore[no-untyped-call] # the SDK's own has no types

    def sign(self, url: str, fields: Fields) -> str:
        """The signature of a URL and a form's fields, in base64."""
        signature: str = self.compute_signature(url, fields)  # type: ignore[no-untyped-call] # likewise
        return signature


def is_body_hash(value: str, body: bytes) -> bool:
    """Whether `value` (a query's `bodySHA256`) is the SHA-256 of `body`, in hex of either case."""
    return hmac.compare_digest(sha256(body).hexdigest().encode(), value.lower().encode())


def _spellings(public_base_url: str) -> tuple[str, ...]:
    """The base as configured, then as Twilio may have signed it.

    Twilio is not consistent about the port, so like the SDK this takes a signature with or without
    the default port, and without one that was configured.
    """
    base = public_base_url.rstrip("/")
    parts = urlsplit(base)
    try:
        port = parts.port
    except ValueError:
        raise InvalidSettings("PUBLIC_BASE_URL: its port is not a port number") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise InvalidSettings("PUBLIC_BASE_URL: must be an absolute http or https URL")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidSettings("PUBLIC_BASE_URL: must have no query, fragment or credentials")
    if port is None:
        other = f"{parts.netloc.removesuffix(':')}:{_DEFAULT_PORTS[parts.scheme]}"
    else:
        other = parts.netloc.rpartition(":")[0]
    return base, parts._replace(netloc=other).geturl()
