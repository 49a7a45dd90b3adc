"""Pages from the indexes: fast, without Temporal's list, and never newer than they say."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
from sqlalchemy import Engine
from starlette.applications import Starlette
from temporalio.client import Client, Interceptor, OutboundInterceptor
from temporalio.service import RPCError, RPCStatusCode

from ops.app import create_app
from ops.pages import campaigns
from ops.settings import OpsSettings
from signedfor import client as signedfor_client
from signedfor.contract import MessageRequest
from signedfor.contract.failures import FailureClass
from signedfor.dead_letter_indexer import DeadLetterIndexer
from signedfor.store.database import observe_transactions
from signedfor.store.dead_letter_index import DeadLetterIndex
from signedfor.store.inbound import Watermarks
from signedfor.store.message_index import MessageIndex
from signedfor.store.tables import dead_letter_index, message_index
from signedfor.store.visibility_index import read_name
from tests.ops.conftest import Browser
from tests.ops.pages.campaign_support import load_campaign, words
from tests.signedfor.store.indexed_messages import closed, ended, open_letter
from tests.workflows.fakes import FakeActivities, failure, serving

PAGES = (
    *("/", "/messages", "/campaigns", "/campaign?id=spring", "/dead-letters"),
    "/dead-letters?failure_class=SenderMisconfigured&error_code=21408",
)
MAX_TRANSACTIONS = 24
"""Of the page with most; reading what was indexed takes none for each message."""


class _NoList(Interceptor):
    """A Temporal that counts and lists nothing: its limit is shared with the workers."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Refuse what asks the visibility store."""
        return _Refusing(next)


class _Refusing(OutboundInterceptor):
    def count_workflows(self, input: Any) -> NoReturn:
        """Refuse it."""
        raise AssertionError(input.query)

    def list_workflows(self, input: Any) -> NoReturn:
        """Refuse it."""
        raise AssertionError(input.query)


class _Away(Interceptor):
    """A Temporal that answers no description: by an error, or never."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Have descriptions fail."""
        error = self._error

        class Failing(OutboundInterceptor):
            async def describe_workflow(self, input: Any) -> Any:
                del input
                if error is not None:
                    raise error
                await asyncio.Event().wait()

        return Failing(next)


@pytest.fixture
def indexed(sqlite_engine: Engine) -> Engine:
    """A campaign of three rows, one of them delivered late, and two open dead letters."""
    load_campaign(sqlite_engine)
    spring: dict[str, Any] = {"campaign_id": "spring"}
    rows = {1: "delivered", 2: "unconfirmed", 3: "failed"}
    MessageIndex(sqlite_engine).put(
        [
            ended(number, status, message_id=f"spring:{number}", **spring)
            for number, status in rows.items()
        ]
    )
    DeadLetterIndex(sqlite_engine).put(
        [
            closed("spring:2", "delivered_late", **spring),
            open_letter(message_id="spring:3", **spring),
            open_letter(9),
        ]
    )
    _read(sqlite_engine, datetime.now(UTC))
    return sqlite_engine


def _read(engine: Engine, at: datetime) -> None:
    """Temporal was read then."""
    marks = Watermarks(engine)
    for table in (message_index, dead_letter_index):
        for name in (f"{table.name}_closed", read_name(table)):
            marks.advance(name, at)


