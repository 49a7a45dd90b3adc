import httpx
import pytest
from starlette.types import Receive, Scope, Send

from tests.webhook.support import PERSON
from webhook.app import ErrorMiddleware


async def test_an_unexpected_exception_reveals_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The response is a 500 without details, and no exception's message is logged."""

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError(f"failed for {PERSON}") from ValueError(f"cannot text {PERSON}")

    transport = httpx.ASGITransport(ErrorMiddleware(broken), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://internal") as http:
        response = await http.post(f"/webhook/inbound?to={PERSON}", content=PERSON)

    assert (500, {"detail": "Internal error."}) == (response.status_code, response.json())
    assert "Unexpected RuntimeError" in caplog.text
    assert "in broken" in caplog.text
    assert PERSON not in caplog.text


async def test_a_started_response_is_not_started_again(caplog: pytest.LogCaptureFixture) -> None:
    """If the response was started before the exception, the exception is only logged."""

    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        raise RuntimeError

    transport = httpx.ASGITransport(ErrorMiddleware(broken), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://internal") as http:
        response = await http.get("/")

    assert 200 == response.status_code
    assert "Unexpected RuntimeError" in caplog.text
