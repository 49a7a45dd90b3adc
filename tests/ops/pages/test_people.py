"""The page of a person."""

import re

import pytest
from sqlalchemy import Engine

from ops.person_links import PersonLinks
from ops.settings import OpsSettings
from signedfor.consent import OptIn, Reason, Scope, Source
from signedfor.contract import InboundKind, MessageRequest
from signedfor.store.held_back_messages import HeldBackMessages
from signedfor.store.opt_ins import OptIns
from signedfor.store.suppressions import Suppressions
from tests.ops.conftest import Browser
from tests.ops.pages.consent import DIGITS, MASKED, actions, opt_out, receive
from tests.workflows.fakes import RECIPIENT, SENDER

WHATSAPP = f"whatsapp:{RECIPIENT}"
TEXT = "leave me alone"


@pytest.fixture
def ops_settings(ops_settings: OpsSettings) -> OpsSettings:
    """Marketing is sent only to those who have opted in."""
    return ops_settings.model_copy(update={"require_opt_in": ("marketing", "news")})


@pytest.fixture
def token(sqlite_engine: Engine) -> str:
    """The person in a link."""
    return PersonLinks(sqlite_engine).token(RECIPIENT)


@pytest.fixture
def link(token: str) -> str:
    """The person's page."""
    return f"/opt-outs/person?person={token}"


async def test_all_that_is_on_record(looker: Browser, link: str, sqlite_engine: Engine) -> None:
    """What stands on any channel, opt-ins, what was not sent, messages, and all of it in time."""
    receive(sqlite_engine, "SM1", InboundKind.STOP, from_=WHATSAPP, text=TEXT)
    opt_out(
        sqlite_engine,
        WHATSAPP,
        reason=Reason.UNDELIVERABLE,
        source=Source.TWILIO_CODE,
        evidence="63024",
    )
    OptIns(sqlite_engine).record_all(
        [OptIn(recipient=RECIPIENT, category="news", source="web-form", evidence="form 88")],
        by="kim",
    )
    message = MessageRequest.model_validate({"to": RECIPIENT, "from": SENDER, "body": TEXT})
    HeldBackMessages(sqlite_engine).record(
        "order-1", message, sender=SENDER, because=Suppressions(sqlite_engine).of(RECIPIENT)[0]
    )

    html = (await looker.get(link)).text

    assert "Opted out, for all messages: their message SM1 to +1500***0006." in html
    assert "Recorded as unreachable, for all messages by whatsapp: Twilio reported 63024." in html
    assert "Opted in to news messages: by web-form" in html
    assert "Message order-1 was not sent, because they had opted out (SM1)." in html
    assert '<a class="id" href="/message?id=order-1">' in html
    assert "Not opted in, so these are not sent: marketing." in html
    assert 2 == html.count('<th scope="row" data-label="Reason">')
    assert "SM1</th>" in html
    for private in (DIGITS, TEXT, SENDER):
        assert private not in html


async def test_other_people_are_not_shown(
    looker: Browser, link: str, sqlite_engine: Engine
) -> None:
    """Even if their number ends alike."""
    opt_out(sqlite_engine, "+4915118675309", evidence="another's")
    receive(sqlite_engine, "SM1", InboundKind.STOP, from_="+4915118675309")

    html = (await looker.get(link)).text

    assert "Nothing was ever recorded" in html
    assert "another" not in html
    assert "SM1" not in html


async def test_what_has_ended_does_not_stand(
    looker: Browser, link: str, sqlite_engine: Engine
) -> None:
    """It is in the history only."""
    opt_out(sqlite_engine, reason=Reason.UNDELIVERABLE, source=Source.TWILIO_CODE, ended=True)

    html = (await looker.get(link)).text

    assert "Nothing: messages may be sent." in html
    assert "1 more ended by itself" in html
    assert "Recorded as unreachable" in html


