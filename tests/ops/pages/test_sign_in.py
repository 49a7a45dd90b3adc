"""Signing in and out."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import ClassVar

import httpx
import pytest
from sqlalchemy import Engine, update

from ops.access import Role
from ops.settings import OpsSettings
from signedfor.store.audit_log import AuditLog
from signedfor.store.database import transaction
from signedfor.store.tables import ops_sessions
from tests.ops.conftest import PASSWORD, Browser


async def test_after_signing_in_the_page_that_was_asked_for_is_shown(stranger: Browser) -> None:
    """Its filters too."""
    asked = await stranger.get("/audit-log?who=kim")
    form = await stranger.get(asked.headers["location"])
    assert 'value="/audit-log?who=kim"' in form.text

    answer = await stranger.http.post(
        "/sign-in", data={"name": "look", "password": PASSWORD, "next": "/audit-log?who=kim"}
    )

    assert (303, "/audit-log?who=kim") == (answer.status_code, answer.headers["location"])
    assert 200 == (await stranger.get("/audit-log")).status_code


@pytest.mark.parametrize(
    "target", ["https://attacker.example/", "//attacker.example", "/\\attacker.example", "x", ""]
)
async def test_signing_in_leads_nowhere_else(target: str, stranger: Browser) -> None:
    """A link to the form cannot send people to another site."""
    fields = {"name": "look", "password": PASSWORD, "next": target}

    answer = await stranger.http.post("/sign-in", data=fields)

    assert "/" == answer.headers["location"]


async def test_a_wrong_password(stranger: Browser) -> None:
    """Says no more than that; after five, even the right one has to wait."""
    for _ in range(5):
        answer = await stranger.sign_in("act", "wrong")
        assert (403, True) == (answer.status_code, "Name or password is wrong" in answer.text)

    assert 429 == (await stranger.sign_in("act")).status_code
    assert 303 == (await stranger.sign_in("look")).status_code


async def test_signing_in_is_recorded(stranger: Browser, sqlite_engine: Engine) -> None:
    """With name and role."""
    await stranger.sign_in("act")

    (entry,) = AuditLog(sqlite_engine).entries()
    assert ("act", "act", "sign-in") == (entry.who, entry.role, entry.action)


async def test_the_cookie_is_for_the_server_only(stranger: Browser) -> None:
    """No script reads it, no other site's form carries it; the database has only its hash."""
    cookie = (await stranger.sign_in("look")).headers["set-cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


async def test_after_signing_out_the_session_is_over(actor: Browser) -> None:
    """Also for who has kept its cookie."""
    cookie = actor.http.cookies["signedfor_ops"]
    await actor.post("/sign-out")
    actor.http.cookies.set("signedfor_ops", cookie)

    assert 303 == (await actor.get("/audit-log")).status_code


async def test_a_session_ends_by_itself(actor: Browser, sqlite_engine: Engine) -> None:
    """After OPS_SESSION_HOURS."""
    with transaction(sqlite_engine) as connection:
        connection.execute(
            update(ops_sessions).values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )

    assert 303 == (await actor.get("/audit-log")).status_code


async def test_signing_in_begins_a_new_session(looker: Browser) -> None:
    """The earlier one ends."""
    earlier = looker.http.cookies["signedfor_ops"]
    await looker.sign_in("act")
    assert earlier != looker.http.cookies["signedfor_ops"]
    looker.http.cookies.set("signedfor_ops", earlier)

    assert 303 == (await looker.get("/audit-log")).status_code


class TestBehindAProxy:
    """A proxy has signed people in."""

    KIM: ClassVar = {"X-Forwarded-Email": "kim@example.org", "X-Forwarded-Groups": "on-call"}

    @pytest.fixture
    def ops_settings(self, ops_settings: OpsSettings) -> OpsSettings:
        """The client's address is the proxy's."""
        return ops_settings.model_copy(
            update={
                "ops_trusted_proxies": (ip_network("127.0.0.1"),),
                "ops_group_roles": {"on-call": Role.ACT},
                "ops_base_url": "https://ops.example",
            }
        )

    async def test_the_page_is_shown_at_once(self, stranger: Browser) -> None:
        """With the name and role that the proxy says; cookies are sent by https only."""
        answer = await stranger.get("/audit-log", headers=self.KIM)

        assert 200 == answer.status_code
        assert "kim@example.org" in answer.text
        assert "(act)" in answer.text
        assert "Secure" in answer.headers["set-cookie"]

    async def test_actions_need_the_token_all_the_same(self, stranger: Browser) -> None:
        """The proxy's sign-in is sent with forged requests too."""
        answer = await stranger.http.post("/senders/pause", data={}, headers=self.KIM)

        assert 403 == answer.status_code

    async def test_another_person_does_not_get_the_session(self, stranger: Browser) -> None:
        """Of whoever used the browser before."""
        first = await stranger.get("/audit-log", headers=self.KIM)
        stranger.http.cookies = httpx.Cookies({"signedfor_ops": first.cookies["signedfor_ops"]})
        second = await stranger.get(
            "/audit-log", headers=self.KIM | {"X-Forwarded-Email": "lee@example.org"}
        )

        assert "lee@example.org" in second.text
        assert first.cookies["signedfor_ops"] != second.cookies["signedfor_ops"]
