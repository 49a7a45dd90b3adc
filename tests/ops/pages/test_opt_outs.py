"""The list of opt-outs, the search for a person, and recording one."""

import re

import pytest
from sqlalchemy import Engine

from signedfor.consent import Reason, Scope, Source
from signedfor.contract import InboundKind
from signedfor.store.erasure import Erasure
from signedfor.store.rate_limiter import RateLimiter
from signedfor.store.suppressions import Suppressions
from tests.ops.conftest import Browser
from tests.ops.pages.consent import DIGITS, MASKED, actions, opt_out, receive
from tests.workflows.fakes import RECIPIENT, SENDER

OTHER = "+15558675310"
EXAMPLE = 'placeholder="+15558675309"'


def _rows(html: str) -> list[str]:
    body = re.search(r"<tbody>(.*)</tbody>", html, re.DOTALL)
    return re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []


async def test_nothing_yet(looker: Browser) -> None:
    """Before anybody has opted out, the page says so."""
    assert "No opt-outs." in (await looker.get("/opt-outs")).text


async def test_numbers_are_masked(looker: Browser, sqlite_engine: Engine) -> None:
    """The recipient's, and the sender's too; who may only look cannot record any."""
    opt_out(sqlite_engine, scope=Scope.SENDER, scope_value=SENDER)
    opt_out(sqlite_engine, OTHER, reason=Reason.MANUAL)

    html = (await looker.get("/opt-outs")).text.replace(EXAMPLE, "")

    assert ["+*******5310", MASKED] == re.findall(r">(\+\*+\d+)</a>", "".join(_rows(html)))
    assert "sender +1500***0006" in html
    assert "ticket 4711" in html
    assert DIGITS not in html
    assert SENDER not in html
    assert "Record an opt-out" not in html


async def test_a_person_who_was_erased(looker: Browser, sqlite_engine: Engine) -> None:
    """The list says so, and their page shows what still stands."""
    opt_out(sqlite_engine)
    erasure = Erasure(sqlite_engine, RECIPIENT)
    erasure.finish(erasure.find(), by="test")

    html = (await looker.get("/opt-outs")).text
    [link] = re.findall(r'<a href="([^"]+)">\(erased\)</a>', html)
    page = await looker.get(link.replace("&amp;", "&"))

    assert 200 == page.status_code
    assert "(erased)" in page.text
    assert "Opted out" in page.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("reason=manual", ["manual"]),
        ("reason=opted_out", ["marketing", "sender", "import"]),
        ("source=import", ["import"]),
        ("scope=category", ["marketing"]),
        ("scope=sender", ["sender"]),
        ("sender=%2B1500***0006", ["sender"]),
        ("sender=%2B1999***0000", []),
        ("since=2000-01-01T00:00", ["manual", "marketing", "sender", "import"]),
        ("since=2999-01-01T00:00", []),
        ("reason=opted_out&scope=everything", ["import"]),
    ],
)
async def test_the_list_is_filtered(
    query: str, expected: list[str], looker: Browser, sqlite_engine: Engine
) -> None:
    """By reason, source, what it covers, sender and time; the newest come first."""
    RateLimiter(sqlite_engine).reserve(SENDER, 1, is_urgent=False)
    opt_out(sqlite_engine, source=Source.IMPORT, evidence="-import-")
    opt_out(sqlite_engine, scope=Scope.SENDER, scope_value=SENDER, evidence="-sender-")
    opt_out(sqlite_engine, scope=Scope.CATEGORY, scope_value="marketing", evidence="-marketing-")
    opt_out(sqlite_engine, reason=Reason.MANUAL, evidence="-manual-")

    html = (await looker.get(f"/opt-outs?{query}")).text

    assert [f"-{each}-" for each in expected] == re.findall(r"-[a-z]+-(?=</td>)", html)


@pytest.mark.parametrize(
    "query", ["reason=none", "source=x", "scope=x", "before=x", "before=1²", "since=noon"]
)
async def test_a_filter_that_is_none(query: str, looker: Browser) -> None:
    """It is refused in a sentence."""
    assert 400 == (await looker.get(f"/opt-outs?{query}")).status_code


async def test_page_by_page(looker: Browser, sqlite_engine: Engine) -> None:
    """With the same filter; nobody is shown twice or left out."""
    for number in range(120):
        opt_out(sqlite_engine, f"+1555867{number:04}", reason=Reason.MANUAL, evidence=f"-{number}-")
    seen: list[str] = []
    path: str | None = "/opt-outs?reason=manual"

    while path is not None:
        html = (await looker.get(path)).text
        seen += re.findall(r"-\d+-(?=</td>)", html)
        older = re.search(r'<a href="([^"]+)">Older</a>', html)
        path = older[1].replace("&amp;", "&") if older else None
        assert path is None or "reason=manual" in path

    assert [f"-{number}-" for number in reversed(range(120))] == seen