async def test_links_lead_to_messages_and_the_audit_log(
    administrator: Browser, link: str, token: str, sqlite_engine: Engine
) -> None:
    """The log shows what was done to this person, and not to one whose number ends alike."""
    other = PersonLinks(sqlite_engine).token("+2555*675309".replace("*", "8"))
    await administrator.post("/opt-outs/person/reveal", {"person": token, "why": "asked for it"})
    await administrator.post("/opt-outs/person/reveal", {"person": other, "why": "another one"})

    html = (await administrator.get(link)).text
    found = re.search(r'href="(/audit-log[^"]+)"', html)
    assert found
    log = (await administrator.get(found[1].replace("&amp;", "&"))).text

    assert PersonLinks(sqlite_engine).reference(RECIPIENT) in html
    assert "asked for it" in log
    assert "another one" not in log


async def test_the_number_is_shown_once(
    looker: Browser, link: str, token: str, sqlite_engine: Engine
) -> None:
    """On request, with the texts; the audit log says who has seen it and why, without it."""
    receive(sqlite_engine, "SM1", InboundKind.STOP, text=TEXT)

    answer = await looker.post("/opt-outs/person/reveal", {"person": token, "why": "she called"})

    assert 200 == answer.status_code
    assert RECIPIENT in answer.text
    assert TEXT in answer.text
    assert SENDER in answer.text
    assert "no-store" == answer.headers["cache-control"]
    assert DIGITS not in (await looker.get(link)).text
    (action,) = actions(sqlite_engine)
    assert ("look", "person.unmask", MASKED, "she called") == (
        action.who,
        action.action,
        action.subject,
        action.why,
    )
    assert f"person {PersonLinks(sqlite_engine).reference(RECIPIENT)}" == action.details


async def test_a_reason_has_no_number(looker: Browser, token: str, sqlite_engine: Engine) -> None:
    """Everybody can read the audit log: then nothing is shown or recorded."""
    answer = await looker.post("/opt-outs/person/reveal", {"person": token, "why": DIGITS})

    assert (400, []) == (answer.status_code, actions(sqlite_engine))
    assert DIGITS not in answer.text


@pytest.mark.parametrize("token_of_nobody", ["", "x", RECIPIENT, "A" * 48])
async def test_a_link_that_is_none(token_of_nobody: str, administrator: Browser) -> None:
    """Nobody gets to a person by trying, and a number is no link."""
    for path in ("/opt-outs/person", "/opt-outs/remove", "/opt-outs/add"):
        query = {"person": token_of_nobody or "x", "reason": "manual"}
        assert 404 == (await administrator.get(path, params=query)).status_code


async def test_what_would_be_lifted_is_shown_first(
    administrator: Browser, link: str, token: str, sqlite_engine: Engine
) -> None:
    """For the one reason; nothing is lifted yet."""
    opt_out(sqlite_engine, evidence="first one")
    opt_out(sqlite_engine, scope=Scope.CATEGORY, scope_value="marketing", evidence="second one")
    opt_out(sqlite_engine, reason=Reason.MANUAL, evidence="a block")
    assert "Lift: opted out" in (await administrator.get(link)).text

    html = (await administrator.get(f"/opt-outs/remove?person={token}&reason=opted_out")).text

    assert "first one" in html
    assert "second one" in html
    assert "a block" not in html
    assert "only START helps" in html
    assert DIGITS not in html
    assert 3 == len(Suppressions(sqlite_engine).of(RECIPIENT))


def _fields(sqlite_engine: Engine, token: str, reason: Reason, why: str) -> dict[str, object]:
    rows = [row for row in Suppressions(sqlite_engine).of(RECIPIENT) if row.reason is reason]
    return {
        "person": token,
        "reason": reason.value,
        "id": [str(row.id) for row in rows],
        "why": why,
    }


