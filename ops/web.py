"""Routes that cannot be reached without a session, a role and a token against forged requests."""

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from anyio import to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlalchemy import Engine
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive
from temporalio.client import Client

from ops.access import ProxyUsers, Role, User, Users
from ops.checker import Checker
from ops.formats import FILTERS
from ops.person_links import PersonLinks
from ops.settings import OpsSettings
from signedfor.masks import check_no_number
from signedfor.store.audit_log import AuditLog
from signedfor.store.ops_sessions import OpsSessions, StoredSession

SIGN_IN_PATH: Final = "/sign-in"
COOKIE: Final = "signedfor_ops"
CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "X-CSRF-Token"
_MAX_FIELDS: Final = 100
_MAX_DIGITS: Final = 18
_MAX_FIELD_BYTES: Final = 65_536
_MAX_FORM_BYTES: Final = 1 << 20
"""Of all fields together."""
_MEGABYTE: Final = 1_000_000
_MAX_DISCARDED: Final = 10
"""How many times the limit is read, and not stored, so that a browser shows why it is refused."""
_SAFE_SITES: Final = frozenset({"same-origin", "none"})
"""What browsers say in Sec-Fetch-Site of requests that no other site has caused."""


@dataclass(frozen=True)
class Services:
    """What the pages work with."""

    settings: OpsSettings
    engine: Engine
    client: Client
    users: Users
    proxy: ProxyUsers
    sessions: OpsSessions
    audit_log: AuditLog
    person_links: PersonLinks
    checker: Checker


