"""Somebody at the operations page: the addresses that their browser shows are searched."""

import re
from html import unescape
from typing import Any, Self

import httpx

from devtools.stack.local import OPS_USER, LocalStack
from ops.web import COOKIE
from tests.leaks.canaries import Canaries, Kind


class Operator:
    """A browser that is signed in; `addresses` are those of every request and every redirect."""

    def __init__(self, stack: LocalStack, canaries: Canaries) -> None:
        self.addresses: list[bytes] = []
        self._stack = stack
        self._canaries = canaries
        self._http = httpx.AsyncClient(
            base_url=stack.ops_url,
            follow_redirects=True,
            trust_env=False,
            timeout=60,
            event_hooks={"response": [self._note]},
        )
        self._csrf = ""

    async def __aenter__(self) -> Self:
        """Sign in."""
        wrong = self._canaries.secret(Kind.WRONG)
        refused = await self._http.post("/sign-in", data={"name": OPS_USER, "password": wrong})
        assert 403 == refused.status_code
        password = self._canaries.secret("page passwords", self._stack.ops_password)
        page = await self._http.post("/sign-in", data={"name": OPS_USER, "password": password})
        assert 200 == page.status_code, page.status_code
        self._canaries.secret("session cookies", self._http.cookies[COOKIE])
        page = await self.get("/audit-log")
        self._csrf = self._canaries.secret("CSRF tokens", hidden(page.text)["csrf_token"])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the browser; the session stays."""
        await self._http.aclose()

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        """Open a page."""
        page = await self._http.get(path, params=parameters)
        assert 200 == page.status_code, (path, page.status_code)
        return page

    async def post(
        self, path: str, fields: dict[str, Any], *, status: int = 200, **options: Any
    ) -> httpx.Response:
        """Send a form."""
        fields = {"csrf_token": self._csrf, **fields}
        page = await self._http.post(path, data=fields, **options)
        assert status == page.status_code, (path, page.status_code, words(page.text))
        return page

    async def _note(self, response: httpx.Response) -> None:
        location = response.headers.get("location", "")
        self.addresses.append(f"{response.request.url} {location}".encode())


def words(page: str) -> str:
    """The page as it is read."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the page, the last of each name."""
    found = re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page)
    return {name: unescape(value) for name, value in found}
