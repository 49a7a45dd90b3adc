"""The Messages resource of Twilio's API: create, list, fetch, update, delete, and its media."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devtools.sandbox.accounts import Account, Accounts
from devtools.sandbox.addresses import normalized
from devtools.sandbox.creation import Creation
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.lifecycle import Lifecycle
from devtools.sandbox.messages import API_VERSION, Message, MessageList
from devtools.sandbox.responses import TwilioResponse, json_answer
from devtools.sandbox.state import State
from devtools.sandbox.validation import read_form, value_of

_DEFAULT_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 1000
_FILTERS = ("To", "From", "DateSent", "DateSent<", "DateSent>")
_AFTER, _BEFORE = "PA", "PB"  # the prefixes of Twilio's page tokens, followed by a message sid


@dataclass(frozen=True, slots=True)
class _Query:
    """A list request: its filters, and which page of the result."""

    filters: Mapping[str, str]
    size: int
    page: int
    token: str

    @property
    def to(self) -> str | None:
        return normalized(self.filters["To"]) if self.filters.get("To") else None


def list_page(
    account_messages: MessageList, parameters: Mapping[str, str], *, path: str
) -> dict[str, Any]:
    """Return the envelope of the page that the query string names, newest first.

    `path` is the path of the list; the links in the envelope repeat the filters. Raises 20007
    for a page size over 1000, 21481 for a token that is not ours, 20001 for a bad date.
    """
    query = _read(parameters)
    messages, more = _select(account_messages, query)
    start = query.page * query.size

    def link(page: int, token: str = "") -> str:
        fields = {**query.filters, "PageSize": str(query.size), "Page": str(page)}
        if token:
            fields["PageToken"] = token
        return f"{path}?{urlencode(fields)}"

    return {
        "messages": [message.resource() for message in messages],
        "page": query.page,
        "page_size": query.size,
        "start": start,
        "end": start + max(len(messages) - 1, 0),
        "uri": link(query.page, query.token),
        "first_page_uri": link(0),
        "next_page_uri": link(query.page + 1, _AFTER + messages[-1].sid) if more else None,
        "previous_page_uri": (
            link(query.page - 1, _BEFORE + messages[0].sid) if query.page and messages else None
        ),
    }


def _read(parameters: Mapping[str, str]) -> _Query:
    size = _number(parameters, "PageSize", default=_DEFAULT_PAGE_SIZE)
    if size > _MAX_PAGE_SIZE:
        raise TwilioError(20007)
    return _Query(
        filters={name: parameters[name] for name in _FILTERS if parameters.get(name)},
        size=max(size, 1),
        page=_number(parameters, "Page", default=0),
        token=parameters.get("PageToken", ""),
    )


def _number(parameters: Mapping[str, str], name: str, *, default: int) -> int:
    text = parameters.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()):
        raise TwilioError(20001)
    return int(text)


def _select(messages: MessageList, query: _Query) -> tuple[list[Message], bool]:
    """Return the messages of the page and whether older ones follow."""
    matches = _matcher(query.filters)
    if not query.token:
        matching = filter(matches, messages.older(to=query.to))
        found = list(islice(matching, query.page * query.size, (query.page + 1) * query.size + 1))
        return found[: query.size], len(found) > query.size
    kind, anchor = query.token[:2], query.token[2:]
    if kind not in {_AFTER, _BEFORE} or not messages.knows(anchor):
        raise TwilioError(21481)
    if kind == _AFTER:
        found = list(
            islice(filter(matches, messages.older(to=query.to, than=anchor)), query.size + 1)
        )
        return found[: query.size], len(found) > query.size
    newer = list(islice(filter(matches, messages.newer(to=query.to, than=anchor)), query.size))
    return newer[::-1], True


def _matcher(filters: Mapping[str, str]) -> Callable[[Message], bool]:
    sender = normalized(filters["From"]) if filters.get("From") else None
    earliest, latest = _sent_window(filters)
    dated = any(name.startswith("DateSent") for name in filters)
    now = time.time()

    def matches(message: Message) -> bool:
        if message.listed_from > now or sender not in {None, message.sender}:
            return False
        if not dated:
            return True
        # Twilio's dates have whole seconds. A message not sent yet has none and is left out.
        return message.sent is not None and earliest <= int(message.sent) <= latest

    return matches


def _sent_window(filters: Mapping[str, str]) -> tuple[float, float]:
    earliest, latest = float("-inf"), float("inf")
    for name in _FILTERS[2:]:
        if name not in filters:
            continue
        first, last = _span(filters[name])
        if not name.endswith("<"):
            earliest = max(earliest, first)
        if not name.endswith(">"):
            latest = min(latest, last)
    return earliest, latest


def _span(text: str) -> tuple[float, float]:
    """Return the first and last second that a GMT date, or date and time, stands for."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise TwilioError(20001) from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    whole_day = len(text) <= len("2026-01-31")
    length = timedelta(days=1, seconds=-1) if whole_day else timedelta(0)
    return moment.timestamp(), (moment + length).timestamp()


