"""A campaign's dead letters are retried: row, report, status and `show` follow each to its end."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from devtools.stack.local import LocalStack
from signedfor.contract import (
    DELIVERY_STATUS_SIGNAL,
    DeliveryStatus,
    campaign_message_id,
    dead_letter_workflow_id,
)
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, signedfor, until

pytestmark = pytest.mark.integration

_REFUSED: Any = {"respond": "error", "code": 21408, "http_status": 400}
_DELIVERED: Any = {"final": "delivered"}
_ID = "retried"


async def _document(stack: LocalStack, *command: str) -> Any:
    ended = await signedfor(stack, *command, "--json")
    assert 0 == ended.exit_code, ended.stderr
    return ended.document


async def _reaches(stack: LocalStack, messages: dict[str, int], state: str) -> dict[str, Any]:
    """The campaign's status, once its rows are counted so."""

    async def reached() -> dict[str, Any] | None:
        status: dict[str, Any] = await _document(stack, "campaign", "status", _ID, "--once")
        assert sum(status["messages"].values()) <= status["rows"]
        return status if (status["messages"], status["state"]) == (messages, state) else None

    return await until(reached, f"the rows to be {messages}")


async def _retry(stack: LocalStack, message_id: str) -> str:
    report = await _document(stack, "dead-letters", "retry", message_id)
    assert "retried" == report["outcome"]
    return str(report["retried_as"])


@pytest.mark.timeout(180)
async def test_a_row_follows_its_retries_to_the_end(
    stack: LocalStack, caller: Caller, new_number: NewNumber, tmp_path: Path
) -> None:
    """Each row counts once, by its newest outcome, and the report says the same as `show`."""
    once, twice, late, left = (new_number() for _ in range(4))
    stack.sandbox.script(once, [_REFUSED], then=_DELIVERED)
    stack.sandbox.script(twice, [_REFUSED, _REFUSED], then=_DELIVERED)
    for to in (late, left):
        stack.sandbox.script(to, [_REFUSED], then=_DELIVERED)
    file, report = tmp_path / "rows.csv", tmp_path / "report.csv"
    file.write_text(
        "Customer,to,status,name\n"
        + "".join(
            f"{customer},{to},gold,Ann\n"
            for customer, to in zip(
                ("=1+1", "C2", "C3", "C4", "C5"),
                (once, twice, late, left, new_number()),
                strict=True,
            )
        )
    )
    started = await signedfor(
        stack,
        *("campaign", "start", str(file), "--id", _ID, "--from", "+15005550014"),
        *("--body", "Hi {name}"),
    )
    assert 0 == started.exit_code, started.stderr
    ids = [campaign_message_id(_ID, row) for row in range(1, 6)]

    await _reaches(stack, {"failed": 4, "delivered": 1}, "finished")
    first = await _retry(stack, ids[0])
    second = await _retry(stack, ids[1])
    await _reaches(stack, {"failed": 3, "delivered": 2}, "finished")
    third = await _retry(stack, second)
    await caller.client.get_workflow_handle(dead_letter_workflow_id(ids[2])).signal(
        DELIVERY_STATUS_SIGNAL,
        DeliveryStatus(message_sid="SM" + "1a" * 16, message_status="delivered"),
    )
    status = await _reaches(stack, {"failed": 1, "delivered": 4}, "finished")
    shown = [await signedfor(stack, "show", each) for each in ids]
    document = await _document(stack, "show", ids[1])
    letter = await _document(stack, "dead-letters", "show", ids[1])
    written = await signedfor(stack, "campaign", "report", _ID, "--csv", str(report))

    assert (5, 5, 0) == (status["dispatched"], status["ended"], status["not_dispatched"])
    assert 0 == written.exit_code, written.stderr
    lines = list(csv.DictReader(io.StringIO(report.read_text())))
    assert [
        (f"{ids[0]}.retry-1", "delivered", "1", ""),
        (f"{ids[1]}.retry-2", "delivered", "2", ""),
        (ids[2], "delivered", "0", "delivered_late"),
        (ids[3], "failed", "0", "open"),
        (ids[4], "delivered", "0", ""),
    ] == [
        tuple(each[name] for name in ("message_id", "status", "retries", "dead_letter"))
        for each in lines
    ]
    assert [(first, third)] == [(lines[0]["message_id"], lines[1]["message_id"])]
    # The caller's columns come after ours, in their order; a name that is ours gets a number.
    assert ["ended_at", "Customer", "to_2", "status_2", "name"] == list(lines[0])[-5:]
    assert ("'=1+1", f"'{once}", "gold", "Ann") == tuple(
        lines[0][name] for name in ("Customer", "to_2", "status_2", "name")
    )
    retried = [(each["message_id"], each["status"]) for each in document["retries"]]
    assert [(second, "failed"), (third, "delivered")] == retried
    assert retried == [(each["message_id"], each["status"]) for each in letter["retries"]]
    assert f"{third}, delivered at" in shown[1].stdout
    assert "delivered_late" in shown[2].stdout
    assert "open" in shown[3].stdout
    assert not [
        each for each in (once, twice, late, left) if each in "".join(s.stdout for s in shown)
    ]
