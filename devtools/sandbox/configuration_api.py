"""Twilio's APIs of numbers, short codes, applications, Messaging Services, senders, webhook rules.

Only what concerns messages, by Twilio's field names. The paths of api.twilio.com,
messaging.twilio.com and webhooks.twilio.com do not collide, so one server has them all.
"""

import json
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devtools.sandbox import configuration
from devtools.sandbox.accounts import Account, Accounts
from devtools.sandbox.configuration import Kind, Resource
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.messages import API_VERSION, new_sid
from devtools.sandbox.responses import TwilioResponse, json_answer
from devtools.sandbox.settings import LiveSettings
from devtools.sandbox.state import State
from devtools.sandbox.validation import read_form, value_of

_ACCOUNT = f"/{API_VERSION}/Accounts/{{account_sid}}"
_SERVICE = "/v1/Services/{sid}"
_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")
_ALREADY_IN_A_SERVICE = 21710
_URLS = {Kind.NUMBERS: "sms_url", Kind.SHORT_CODES: "sms_url", Kind.SERVICES: "inbound_request_url"}
"""Where the inbound URL of the settings shows, unless another was configured."""
_POOLS = {
    "PhoneNumbers": (Kind.NUMBERS, "phone_numbers", "PhoneNumberSid"),
    "ShortCodes": (Kind.SHORT_CODES, "short_codes", "ShortCodeSid"),
    "ChannelSenders": (Kind.SENDERS, "senders", "Sid"),
}
_Endpoint = Callable[[Request], Any]