@pytest.mark.parametrize("typed", [RECIPIENT, "+1 (555) 867-5309", f"whatsapp:{RECIPIENT}"])
async def test_a_typed_number_leads_to_the_person(
    typed: str, looker: Browser, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in no address, page, log or table afterwards, even if nothing was on record."""
    caplog.set_level("DEBUG")
    answer = await looker.post("/opt-outs/search", {"recipient": typed})

    assert 303 == answer.status_code
    location = answer.headers["location"]
    html = (await looker.get(location)).text
    assert MASKED in html
    assert "Nothing was ever recorded" in html
    with sqlite_engine.connect() as connection:
        dump = "\n".join(connection.connection.dbapi_connection.iterdump())  # type: ignore[union-attr]
    for place in (location, html, caplog.text, dump):
        assert DIGITS not in place
        assert "867-5309" not in place


async def test_the_search_is_no_get(looker: Browser) -> None:
    """A number in an address would be in histories and logs."""
    assert 405 == (await looker.get(f"/opt-outs/search?recipient={RECIPIENT}")).status_code


async def test_a_number_that_is_none(looker: Browser) -> None:
    """The page says what a number is, and does not repeat what was typed."""
    answer = await looker.post("/opt-outs/search", {"recipient": "0555-867-5309"})

    assert 400 == answer.status_code
    assert "Phone number: must begin with a plus" in answer.text
    assert "0555" not in answer.text


async def test_an_opt_out_is_recorded(actor: Browser, sqlite_engine: Engine) -> None:
    """With evidence and the person's name; the audit log has no number."""
    answer = await actor.post(
        "/opt-outs/add", {"recipient": "+1 555 867 5309", "evidence": "phone call, ticket 4711"}
    )

    assert 303 == answer.status_code
    assert DIGITS not in answer.headers["location"]
    shown = (await actor.get(answer.headers["location"])).text
    assert "Recorded." in shown
    assert "Opted out, for all messages: phone call, ticket 4711." in shown
    assert "by act" in shown
    assert Suppressions(sqlite_engine).find(RECIPIENT, sender=SENDER, category=None) is not None
    (action,) = actions(sqlite_engine)
    assert ("act", "opt-out.add", MASKED, "phone call, ticket 4711") == (
        action.who,
        action.action,
        action.subject,
        action.why,
    )
    assert re.fullmatch(r"person [0-9a-f]{32}; opted_out for everything", action.details or "")


@pytest.mark.parametrize(
    ("fields", "scope", "value"),
    [
        ({"sender": SENDER}, Scope.SENDER, SENDER),
        ({"category": "marketing"}, Scope.CATEGORY, "marketing"),
        ({}, Scope.EVERYTHING, ""),
    ],
)
async def test_what_it_covers(
    fields: dict[str, str], scope: Scope, value: str, actor: Browser, sqlite_engine: Engine
) -> None:
    """Everything, a sender or a category; of the person in a link too."""
    link = (await actor.post("/opt-outs/search", {"recipient": RECIPIENT})).headers["location"]
    token = link.partition("person=")[2]

    await actor.post("/opt-outs/add", {"person": token, "reason": "manual", **fields})

    (row,) = Suppressions(sqlite_engine).list_()
    assert (RECIPIENT, Reason.MANUAL, Source.OPERATOR, scope, value) == (
        row.recipient,
        row.reason,
        row.source,
        row.scope,
        row.scope_value,
    )
    assert SENDER not in (actions(sqlite_engine)[0].details or "")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"recipient": "5309"}, "Phone number: "),
        ({"sender": "+1"}, "Only from: "),
        ({"category": "a b"}, "Only of the category: "),
        ({"sender": SENDER, "category": "x"}, "Only of the category: does not go with sender"),
        ({"reason": "review"}, "What it is: review is recorded"),
        ({"evidence": "she is 555 867-5309"}, "Evidence: must not contain the person"),
        ({"evidence": "x" * 501}, "Evidence: at most 500"),
        ({"evidence": "a\tb"}, "Evidence: must not contain line breaks"),
    ],
)
async def test_a_form_with_a_mistake(
    fields: dict[str, str], problem: str, actor: Browser, sqlite_engine: Engine
) -> None:
    """Nothing is recorded, not even the action, and what was typed is still there."""
    answer = await actor.post(
        "/opt-outs/add", {"recipient": RECIPIENT, "evidence": "case 12", **fields}
    )

    assert 400 == answer.status_code
    assert problem in answer.text
    assert 'name="recipient"' in answer.text
    assert ("case 12" in answer.text) == ("evidence" not in fields)
    assert [] == Suppressions(sqlite_engine).list_()
    assert [] == actions(sqlite_engine)


async def test_what_is_recorded_already(actor: Browser, sqlite_engine: Engine) -> None:
    """The page says that nothing changed."""
    opt_out(sqlite_engine)

    answer = await actor.post("/opt-outs/add", {"recipient": RECIPIENT})

    assert "Already+recorded" in answer.headers["location"]


async def test_unread_reviews_are_counted(looker: Browser, sqlite_engine: Engine) -> None:
    """On every page of this part."""
    receive(sqlite_engine, "SM1", InboundKind.REVIEW)
    receive(sqlite_engine, "SM2", InboundKind.REVIEW)

    for path in ("/opt-outs", "/opt-outs/reviews", "/opt-outs/inbound"):
        assert '<strong class="badge warning">2</strong>' in (await looker.get(path)).text