@dataclass
class Page:
    """One request of a person who may make it."""

    request: Request
    services: Services
    user: User
    session: StoredSession
    form: FormData = field(default_factory=FormData)
    """The fields of a POST."""

    def text(self, name: str, default: str = "") -> str:
        """A field of the form, or else of the query, without surrounding spaces.

        Raises:
            HTTPException: 400 if it has a NUL character, which PostgreSQL cannot compare.
        """
        value = self.form.get(name) or self.request.query_params.get(name)
        if not isinstance(value, str):
            return default
        if "\0" in value:
            raise HTTPException(400, f"The field {name} has a NUL character.")
        return value.strip()

    @property
    def is_live(self) -> bool:
        """Whether the page updates itself."""
        return self.request.query_params.get("updates") != "off"

    @property
    def url(self) -> str:
        """This page's own path and query."""
        return self.url_with()

    def url_with(self, **changes: object) -> str:
        """This page with other values in its query; None removes one."""
        old = {**self.request.query_params, "done": None, "seal": None}
        query = {name: value for name, value in {**old, **changes}.items() if value is not None}
        return self.request.url.path + (f"?{urlencode(query)}" if query else "")

    def is_at(self, path: str) -> bool:
        """Whether this is the page at `path`, or one below it."""
        here = self.request.url.path
        if here == path.removesuffix("s"):  # one of them
            return True
        return here == path or (path != "/" and here.startswith(path + "/"))

    def can(self, role: str) -> bool:
        """Whether the person has this role."""
        return self.user.role.includes(Role(role))

    def render(self, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
        """The page of a template."""
        text = TEMPLATES.get_template(template).render(page=self, user=self.user, **context)
        return HTMLResponse(text, status_code)

    def redirect(self, path: str, *, done: str | None = None) -> Response:
        """See another page next, which says what was done."""
        if done is not None:
            said = urlencode({"done": done, "seal": self._seal(done)})
            path = f"{path}{'&' if '?' in path else '?'}{said}"
        return RedirectResponse(path, 303)

    @property
    def done(self) -> str:
        """What the action before this page did; empty if that is not what we said."""
        said = self.request.query_params.get("done", "")
        return said if _is_same(self.request.query_params.get("seal"), self._seal(said)) else ""

    def _seal(self, sentence: str) -> str:
        """Shows that the sentence is ours: a link of a stranger's could have any."""
        key = self.session.csrf_token.encode()
        return hmac.digest(key, sentence.encode(), "sha256").hex()[:32]

    def number(self, name: str) -> int | None:
        """The number of a row, in a field; None if it is empty.

        Raises:
            HTTPException: 400 if it is none that the database could have.
        """
        text = self.text(name)
        if text and not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
            raise HTTPException(400, f"{name} must be the number of a row.")
        return int(text) if text else None

    def moment(self, name: str) -> datetime | None:
        """A time in UTC of a field such as a browser's `datetime-local`; None if it is empty.

        Raises:
            HTTPException: 400 if it is no time.
        """
        text = self.text(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
            return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        except (ValueError, OverflowError):  # the latter: in UTC it is before all years, or after
            raise HTTPException(400, f"{name} must be a time such as 2026-11-29T12:00.") from None

    async def record(
        self,
        action: str,
        subject: str = "",
        *,
        recipient: str | None = None,
        why: str | None = None,
        details: str | None = None,
    ) -> None:
        """Write in the audit log what this person is about to do; `recipient`: with whom.

        Raises:
            BadInput: the reason has a phone number, which all who read the audit log would see.
        """
        check_no_number(why, field="Reason")
        await to_thread.run_sync(
            lambda: self.services.audit_log.add(
                who=self.user.name,
                role=self.user.role,
                action=action,
                subject=subject,
                why=why,
                details=details,
                recipient=recipient,
            )
        )


Handler = Callable[[Page], Awaitable[Response]]
TEMPLATES: Final = Environment(
    loader=PackageLoader("ops"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters.update(FILTERS)
TEMPLATES.globals["CSRF_FIELD"] = CSRF_FIELD
NAVIGATION: Final = (
    ("/", "Now"),
    ("/messages", "Messages"),
    ("/dead-letters", "Dead letters"),
    ("/campaigns", "Campaigns"),
    ("/senders", "Senders"),
    ("/opt-outs", "Opt-outs and inbound"),
    ("/audit-log", "Audit log"),
)
TEMPLATES.globals["NAVIGATION"] = NAVIGATION


class Pages:
    """Collects routes; every one of them has a role, and everything but GET needs the token."""

    def __init__(self) -> None:
        self.registered: list[tuple[str, str, Role, Handler]] = []
        """Method, path, role and handler of each."""
        self._uploads: set[str] = set()

    def get(self, path: str, *, role: Role = Role.LOOK) -> Callable[[Handler], Handler]:
        """Register a page that changes nothing."""
        return self._register("GET", path, role)

    def post(
        self, path: str, *, role: Role, takes_file: bool = False
    ) -> Callable[[Handler], Handler]:
        """Register an action; only with `takes_file` its form may have a file."""
        if takes_file:
            self._uploads.add(path)
        return self._register("POST", path, role)

    def routes(self, services: Services) -> list[Route]:
        """The routes for the application."""
        return [
            Route(
                path,
                _guarded(handler, role, services, takes_file=path in self._uploads),
                methods=[method],
                name=handler.__name__,
            )
            for method, path, role, handler in self.registered
        ]

    def _register(self, method: str, path: str, role: Role) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.registered.append((method, path, role, handler))
            return handler

        return register


def _guarded(
    handler: Handler, role: Role, services: Services, *, takes_file: bool
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        found = await identify(request, services)
        if found is None:
            return _to_sign_in(request)
        user, session, token = found
        if not user.role.includes(role):
            raise HTTPException(403, f"This needs the role {role}; you have {user.role}.")
        page = Page(request, services, user, session)
        try:
            if request.method != "GET":
                await _check_source(page, takes_file=takes_file)
            response = await handler(page)
        finally:
            await page.form.close()
        if token is not None:
            set_cookie(response, token, services)
        return response

    return endpoint


async def identify(
    request: Request, services: Services
) -> tuple[User, StoredSession, str | None] | None:
    """Who makes the request, and the token of a new session if one was begun."""
    token = request.cookies.get(COOKIE)
    session = await to_thread.run_sync(services.sessions.find, token) if token is not None else None
    proxied = services.proxy.find(request)
    if proxied is None:
        user = None if session is None else services.users.find(session.name)
        return None if user is None or session is None else (user, session, None)
    if session is not None and session.name == proxied.name:
        return proxied, session, None
    new_token, new_session = await to_thread.run_sync(services.sessions.begin, proxied.name)
    return proxied, new_session, new_token


def set_cookie(response: Response, token: str, services: Services) -> None:
    """Let the browser keep the session's token."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=services.settings.ops_session_hours * 3600,
        httponly=True,
        samesite="lax",  # a link from a chat leads to the page, not to the sign-in
        secure=services.settings.base_url.startswith("https:"),
    )


def _to_sign_in(request: Request) -> Response:
    if request.method != "GET":
        raise HTTPException(401, "Your session has ended. Sign in and try again.")
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    location = f"{SIGN_IN_PATH}?{urlencode({'next': target})}"
    if "HX-Request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": location})
    return RedirectResponse(location, 303)


async def _check_source(page: Page, *, takes_file: bool) -> None:
    """Let only our own forms through: no other site knows the session's token."""
    check_site(page.request)
    megabytes = page.services.settings.ops_max_upload_mb if takes_file else 0
    page.form = await read_form(page.request, file_megabytes=megabytes)
    sent = page.request.headers.get(CSRF_HEADER) or page.form.get(CSRF_FIELD)
    if not _is_same(sent, page.session.csrf_token):
        raise HTTPException(403, "This form is not from your session. Load the page again.")


def _is_same(sent: object, secret: str) -> bool:
    """Compare in a time that does not tell how much of it is right."""
    return isinstance(sent, str) and hmac.compare_digest(sent.encode(), secret.encode())


def check_site(request: Request) -> None:
    """Refuse a request that another site has caused; old browsers do not say."""
    if request.headers.get("Sec-Fetch-Site", "none") not in _SAFE_SITES:
        raise HTTPException(403, "Another site has sent this form.")


async def read_form(request: Request, *, file_megabytes: int = 0) -> FormData:
    """The fields of a form, within limits; a file is kept on disk until the form is closed.

    Raises:
        HTTPException: 400 if it is no form, or has too many or too large fields; 413 if it is
            larger than the limit, which leaves nothing on disk.
    """
    limited = Request(request.scope, _limited(request, file_megabytes))
    return await limited.form(
        max_files=1 if file_megabytes else 0,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )


def _limited(request: Request, file_megabytes: int) -> Receive:
    """Receives the request's body, as far as it is within the limit."""
    limit = file_megabytes * _MEGABYTE + _MAX_FORM_BYTES
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received <= limit:
            return message
        while message.get("more_body") and received <= _MAX_DISCARDED * limit:
            message = await request.receive()
            received += len(message.get("body", b""))
        raise HTTPException(413, _too_large(file_megabytes))

    return receive


def _too_large(file_megabytes: int) -> str:
    if not file_megabytes:
        return "The form is too large."
    return (
        f"The file is larger than {file_megabytes} MB, the limit that OPS_MAX_UPLOAD_MB sets. "
        "Nothing was done. `signedfor campaign start` has no limit."
    )