async def test_it_is_lifted_with_a_reason(
    administrator: Browser, link: str, token: str, sqlite_engine: Engine
) -> None:
    """On every channel; history and audit log say who and why."""
    opt_out(sqlite_engine, reason=Reason.MANUAL)
    opt_out(sqlite_engine, WHATSAPP, reason=Reason.MANUAL)
    opt_out(sqlite_engine, evidence="stays")

    answer = await administrator.post(
        "/opt-outs/remove", _fields(sqlite_engine, token, Reason.MANUAL, "complaint settled")
    )

    assert "Lifted%3A+2." in answer.headers["location"]
    assert ["stays"] == [row.evidence for row in Suppressions(sqlite_engine).of(RECIPIENT)]
    html = (await administrator.get(link)).text
    assert "No longer blocked by an operator, for all messages: complaint settled." in html
    assert "by administer" in html
    (action,) = actions(sqlite_engine)
    assert ("opt-out.remove", MASKED, "complaint settled") == (
        action.action,
        action.subject,
        action.why,
    )
    assert (action.details or "").endswith("; manual for everything, everything")


async def test_only_what_was_shown_is_lifted(
    administrator: Browser, token: str, sqlite_engine: Engine
) -> None:
    """What was recorded since then stays, and so does what was not chosen."""
    opt_out(sqlite_engine, evidence="shown")
    fields = _fields(sqlite_engine, token, Reason.OPTED_OUT, "by mistake")
    opt_out(sqlite_engine, source=Source.INBOUND, evidence="meanwhile")

    await administrator.post("/opt-outs/remove", fields)

    assert ["meanwhile"] == [row.evidence for row in Suppressions(sqlite_engine).of(RECIPIENT)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"why": ""}, "Reason: must not be empty"),
        ({"why": f"she is {DIGITS[1:]}"}, "Reason: must not contain the person"),
        ({"why": "x" * 501}, "Reason: at most 500"),
        ({"id": []}, "choose what to lift"),
        ({"id": ["999", "x"]}, "choose what to lift"),
    ],
)
async def test_lifting_needs_a_reason_and_a_choice(
    change: dict[str, object],
    problem: str,
    administrator: Browser,
    token: str,
    sqlite_engine: Engine,
) -> None:
    """Otherwise nothing is lifted or recorded, and the form is shown again."""
    opt_out(sqlite_engine)
    fields = _fields(sqlite_engine, token, Reason.OPTED_OUT, "by mistake")

    answer = await administrator.post("/opt-outs/remove", {**fields, **change})

    assert (400, True) == (answer.status_code, problem in answer.text)
    assert 1 == len(Suppressions(sqlite_engine).of(RECIPIENT))
    assert [] == actions(sqlite_engine)


async def test_nobody_lifts_what_is_anothers(
    administrator: Browser, token: str, sqlite_engine: Engine
) -> None:
    """An id in the form is not enough."""
    opt_out(sqlite_engine)
    opt_out(sqlite_engine, "+4915112345678", evidence="another's")
    (other,) = Suppressions(sqlite_engine).of("+4915112345678")
    fields = _fields(sqlite_engine, token, Reason.OPTED_OUT, "by mistake")

    await administrator.post("/opt-outs/remove", {**fields, "id": [str(other.id)]})

    assert 1 == len(Suppressions(sqlite_engine).of("+4915112345678"))


async def test_nothing_to_lift(administrator: Browser, link: str, token: str) -> None:
    """The person's page says so."""
    answer = await administrator.get(f"/opt-outs/remove?person={token}&reason=manual")

    assert 303 == answer.status_code
    assert answer.headers["location"].startswith(link)
    assert 400 == (await administrator.get(f"/opt-outs/remove?person={token}")).status_code


async def test_who_may_look_sees_no_buttons(
    looker: Browser, link: str, sqlite_engine: Engine
) -> None:
    """Neither recording nor lifting."""
    opt_out(sqlite_engine)

    html = (await looker.get(link)).text

    assert "Lift:" not in html
    assert "Record an opt-out" not in html
    assert "Show the number" in html


async def test_a_form_needs_its_role(actor: Browser, token: str, sqlite_engine: Engine) -> None:
    """Who may act cannot lift."""
    opt_out(sqlite_engine)

    path = f"/opt-outs/remove?person={token}&reason=opted_out"
    assert 403 == (await actor.get(path)).status_code