class ConfigurationApi:
    """The requests of the SDK. Each refusal is raised as a TwilioError."""

    def __init__(self, *, accounts: Accounts, state: State, settings: LiveSettings) -> None:
        self._accounts = accounts
        self._state = state
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return the routes for the application."""
        routes = [
            *self._account_routes("IncomingPhoneNumbers", Kind.NUMBERS),
            *self._account_routes("SMS/ShortCodes", Kind.SHORT_CODES),
            *self._account_routes("Applications", Kind.APPLICATIONS),
            Route(f"{_ACCOUNT}/Applications.json", self._create_application, methods=["POST"]),
            Route("/v1/Services", self._services, methods=["GET"]),
            Route("/v1/Services", self._create_service, methods=["POST"]),
            Route(_SERVICE, self._service, methods=["GET", "POST", "DELETE"]),
            Route("/v2/Channels/Senders", self._senders, methods=["GET"]),
            Route("/v2/Channels/Senders", self._create_sender, methods=["POST"]),
            Route("/v1/Webhooks/Rules", self._webhooks(Kind.RULES), methods=["GET", "POST"]),
            Route("/v1/Webhooks/Settings", self._webhooks(Kind.SETTINGS), methods=["GET", "POST"]),
            Route("/v1/Webhooks/Settings/{id}", self._webhook_setting, methods=["GET"]),
            Route("/v1/Webhooks/Rules/{id}", self._delete_rule, methods=["DELETE"]),
        ]
        for name in _POOLS:
            pool, member = self._pool(name), self._member(name)
            routes.append(Route(f"{_SERVICE}/{name}", pool, methods=["GET", "POST"]))
            routes.append(Route(f"{_SERVICE}/{name}/{{member}}", member, methods=["DELETE"]))
        return routes

    # api.twilio.com

    def _account_routes(self, name: str, kind: Kind) -> list[Route]:
        async def list_(request: Request) -> Response:
            self._authenticate(request)
            self._ask_for(kind, request)
            return _page(request, kind, self._shown(kind, self._filtered(kind, request)))

        async def one(request: Request) -> Response:
            self._authenticate(request)
            found = self._find(kind, request.path_params["sid"], request)
            if request.method == "POST":
                found = self._update(kind, found, await read_form(request))
            return json_answer(self._shown(kind, [found])[0], 200)

        path = f"{_ACCOUNT}/{name}"
        return [
            Route(f"{path}.json", list_, methods=["GET"]),
            Route(f"{path}/{{sid}}.json", one, methods=["GET", "POST"]),
        ]

    def _ask_for(self, kind: Kind, request: Request) -> None:
        """Let the sender come into being that the list is filtered by."""
        if kind is Kind.NUMBERS:
            asked = configuration.number(request.query_params.get("PhoneNumber", ""))
        elif kind is Kind.SHORT_CODES:
            asked = configuration.short_code(request.query_params.get("ShortCode", ""))
        else:
            return
        if asked is not None and self._state.configuration.get(kind, asked["sid"]) is None:
            self._state.configure(kind, asked["sid"], asked)

    def _filtered(self, kind: Kind, request: Request) -> list[Resource]:
        wanted = {
            name: value
            for name, value in (
                ("phone_number", request.query_params.get("PhoneNumber")),
                ("short_code", request.query_params.get("ShortCode")),
            )
            if value
        }
        rows = self._state.configuration.all(kind)
        return [row for row in rows if all(row.get(name) == wanted[name] for name in wanted)]

    async def _create_application(self, request: Request) -> Response:
        self._authenticate(request)
        sid = new_sid("AP")
        empty = configuration.application(sid)
        return json_answer(
            self._update(Kind.APPLICATIONS, empty, await read_form(request)), HTTPStatus.CREATED
        )

    # messaging.twilio.com

    async def _services(self, request: Request) -> Response:
        self._authenticate(request)
        rows = self._state.configuration.all(Kind.SERVICES)
        return _page(request, Kind.SERVICES, self._shown(Kind.SERVICES, rows))

    async def _create_service(self, request: Request) -> Response:
        self._authenticate(request)
        empty = configuration.service(new_sid("MG"))
        created = self._update(Kind.SERVICES, empty, await read_form(request))
        return json_answer(self._shown(Kind.SERVICES, [created])[0], HTTPStatus.CREATED)

    async def _service(self, request: Request) -> Response:
        self._authenticate(request)
        found = self._service_of(request)
        if request.method == "DELETE":
            for kind, _, _ in _POOLS.values():
                for each in self._state.configuration.pool(found["sid"], kind):
                    self._state.configure(Kind.POOL, each["sid"], None)
            self._state.configure(Kind.SERVICES, found["sid"], None)
            return TwilioResponse(b"", HTTPStatus.NO_CONTENT)
        if request.method == "POST":
            found = self._update(Kind.SERVICES, found, await read_form(request))
        return json_answer(self._shown(Kind.SERVICES, [found])[0], 200)

    def _service_of(self, request: Request) -> Resource:
        sid = request.path_params["sid"]
        if self._state.configuration.get(Kind.SERVICES, sid) is None and _SERVICE_SID.fullmatch(
            sid
        ):
            self._state.configure(Kind.SERVICES, sid, configuration.service(sid))
        return self._find(Kind.SERVICES, sid, request)

    def _pool(self, name: str) -> _Endpoint:
        kind, key, field = _POOLS[name]

        async def pool(request: Request) -> Response:
            self._authenticate(request)
            service_sid = self._service_of(request)["sid"]
            if request.method == "GET":
                rows = self._state.configuration.pool(service_sid, kind)
                return _page(request, key, [_as_member(each, service_sid) for each in rows])
            sid = value_of(await read_form(request), field)
            member = self._find(kind, sid, request)
            if self._state.configuration.get(Kind.POOL, sid) is not None:
                raise TwilioError(_ALREADY_IN_A_SERVICE, status=HTTPStatus.CONFLICT)
            self._state.configure(Kind.POOL, sid, {"service_sid": service_sid})
            return json_answer(_as_member(member, service_sid), HTTPStatus.CREATED)

        return pool

    def _member(self, name: str) -> _Endpoint:
        kind = _POOLS[name][0]

        async def member(request: Request) -> Response:
            self._authenticate(request)
            found = self._find(kind, request.path_params["member"], request)
            self._state.configure(Kind.POOL, found["sid"], None)
            return TwilioResponse(b"", HTTPStatus.NO_CONTENT)

        return member

    async def _senders(self, request: Request) -> Response:
        self._authenticate(request)
        prefix = request.query_params.get("Channel", "") + ":"
        rows = self._state.configuration.all(Kind.SENDERS)
        return _page(
            request, Kind.SENDERS, [each for each in rows if each["sender_id"].startswith(prefix)]
        )

    async def _create_sender(self, request: Request) -> Response:
        self._authenticate(request)
        given = await _document(request)
        hook = {"callback_url": None, "callback_method": "POST"} | _given(given.get("webhook"))
        sid = new_sid("XE")
        created: Resource = {
            "sid": sid,
            "status": "ONLINE",
            "sender_id": given.get("sender_id"),
            "webhook": hook,
        }
        self._state.configure(Kind.SENDERS, sid, created)
        return json_answer(created, HTTPStatus.ACCEPTED)

    # webhooks.twilio.com

    def _webhooks(self, kind: Kind) -> _Endpoint:
        async def webhooks(request: Request) -> Response:
            self._authenticate(request)
            if request.method == "GET":
                rows = self._state.configuration.all(kind)
                return json_answer(_token_page(request, kind, rows), 200)
            name = kind.removesuffix("s")
            created = {"id": new_sid(f"webhooks_{name}_"), **_given(await _document(request))}
            self._state.configure(kind, created["id"], created)
            return json_answer({name: created, "operation": None}, HTTPStatus.ACCEPTED)

        return webhooks

    async def _webhook_setting(self, request: Request) -> Response:
        self._authenticate(request)
        return json_answer(self._find(Kind.SETTINGS, request.path_params["id"], request), 200)

    async def _delete_rule(self, request: Request) -> Response:
        self._authenticate(request)
        self._state.configure(Kind.RULES, request.path_params["id"], None)
        return TwilioResponse(b"", HTTPStatus.ACCEPTED)

    # all

    def _authenticate(self, request: Request) -> Account:
        account_sid = request.path_params.get("account_sid", self._accounts.ordinary.sid)
        return self._accounts.authenticate(
            request.headers.get("Authorization"), account_sid=account_sid, path=request.url.path
        )

    def _find(self, kind: Kind, sid: str, request: Request) -> Resource:
        found = self._state.configuration.get(kind, sid)
        if found is None:
            raise TwilioError(20404, path=request.url.path)
        return found

    def _update(self, kind: Kind, resource: Resource, form: Any) -> Resource:
        """Change the fields that the form has and the resource knows, and store it."""
        changes = {
            name: _as(resource[name], values[-1])
            for name, values in ((_snake(name), values) for name, values in form.items())
            if name in resource
        }
        changed = {**resource, **changes}
        self._state.configure(kind, changed["sid"], changed)
        return changed

    def _shown(self, kind: Kind, rows: Sequence[Resource]) -> list[Resource]:
        url = _URLS.get(kind)
        if url is None:
            return list(rows)
        default = self._settings.now.inbound_url
        return [{**row, url: default if row[url] is None else row[url]} for row in rows]


def _as_member(sender: Resource, service_sid: str) -> Resource:
    """A sender as the lists of a service show it."""
    member: Resource = {"sid": sender["sid"], "service_sid": service_sid}
    if "sender_id" in sender:
        return member | {"sender": sender["sender_id"], "messaging_service_sid": service_sid}
    return member | {
        name: sender[name] for name in ("phone_number", "short_code") if name in sender
    }


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _as(before: object, text: str) -> object:
    return text.lower() == "true" if isinstance(before, bool) else text


def _given(document: Any) -> dict[str, Any]:
    return {name: value for name, value in (document or {}).items() if value is not None}


async def _document(request: Request) -> dict[str, Any]:
    try:
        document = json.loads(await request.body())
    except ValueError:
        raise TwilioError(20001) from None
    if not isinstance(document, dict):
        raise TwilioError(20001)
    return document


def _page(request: Request, key: str, rows: Sequence[Resource]) -> Response:
    """One page of a list, in the envelope of its API."""
    query = request.query_params
    size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
    shown = list(rows[page * size : (page + 1) * size])
    following = request.url.include_query_params(Page=page + 1, PageSize=size)
    url = str(following) if (page + 1) * size < len(rows) else None
    if request.url.path.startswith(f"/{API_VERSION}/"):
        path = None if url is None else f"{following.path}?{following.query}"
        return json_answer(
            {key: shown, "page": page, "page_size": size, "next_page_uri": path}, 200
        )
    meta = {"key": key, "page": page, "page_size": size, "next_page_url": url}
    return json_answer({key: shown, "meta": meta}, 200)


def _token_page(request: Request, key: str, rows: Sequence[Resource]) -> dict[str, Any]:
    """One page of a list of the Webhooks API, which counts by tokens."""
    size = int(request.query_params.get("pageSize", "50"))
    start = int(request.query_params.get("pageToken", "0"))
    following = str(start + size) if start + size < len(rows) else None
    meta = {"key": key, "pageSize": size, "nextToken": following}
    return {key: list(rows[start : start + size]), "meta": meta}
