"""HTTP answers with the headers and bodies of Twilio's API."""

import json
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from devtools.sandbox.errors import TwilioError, error_body, http_status_for, text_for
from devtools.sandbox.steps import Step

_CODES_BY_STATUS = {401: 20003, 404: 20404, 405: 20004, 429: 20429, 500: 20500, 503: 20503}
_HTML = "<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"


class TwilioResponse(Response):
    """An answer of the API, JSON unless said otherwise, with the headers Twilio adds."""

    def __init__(
        self,
        content: bytes,
        status_code: int,
        *,
        headers: dict[str, str] | None = None,
        media_type: str = "application/json",
    ) -> None:
        super().__init__(content, status_code, headers, media_type)
        self.headers["Twilio-Request-Id"] = "RQ" + uuid4().hex
        self.headers["Twilio-Concurrent-Requests"] = "1"
        self.headers["X-API-Domain"] = "api.twilio.com"
        self.headers["X-Home-Region"] = "us1"


def json_answer(
    body: dict[str, Any], status: int, *, headers: dict[str, str] | None = None
) -> TwilioResponse:
    """Return `body` as JSON."""
    return TwilioResponse(json.dumps(body).encode(), status, headers=headers)


def html_answer(status: int, title: str, *, headers: dict[str, str] | None = None) -> Response:
    """Return a page such as a proxy in front of the API makes."""
    page = _HTML.format(title=title).encode()
    return TwilioResponse(page, status, headers=headers, media_type="text/html")


def refusal(error: TwilioError) -> TwilioResponse:
    """Return the answer to a request that is refused."""
    headers = (
        {"WWW-Authenticate": 'Basic realm="Twilio API"'}
        if error.status == HTTPStatus.UNAUTHORIZED
        else None
    )
    return json_answer(error.body, error.status, headers=headers)


def code_and_status(step: Step) -> tuple[int, int]:
    """Return the code and HTTP status of the error that `step` asks for; each gives the other."""
    code = step.code or _CODES_BY_STATUS.get(step.http_status or 500, 20001)
    return code, step.http_status or http_status_for(code)


def scripted_error(step: Step) -> Response:
    """Return the error that `step` asks for."""
    code, status = code_and_status(step)
    if step.html:
        return html_answer(status, f"HTTP {status}", headers=step.headers)
    body = error_body(code, status=status, message=step.message or text_for(code))
    return json_answer(body, status, headers=step.headers)
