"""No page without a session, no action without a role and a token."""

import logging

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops import app as app_module
from ops.access import Role
from ops.pages import PAGES
from signedfor.logging import RateLimitedLogger
from tests.ops.conftest import Browser

ROUTES = [(method, path, role) for pages in PAGES for method, path, role, _ in pages.registered]
ACTIONS = [(path, role) for method, path, role in ROUTES if method == "POST"]
PATHS = [path for path, _ in ACTIONS]


def _filled(path: str) -> str:
    return path.replace("{message_id}", "m1")


def test_every_route_is_tried_here(app: Starlette) -> None:
    """Besides the sign-in, the health check and static files there are only registered routes."""
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert routes - {(method, path) for method, path, _ in ROUTES} == {
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("GET", "/healthz"),
    }


@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in ROUTES])
async def test_a_stranger_reaches_nothing(method: str, path: str, stranger: Browser) -> None:
    """A page leads to the sign-in, an action is refused."""
    answer = await stranger.http.request(method, _filled(path))

    if method == "GET":
        assert 303 == answer.status_code
        assert answer.headers["location"].startswith("/sign-in?next=")
    else:
        assert 401 == answer.status_code


@pytest.mark.parametrize(("path", "role"), ACTIONS)
async def test_an_action_needs_its_role(path: str, role: Role, person: Browser) -> None:
    """Without the role it is refused, whatever the form says."""
    shown = (await person.get("/audit-log")).text
    me = next(each for each in Role if f"({each})" in shown)

    answer = await person.post(_filled(path))

    assert (403 == answer.status_code) == (not me.includes(role))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", [None, "", "wrong", "ö"])
async def test_an_action_needs_the_token(
    path: str, token: str | None, administrator: Browser
) -> None:
    """Another site can make a browser send a form, but does not know the token."""
    fields = {} if token is None else {"csrf_token": token}

    answer = await administrator.http.post(_filled(path), data=fields)

    assert 403 == answer.status_code
    assert "not from your session" in answer.text


@pytest.mark.parametrize("path", PATHS)
async def test_an_action_from_another_site_is_refused(path: str, administrator: Browser) -> None:
    """The browser says so, even if the other site knew the token."""
    answer = await administrator.post(_filled(path), headers={"Sec-Fetch-Site": "cross-site"})

    assert 403 == answer.status_code
    assert "Another site" in answer.text


async def test_the_token_of_another_session_is_refused(administrator: Browser) -> None:
    """Each session has its own."""
    earlier = await administrator.token()
    await administrator.post("/sign-out")
    await administrator.sign_in(Role.ADMINISTER)

    assert earlier != await administrator.token()
    answer = await administrator.http.post("/sign-out", data={"csrf_token": earlier})
    assert 403 == answer.status_code


async def test_every_answer_has_the_security_headers(person: Browser) -> None:
    """Nothing is loaded from elsewhere, nothing inline is run, no other site frames it."""
    for path in ("/senders", "/sign-in", "/nowhere", "/static/ops.css", "/healthz"):
        headers = (await person.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "nosniff" == headers["x-content-type-options"]


async def test_pages_are_not_stored(person: Browser) -> None:
    """Neither by the browser nor by a proxy; static files may be."""
    assert "no-store" == (await person.get("/senders")).headers["cache-control"]
    assert "no-store" not in (await person.get("/static/ops.css")).headers.get("cache-control", "")


async def test_another_name_is_refused(stranger: Browser) -> None:
    """A name that leads to this address is not enough to read the page through it."""
    answer = await stranger.get("/sign-in", headers={"Host": "attacker.example"})

    assert 400 == answer.status_code


async def test_a_page_that_does_not_exist(person: Browser) -> None:
    """It is 404, with a way back."""
    answer = await person.get("/nowhere")

    assert 404 == answer.status_code
    assert 'href="/"' in answer.text


@pytest.mark.parametrize("path", ["/sign-in", "/senders/pause"])
async def test_a_form_has_a_limit(path: str, administrator: Browser) -> None:
    """Whoever sends it: what is larger is not kept, and a file is none of its fields."""
    large = await administrator.post(path, {f"field{n}": "x" * 60_000 for n in range(20)})
    file = await administrator.post(path, files={"file": ("a.csv", b"to", "text/csv")})

    assert [413, 400] == [large.status_code, file.status_code]
    assert "too large" in large.text


async def test_a_page_says_what_was_done(actor: Browser) -> None:
    """After an action, and not again when its filter changes."""
    answer = await actor.post("/opt-outs/add", {"recipient": "+15558675309", "evidence": "call"})

    shown = await actor.get(answer.headers["location"])

    assert '<p class="done" role="status">Recorded.</p>' in shown.text


async def test_a_link_cannot_say_that_something_was_done(actor: Browser) -> None:
    """Whoever writes the link could send operators anywhere with a sentence of ours."""
    answer = await actor.post("/opt-outs/add", {"recipient": "+15558675309", "evidence": "call"})
    location = answer.headers["location"].replace("Recorded.", "Call+this+number.")

    for path in (location, "/opt-outs?done=Hello", "/opt-outs?done=Hello&seal=%C3%B6"):
        shown = await actor.get(path)
        assert 200 == shown.status_code
        assert 'class="done"' not in shown.text


@pytest.mark.parametrize("path", ["/dead-letters/jobs", "/message?id=m1"])
async def test_a_temporal_that_was_never_there_is_said(
    path: str,
    administrator: Browser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A page that needs it answers 503, also since the start of the process; the log says why."""
    monkeypatch.setattr(app_module, "_warnings", RateLimitedLogger(logging.getLogger("ops.app")))

    answer = await administrator.get(path)

    assert 503 == answer.status_code
    assert "Temporal does not answer. Try again in a moment." in answer.text
    where = path.partition("?")[0]
    assert f"{where} was not shown: Temporal: no connection yet" in caplog.messages


@pytest.mark.parametrize(
    ("referer", "leads_back"),
    [
        ("http://127.0.0.1/senders?range=24+h", True),
        ("http://127.0.0.1/nowhere", False),
        ("http://elsewhere.example/senders", False),
        ("", False),
    ],
)
async def test_an_error_leads_back_to_our_own_page(
    referer: str, leads_back: bool, administrator: Browser
) -> None:
    """It says in words what it is; what another site links to is no way back."""
    answer = await administrator.get("/nowhere", headers={"Referer": referer})

    assert 404 == answer.status_code
    assert "<h1>Not found</h1>" in answer.text
    assert ('href="/senders?range=24+h"' in answer.text) == leads_back
    assert ("Back to the page before" in answer.text) == leads_back


async def test_a_defect_is_500(app: Starlette, administrator: Browser) -> None:
    """Without its text, even if it is a RuntimeError like the one of a lazy client."""

    async def broken(_request: Request) -> Response:
        raise RuntimeError("secret")

    app.router.routes.insert(0, Route("/broken", broken))

    answer = await administrator.get("/broken")

    assert 500 == answer.status_code
    assert "secret" not in answer.text