_LIST = f"/{API_VERSION}/Accounts/{{account_sid}}/Messages.json"
_INSTANCE = f"/{API_VERSION}/Accounts/{{account_sid}}/Messages/{{sid}}.json"
_MEDIA = f"/{API_VERSION}/Accounts/{{account_sid}}/Messages/{{sid}}/Media.json"
_MEDIUM = f"/{API_VERSION}/Accounts/{{account_sid}}/Messages/{{sid}}/Media/{{media_sid}}.json"


class MessagesApi:
    """The requests of the SDK. Each refusal is raised as a TwilioError."""

    def __init__(
        self, *, accounts: Accounts, state: State, creation: Creation, lifecycle: Lifecycle
    ) -> None:
        self._accounts = accounts
        self._state = state
        self._creation = creation
        self._lifecycle = lifecycle

    def routes(self) -> list[Route]:
        """Return the routes for the application."""
        return [
            Route(_LIST, self._create, methods=["POST"]),
            Route(_LIST, self._list, methods=["GET"]),
            Route(_INSTANCE, self._fetch, methods=["GET"]),
            Route(_INSTANCE, self._update, methods=["POST"]),
            Route(_INSTANCE, self._delete, methods=["DELETE"]),
            Route(_MEDIA, self._list_media, methods=["GET"]),
            Route(_MEDIUM, self._delete_medium, methods=["DELETE"]),
        ]

    async def _create(self, request: Request) -> Response:
        # Before the body is read: it may come later, from a client that was frozen in between.
        arrived = time.time()
        account = self._account(request)
        return await self._creation.create(account, await read_form(request), arrived=arrived)

    async def _list(self, request: Request) -> Response:
        account = self._account(request)
        messages = self._state.messages(account.sid)
        return json_answer(list_page(messages, request.query_params, path=request.url.path), 200)

    async def _fetch(self, request: Request) -> Response:
        return json_answer(self._message(request).resource(), 200)

    async def _list_media(self, request: Request) -> Response:
        listed = self._message(request).media_resources()
        path = request.url.path
        return json_answer(
            {
                "media_list": listed,  # never more than ten: one page
                "page": 0,
                "page_size": _DEFAULT_PAGE_SIZE,
                "start": 0,
                "end": max(len(listed) - 1, 0),
                "uri": path,
                "first_page_uri": path,
                "next_page_uri": None,
                "previous_page_uri": None,
            },
            200,
        )

    async def _delete_medium(self, request: Request) -> Response:
        message = self._message(request)
        if message.media.pop(request.path_params["media_sid"], None) is None:
            raise TwilioError(20404, path=unquote(request.url.path))
        message.num_media = len(message.media)
        self._state.changed(message)
        return TwilioResponse(b"", HTTPStatus.NO_CONTENT)

    async def _update(self, request: Request) -> Response:
        message = self._message(request)
        form = await read_form(request)
        if value_of(form, "Status"):
            self._cancel(message, value_of(form, "Status"))
        if "Body" in form:
            self._redact(message, value_of(form, "Body"))
        return json_answer(message.resource(), 200)

    async def _delete(self, request: Request) -> Response:
        message = self._message(request)
        if not message.finished:
            raise TwilioError(20009)
        self._state.delete(message)
        return TwilioResponse(b"", HTTPStatus.NO_CONTENT)

    def _cancel(self, message: Message, status: str) -> None:
        if status != "canceled":
            raise TwilioError(20001)
        if message.status != "scheduled":
            raise TwilioError(30409)
        self._lifecycle.cancel(message)

    def _redact(self, message: Message, body: str) -> None:
        if body:
            raise TwilioError(20001)
        if not message.finished:
            raise TwilioError(20009)
        message.body = ""
        message.updated = time.time()
        self._state.changed(message)

    def _account(self, request: Request) -> Account:
        return self._accounts.authenticate(
            request.headers.get("Authorization"),
            account_sid=request.path_params["account_sid"],
            path=request.url.path,
        )

    def _message(self, request: Request) -> Message:
        account = self._account(request)
        message = self._state.messages(account.sid).get(request.path_params["sid"])
        if message is None:
            raise TwilioError(20404, path=unquote(request.url.path))
        return message
