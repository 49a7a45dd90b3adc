"""Inbound messages and the queue of reviews."""

import re

import pytest
from sqlalchemy import Engine

from ops.settings import OpsSettings
from signedfor.consent import Reason, Scope
from signedfor.contract import InboundKind
from signedfor.store.inbound import InboundMessages
from signedfor.store.suppressions import Suppressions
from tests.ops.conftest import Browser
from tests.ops.pages.consent import DIGITS, MASKED, actions, receive
from tests.workflows.fakes import RECIPIENT, SENDER

OTHER = "+15558675310"
READ = "/opt-outs/reviews/read"
DECIDE = "/opt-outs/reviews/decide"


@pytest.fixture
def queue(sqlite_engine: Engine) -> Engine:
    """Three messages that may be opt-outs, the second the oldest."""
    receive(sqlite_engine, "SM2", InboundKind.REVIEW, text="<b>second</b>\ntext", hours_ago=2)
    receive(sqlite_engine, "SM1", InboundKind.REVIEW, from_=OTHER, text="first text", hours_ago=30)
    receive(sqlite_engine, "SM3", InboundKind.REVIEW, text="third text", hours_ago=0.5)
    return sqlite_engine


def _done(html: str) -> str:
    found = re.search(r'<p class="done" role="status">(.*?)</p>', html)
    return found[1] if found else ""


async def test_nothing_to_review(looker: Browser) -> None:
    """The page says so, and so does the button's answer."""
    assert "Nothing to review." in (await looker.get("/opt-outs/reviews")).text
    answer = await looker.post(READ)
    assert "Nothing+to+review." in answer.headers["location"]


@pytest.mark.usefixtures("queue")
async def test_the_queue_shows_the_oldest_first(looker: Browser) -> None:
    """With how long each waits; numbers are masked, and texts not shown."""
    html = (await looker.get("/opt-outs/reviews")).text

    assert ["SM1", "SM2", "SM3"] == re.findall(r'name="message_sid" value="(SM\d)"', html)
    assert "the oldest came 1 d 6 h ago" in html
    for private in ("first text", "&lt;b&gt;", DIGITS, OTHER, SENDER):
        assert private not in html


async def test_a_text_is_read_on_request(looker: Browser, queue: Engine) -> None:
    """The audit log says who has read it; who may only look has no other buttons."""
    answer = await looker.post(READ, {"message_sid": "SM2"})

    assert "&lt;b&gt;second&lt;/b&gt;\ntext" in answer.text
    assert MASKED in answer.text
    assert DIGITS not in answer.text
    assert "It is an opt-out" not in answer.text
    (action,) = actions(queue)
    assert ("look", "review.read", MASKED) == (action.who, action.action, action.subject)
    assert (action.details or "").endswith("; SM2")


async def test_one_after_the_other(actor: Browser, queue: Engine) -> None:
    """Each decision shows the next text; a skipped message is left."""
    first = await actor.post(READ)
    assert "first text" in first.text
    second = await actor.post(DECIDE, {"message_sid": "SM1", "is_opt_out": "yes"})
    assert ("Opt-out recorded.", True) == (_done(second.text), "second" in second.text)
    third = await actor.post(READ, {"message_sid": "SM2", "skip": "yes"})
    assert "third text" in third.text
    end = await actor.post(DECIDE, {"message_sid": "SM3", "is_opt_out": "no"})
    assert "Recorded+as+read.+That+was+the+last+one." in end.headers["location"]

    assert 1 == InboundMessages(queue).pending_reviews().count
    assert [Reason.OPTED_OUT] == [row.reason for row in Suppressions(queue).of(OTHER)]
    assert [Reason.REVIEW] == [row.reason for row in Suppressions(queue).of(RECIPIENT)]
    assert [
        ("review.read", "SM1"),
        ("review.opt-out", "SM1"),
        ("review.read", "SM2"),
        ("review.read", "SM3"),
        ("review.done", "SM3"),
    ] == [(each.action, (each.details or "")[-3:]) for each in actions(queue)]
    decided = InboundMessages(queue).review("SM1")
    assert decided is not None
    assert "act" == decided.reviewed_by


async def test_what_someone_else_has_decided(actor: Browser, queue: Engine) -> None:
    """Stays as it is: the page names them, and the audit log has no second decision."""
    InboundMessages(queue).decide("SM1", is_opt_out=False, by="lee")

    answer = await actor.post(DECIDE, {"message_sid": "SM1", "is_opt_out": "yes"})

    assert "Nothing was recorded: lee has decided it meanwhile." == _done(answer.text)
    assert [] == [row for row in Suppressions(queue).of(OTHER) if row.reason is Reason.OPTED_OUT]
    assert ["review.read"] == [each.action for each in actions(queue)]


async def test_who_has_opted_in_since(actor: Browser, queue: Engine) -> None:
    """No opt-out is recorded, and the page says why."""
    receive(queue, "SM9", InboundKind.START, from_=OTHER, hours_ago=1)

    answer = await actor.post(DECIDE, {"message_sid": "SM1", "is_opt_out": "yes"})

    assert "opted in again since" in _done(answer.text)
    assert [] == Suppressions(queue).of(OTHER)


