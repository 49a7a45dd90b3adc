"""Temporal's codec server protocol: `POST .../decode` and `POST .../encode`, JSON in and out.

It answers only with the token, and in a browser only the page of the Temporal UI.
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payload, Payloads

from signedfor.encryption import Encryption, EncryptionCodec
from signedfor.logging import RateLimitedLogger, log_unexpected
from signedfor.payloads import ENCODING_FIELD, ENCRYPTED, UnreadablePayload, unreadable_problem

_log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 16 << 20
"""A page of a history: Temporal's limit for a payload is 2 MiB, a third more in base64."""
MAX_PAYLOADS: Final = 5_000
_READ_SECONDS: Final = 10.0
_MAX_NAMESPACE: Final = 255
_PREFLIGHT_SECONDS: Final = 600
_ALLOWED_HEADERS: Final = "authorization, authorization-extras, content-type, x-namespace"
_CLOSE: Final = {"Connection": "close"}


def create_app(
    encryption: Encryption, *, token: str, origins: frozenset[str], namespace: str
) -> Starlette:
    """The application; `namespace` is that of requests without the header `X-Namespace`."""
    server = _CodecServer(encryption, token=token, origins=origins, namespace=namespace)
    routes = [
        Route(prefix + name, server.handler(convert), methods=["POST", "OPTIONS"])
        for prefix in ("/", "/{token}/")
        for name, convert in (("decode", decoded), ("encode", EncryptionCodec.encrypt))
    ]
    return Starlette(
        routes=[Route("/healthz", _healthz, methods=["GET"]), *routes],
        exception_handlers={HTTPException: server.refused},
    )


def decoded(codec: EncryptionCodec, payload: Payload) -> Payload:
    """The clear payload; in place of one that cannot be read, a sentence that says why."""
    if payload.metadata.get(ENCODING_FIELD) != ENCRYPTED:
        return payload
    clear = codec.decrypt(payload)
    problem = unreadable_problem(clear)
    if problem is None:
        return clear
    sentence = json.dumps(str(UnreadablePayload(problem))).encode()
    return Payload(metadata={"encoding": b"json/plain"}, data=sentence)


class _CodecServer:
    def __init__(
        self, encryption: Encryption, *, token: str, origins: frozenset[str], namespace: str
    ) -> None:
        self._encryption = encryption
        self._token = token.encode()
        self._origins = origins
        self._namespace = namespace
        self._warnings = RateLimitedLogger(_log)

    def handler(
        self, convert: Callable[[EncryptionCodec, Payload], Payload]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The handler of a path that converts each payload so."""

        async def handle(request: Request) -> Response:
            self._check_origin(request)
            if request.method == "OPTIONS":  # browsers send no token with it
                return Response(status_code=204, headers=self._cors(request, is_preflight=True))
            self._check_token(request)
            payloads = _parsed(await _body(request))
            codec = EncryptionCodec(self._encryption, self._namespace_of(request))
            try:
                found = Payloads(payloads=[convert(codec, each) for each in payloads.payloads])
                document = json_format.MessageToDict(found)
            except Exception as error:  # noqa: BLE001 - its text may quote a payload
                log_unexpected(_log, error)
                raise HTTPException(500, "The payloads could not be converted.") from None
            return JSONResponse(document, headers=self._cors(request))

        return handle

    async def refused(self, request: Request, error: Exception) -> Response:
        """The answer to a refused request: a sentence, readable by the UI's page only."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
        headers = {**(error.headers or {}), **self._cors(request)}
        return JSONResponse({"error": error.detail}, error.status_code, headers=headers)

    def _check_origin(self, request: Request) -> None:
        """Pages of other sites get nothing, even with the token; programs send no origin."""
        origin = request.headers.get("origin")
        if origin is not None and origin not in self._origins:
            self._warnings.warning("Refused a page that is not the Temporal UI's: TEMPORAL_UI_URL")
            raise HTTPException(403, "Only the page at TEMPORAL_UI_URL may ask.")

    def _check_token(self, request: Request) -> None:
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        given = [request.path_params.get("token", ""), sent if scheme.lower() == "bearer" else ""]
        sent_tokens = [each.encode(errors="replace") for each in given]
        if not any(hmac.compare_digest(each, self._token) for each in sent_tokens):
            self._warnings.warning("Refused a request without the token of the codec server")
            raise HTTPException(401, "The token is missing or wrong.", _CLOSE)

    def _namespace_of(self, request: Request) -> str:
        namespace = request.headers.get("x-namespace") or self._namespace
        if len(namespace) > _MAX_NAMESPACE or not namespace.isprintable():
            raise HTTPException(400, "X-Namespace is not the name of a namespace.")
        return namespace

    def _cors(self, request: Request, *, is_preflight: bool = False) -> dict[str, str]:
        headers = {"Cache-Control": "no-store", "Vary": "Origin"}
        origin = request.headers.get("origin")
        if origin in self._origins:
            headers["Access-Control-Allow-Origin"] = origin
        if is_preflight:
            headers |= {
                "Access-Control-Allow-Methods": "POST",
                "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
            }
        return headers


async def _healthz(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _body(request: Request) -> bytes:
    """The raw body, within limits.

    Raises:
        HTTPException: 413 if it is too large, 408 if it takes too long.
    """
    too_large = HTTPException(413, f"The body is larger than {MAX_BODY_BYTES} bytes.", _CLOSE)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(_READ_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, "The body took too long to arrive.", _CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "The body is incomplete.", _CLOSE) from None
    return bytes(body)


def _parsed(body: bytes) -> Payloads:
    not_payloads = HTTPException(400, "The body is not Payloads in Protocol Buffers' JSON.")
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):
        raise not_payloads from None
    # Protocol Buffers reads a text or a list, too, and finds nothing in it.
    if not _is_object_with_objects(document):
        raise not_payloads
    try:
        payloads = json_format.ParseDict(document, Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError):
        raise not_payloads from None
    if len(payloads.payloads) > MAX_PAYLOADS:
        raise HTTPException(413, f"There are more than {MAX_PAYLOADS} payloads.")
    return payloads


def _is_object_with_objects(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    payloads = document.get("payloads", [])
    return isinstance(payloads, list) and all(isinstance(each, dict) for each in payloads)
