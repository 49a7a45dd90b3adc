import httpx
import pytest
from starlette.types import Receive, Scope, Send

from tests.webhook.support import PERSON
from webhook.app import ErrorMiddleware


async def test_a_defect_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An unforeseen exception is a 500 without details, and no exception's text is logged."""

    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError(f"failed for {PERSON}") from ValueError(f"cannot text {PERSON}")

    transport = httpx.ASGITransport(ErrorMiddleware(broken), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://internal") as http:
        answer = await http.post(f"/webhook/inbound?to={PERSON}", content=PERSON)

    assert (500, {"detail": "Internal error."}) == (answer.status_code, answer.json())
    assert "Unexpected RuntimeError" in caplog.text
    assert "in broken" in caplog.text
    assert PERSON not in caplog.text


async def test_a_started_answer_is_not_begun_again(caplog: pytest.LogCaptureFixture) -> None:
    """If the answer was begun before the defect, there is no second one; the log has it."""

    async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        raise RuntimeError

    transport = httpx.ASGITransport(ErrorMiddleware(broken), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://internal") as http:
        answer = await http.get("/")

    assert 200 == answer.status_code
    assert "Unexpected RuntimeError" in caplog.text