class TestWithTemporal:
    """With a server, and nothing that follows it."""

    @pytest.fixture
    def app(self, ops_settings: OpsSettings, sqlite_engine: Engine, temporal: Client) -> Starlette:
        """The application; its Temporal refuses to count and to list."""
        config = temporal.config()
        config["interceptors"] = [_NoList()]
        return create_app(ops_settings, client=Client(**config), engine=sqlite_engine)

    @pytest.mark.parametrize("path", PAGES)
    async def test_a_page_asks_for_no_list(
        self, path: str, looker: Browser, indexed: Engine
    ) -> None:
        """Nor does it count there; its transactions are few, and read only."""
        transactions: list[bool] = []
        observe_transactions(
            indexed, lambda _seconds, _result, *, read_only: transactions.append(read_only)
        )

        page = await looker.get(path)

        assert 200 == page.status_code
        assert "Read from Temporal" in words(page)
        assert all(transactions)
        assert 0 < len(transactions) <= MAX_TRANSACTIONS

    async def test_what_i_closed_is_gone_from_my_next_view(
        self, temporal: Client, actor: Browser, sqlite_engine: Engine
    ) -> None:
        """Before any round of the indexer, and also if somebody else was faster."""
        fakes = FakeActivities()
        async with serving(temporal, fakes):
            for number in (1, 2):
                fakes.sends = [failure(FailureClass.SENDER_MISCONFIGURED, code=21408)]
                request = MessageRequest.model_validate(
                    {"to": "+15558675309", "from": "+15005550006", "body": "Hi"}
                )
                client = signedfor_client.Client(temporal)
                await (await client.send(request, message_id=f"m{number}")).report()
            indexer = DeadLetterIndexer(temporal, sqlite_engine)
            async with asyncio.timeout(30):
                while "2 open" not in words(await actor.get("/dead-letters")):
                    await indexer.bring_up_to_date()
                    await asyncio.sleep(0.05)

            fields = {"id": "m1", "action": "discard"}
            assert 303 == (await actor.post("/dead-letter/resolve", fields)).status_code
            assert "1 open" in words(await actor.get("/dead-letters"))

            DeadLetterIndex(sqlite_engine).remove(["m1"])
            DeadLetterIndex(sqlite_engine).put([open_letter(1)])
            assert 409 == (await actor.post("/dead-letter/resolve", fields)).status_code
            assert "1 open" in words(await actor.get("/dead-letters"))


async def test_a_page_says_how_old_it_is(looker: Browser, sqlite_engine: Engine) -> None:
    """And warns when nothing has read Temporal for too long, or ever."""
    marks = Watermarks(sqlite_engine)
    for table in (message_index, dead_letter_index):
        marks.advance(f"{table.name}_closed", datetime.now(UTC))
    assert "Temporal has not been read yet" in words(await looker.get("/dead-letters"))

    _read(sqlite_engine, datetime.now(UTC) - timedelta(minutes=5))
    read = words(await looker.get("/dead-letters"))
    assert "Temporal was last read 5 min ago" in read
    assert "what has happened since is not shown here" in read

    marks.advance(read_name(message_index), datetime.now(UTC))
    assert "Temporal was last read 5 min" in words(await looker.get("/dead-letters"))
    _read(sqlite_engine, datetime.now(UTC))
    assert "Read from Temporal" in words(await looker.get("/dead-letters"))


async def test_a_campaign_while_temporal_does_not_answer(looker: Browser, indexed: Engine) -> None:
    """Its figures are shown, and what is not known is said: it was a 503."""
    del indexed
    page = await looker.get("/campaign?id=spring")

    assert 200 == page.status_code
    assert "Temporal does not answer now" in words(page)
    assert "delivered 2 66.7 %" in words(page)


@pytest.mark.usefixtures("indexed")
class TestWithABusyTemporal:
    """Its limits are used up by others, or it hangs."""

    @pytest.fixture(params=[RPCError("busy", RPCStatusCode.RESOURCE_EXHAUSTED, b""), None])
    def app(
        self,
        request: pytest.FixtureRequest,
        ops_settings: OpsSettings,
        sqlite_engine: Engine,
        temporal: Client,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Starlette:
        """The application."""
        monkeypatch.setattr(campaigns, "_STATE_SECONDS", 0.1)
        config = temporal.config()
        config["interceptors"] = [_Away(request.param)]
        return create_app(ops_settings, client=Client(**config), engine=sqlite_engine)

    async def test_a_campaign_is_shown(self, looker: Browser) -> None:
        """With what the index has."""
        page = await looker.get("/campaign?id=spring")

        assert 200 == page.status_code
        assert "Temporal does not answer now" in words(page)


@pytest.mark.usefixtures("indexed")
async def test_the_list_and_the_page_of_a_campaign_agree(looker: Browser) -> None:
    """On deliveries that came late, too."""
    assert "2 delivered, 1 failed" in words(await looker.get("/campaigns"))
    assert "delivered 2 66.7 %" in words(await looker.get("/campaign?id=spring"))
