"""Bad requests to every server: each is answered as the table says, and nothing else happens."""

import re

import pytest

from tests.bad_inputs.environment import Environment
from tests.bad_inputs.page_rows import PAGE_ROWS
from tests.bad_inputs.rows import CANARIES, Request, named
from tests.bad_inputs.server_rows import HTTP_ROWS, PROBE_ROWS
from tests.bad_inputs.webhook_rows import WEBHOOK_ROWS

pytestmark = pytest.mark.integration

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


def _without_form(text: str) -> str:
    """Without what a form shows to whoever has just filled it in, so that they can correct it."""
    return re.sub(r"<textarea.*?</textarea>|<input[^>]*>", "", text, flags=re.DOTALL)
