"""Bad requests to every server: each is answered as the table says, and nothing else happens."""

import re
import statistics
import time
from urllib.parse import urlencode

import pytest

from tests.bad_inputs.environment import Environment
from tests.bad_inputs.page_rows import PAGE_ROWS
from tests.bad_inputs.rows import CANARIES, FORM, Request, named
from tests.bad_inputs.server_rows import HTTP_ROWS, PROBE_ROWS
from tests.bad_inputs.webhook_rows import STATUS, WEBHOOK_ROWS
from tests.webhook.support import PUBLIC, sign, status_fields

pytestmark = pytest.mark.integration

_FIELDS = status_fields(MessageStatus="delivered")
_GOOD = Request(
    surface="/webhook/status",
    name="a good one",
    status=204,
    target=STATUS,
    headers=[("Content-Type", FORM), ("X-Twilio-Signature", sign(PUBLIC + STATUS, _FIELDS))],
    body=urlencode(_FIELDS).encode(),
)
_ROWS = named([*WEBHOOK_ROWS, *HTTP_ROWS, *PROBE_ROWS, *PAGE_ROWS])


@pytest.mark.parametrize("name", _ROWS)
def test_a_bad_request_is_answered_and_changes_nothing(environment: Environment, name: str) -> None:
    """With the status and the sentence of its row, and without a value of it."""
    row = _ROWS[name]
    assert isinstance(row, Request)

    answer = environment.send(row)
    changes = environment.changes()

    assert row.status == answer.status, answer.text
    assert row.says in answer.text
    assert [] == [each for each in CANARIES if each in _without_form(answer.text)]
    assert [] == changes


@pytest.mark.parametrize("environment", ["sqlite"], indirect=True)
def test_bad_requests_slow_nobody_down(environment: Environment) -> None:
    """A good callback after a bad request takes no longer than one after a good one."""

    def took() -> float:
        started = time.perf_counter()
        assert 204 == environment.send(_GOOD).status
        return time.perf_counter() - started

    after_good, after_bad = [], []
    for row in (*WEBHOOK_ROWS, *HTTP_ROWS)[::3]:
        took()
        after_good.append(took())
        environment.send(row)
        after_bad.append(took())

    assert statistics.median(after_bad) < 2 * statistics.median(after_good)


def _without_form(text: str) -> str:
    """Without what a form shows to whoever has just filled it in, so that they can correct it."""
    return re.sub(r"<textarea.*?</textarea>|<input[^>]*>", "", text, flags=re.DOTALL)
