"""Signing in with a password, and signing out."""

from collections import defaultdict, deque
from collections.abc import Callable
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

import anyio
from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ops.access import Role, User
from ops.web import (
    COOKIE,
    SIGN_IN_PATH,
    TEMPLATES,
    Page,
    Pages,
    Services,
    check_site,
    identify,
    read_form,
    set_cookie,
)

pages = Pages()
_MAX_FAILURES: Final = 5
_FAILURE_SECONDS: Final = 300.0
_MAX_NAMES: Final = 10_000


@pages.post("/sign-out", role=Role.LOOK)
async def sign_out(page: Page) -> Response:
    """End the session."""
    token = page.request.cookies.get(COOKIE)
    if token is not None:
        await to_thread.run_sync(page.services.sessions.end, token)
    response = RedirectResponse(SIGN_IN_PATH, 303)
    response.delete_cookie(COOKIE)
    return response


class SignIn:
    """The form for name and password; after five failures a name has to wait."""

    def __init__(self, services: Services, *, clock: Callable[[], float] = monotonic) -> None:
        self._services = services
        self._failures = _Failures(clock)
        # Each check takes a processor and 64 MB for a moment.
        self._checking = anyio.CapacityLimiter(1)

    async def form(self, request: Request) -> Response:
        """Show the form, unless the person has signed in already."""
        if await identify(request, self._services) is not None:
            return RedirectResponse(_local_path(request.query_params.get("next")), 303)
        return self._form(request.query_params.get("next", "/"))

    async def submit(self, request: Request) -> Response:
        """Check the password and begin a session."""
        check_site(request)
        fields = await read_form(request)
        name, password = (str(fields.get(each) or "") for each in ("name", "password"))
        target = str(fields.get("next") or "/")
        if self._failures.are_too_many(name):
            return self._form(target, "Too many attempts. Try again in five minutes.", 429)
        user = await to_thread.run_sync(
            self._services.users.check, name, password, limiter=self._checking
        )
        if user is None:
            self._failures.add(name)
            return self._form(target, "Name or password is wrong.", 403)
        return await self._begin(request, user, target)

    async def _begin(self, request: Request, user: User, target: str) -> Response:
        earlier = request.cookies.get(COOKIE)
        if earlier is not None:
            await to_thread.run_sync(self._services.sessions.end, earlier)
        token, session = await to_thread.run_sync(self._services.sessions.begin, user.name)
        page = Page(request, self._services, user, session)
        await page.record("sign-in")
        response = RedirectResponse(_local_path(target), 303)
        set_cookie(response, token, self._services)
        return response

    def _form(self, target: str, problem: str | None = None, status_code: int = 200) -> Response:
        text = TEMPLATES.get_template("sign_in.html").render(
            target=_local_path(target),
            problem=problem,
            has_passwords=self._services.settings.ops_users_file is not None,
            has_no_users=self._services.users.are_none,
        )
        return HTMLResponse(text, status_code)


def _local_path(target: str | None) -> str:
    """Where to go next: a path of this page only."""
    try:
        parts = urlsplit(target or "/")
    except ValueError:
        return "/"
    if parts.scheme or parts.netloc or not parts.path.startswith("/") or "\\" in parts.path:
        return "/"
    return parts._replace(fragment="").geturl()


class _Failures:
    """The recent failures of each name."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._times: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_MAX_FAILURES))

    def add(self, name: str) -> None:
        if len(self._times) >= _MAX_NAMES:
            self._times.clear()
        self._times[name].append(self._clock())

    def are_too_many(self, name: str) -> bool:
        times = self._times.get(name)
        return (
            times is not None
            and len(times) == _MAX_FAILURES
            and self._clock() - times[0] < _FAILURE_SECONDS
        )