class TestOneSender:
    """OPT_OUT_SCOPE is sender."""

    @pytest.fixture
    def ops_settings(self, ops_settings: OpsSettings) -> OpsSettings:
        """As workers and webhook have it."""
        return ops_settings.model_copy(update={"opt_out_scope": Scope.SENDER})

    async def test_an_opt_out_covers_the_sender(self, actor: Browser, queue: Engine) -> None:
        """That the message was sent to."""
        await actor.post(DECIDE, {"message_sid": "SM1", "is_opt_out": "yes"})

        assert [(Scope.SENDER, SENDER)] == [
            (row.scope, row.scope_value) for row in Suppressions(queue).of(OTHER)
        ]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"message_sid": "SM1"}, 400),
        ({"message_sid": "SM1", "is_opt_out": "perhaps"}, 400),
        ({"message_sid": "SM7", "is_opt_out": "yes"}, 404),
        ({"is_opt_out": "yes"}, 404),
    ],
)
async def test_a_decision_that_is_none(
    fields: dict[str, str], status: int, actor: Browser, queue: Engine
) -> None:
    """Nothing is recorded."""
    assert status == (await actor.post(DECIDE, fields)).status_code
    assert 3 == InboundMessages(queue).pending_reviews().count
    assert [] == actions(queue)


async def test_those_reviewed_can_be_listed(actor: Browser, queue: Engine) -> None:
    """With who has decided; they have no buttons any more."""
    InboundMessages(queue).decide("SM1", is_opt_out=False, by="lee")

    assert "by lee" not in (await actor.get("/opt-outs/reviews")).text
    assert "by lee" in (await actor.get("/opt-outs/reviews?all=yes")).text
    html = (await actor.post(READ, {"message_sid": "SM1"})).text
    assert "by lee" in html
    assert "It is an opt-out" not in html


async def test_the_queue_page_by_page(looker: Browser, sqlite_engine: Engine) -> None:
    """Oldest first, none twice, none left out."""
    for number in range(70):
        receive(sqlite_engine, f"SM{number:03}", InboundKind.REVIEW, hours_ago=100 - number // 2)
    first = (await looker.get("/opt-outs/reviews")).text
    newer = re.search(r'<a href="([^"]+)">Newer</a>', first)
    assert newer
    second = (await looker.get(newer[1])).text

    sids = re.findall(r'name="message_sid" value="(SM\d+)"', first + second)
    assert [f"SM{number:03}" for number in range(70)] == sids
    assert "Newer" not in second


async def test_inbound_messages(looker: Browser, queue: Engine) -> None:
    """The newest first, with masked numbers and links to the people; texts on request."""
    receive(queue, "SM4", InboundKind.HELP, text="HELP", hours_ago=0.1)

    html = (await looker.get("/opt-outs/inbound")).text

    assert ["SM4", "SM3", "SM2", "SM1"] == re.findall(r">(SM\d)<", html)
    assert 4 == html.count('<a href="/opt-outs/person?person=')
    for private in ("third text", DIGITS, SENDER):
        assert private not in html

    shown = await looker.post("/opt-outs/inbound/texts", {"kind": "review"})
    assert "third text" in shown.text
    assert "HELP</td>" not in shown.text
    assert DIGITS not in shown.text
    (action,) = actions(queue)
    assert ("inbound.read", "3 inbound messages", "from SM3 back to SM1") == (
        action.action,
        action.subject,
        action.details,
    )


@pytest.mark.usefixtures("queue")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("kind=review", ["SM3", "SM2", "SM1"]),
        ("kind=stop", []),
        ("pending=yes", []),
        ("since=2999-01-01T00:00", []),
        ("after=SM3", ["SM2", "SM1"]),
        ("after=SM0", []),
    ],
)
async def test_they_are_filtered(query: str, expected: list[str], looker: Browser) -> None:
    """By kind, time, and whether your workflow is not started yet."""
    html = (await looker.get(f"/opt-outs/inbound?{query}")).text

    assert expected == re.findall(r">(SM\d)<", html)


async def test_page_by_page(looker: Browser, sqlite_engine: Engine) -> None:
    """With the same filter, and with texts too; messages of one moment are not lost."""
    for number in range(110):
        receive(sqlite_engine, f"SM{number:03}", InboundKind.OTHER, hours_ago=number // 4)
    receive(sqlite_engine, "SM999", InboundKind.HELP, hours_ago=0)
    seen: list[str] = []
    html = (await looker.get("/opt-outs/inbound?kind=other")).text
    while True:
        seen += re.findall(r">(SM\d+)<", html)
        older = re.search(r'<a href="([^"]+)">Older</a>', html)
        if older is None:
            break
        query = dict(pair.split("=") for pair in older[1].partition("?")[2].split("&amp;"))
        assert "other" == query["kind"]
        html = (await looker.post("/opt-outs/inbound/texts", query)).text
        assert "please stop" in html

    assert sorted(seen) == [f"SM{number:03}" for number in range(110)]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("page", ["/opt-outs/reviews", "/opt-outs/inbound"])
async def test_what_updates_itself_has_no_form(page: str, looker: Browser, queue: Engine) -> None:
    """What somebody types must not be replaced."""
    html = (await looker.get(page)).text

    live = re.search(r'<div id="[a-z]+" hx-get=.*?</div>', html, re.DOTALL)
    assert live
    assert "<form" not in live[0]
    assert queue
