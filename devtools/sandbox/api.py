"""The Messages resource of Twilio's API: create, list, fetch, update and delete."""

import time
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from devtools.sandbox.accounts import Account, Accounts
from devtools.sandbox.answers import TwilioResponse, json_answer
from devtools.sandbox.books import Books
from devtools.sandbox.creation import Creation
from devtools.sandbox.errors import TwilioError
from devtools.sandbox.lifecycle import Lifecycle
from devtools.sandbox.messages import API_VERSION, Message
from devtools.sandbox.paging import list_page
from devtools.sandbox.validation import Form, value_of

_LIST = f"/{API_VERSION}/Accounts/{{account_sid}}/Messages.json"
_INSTANCE = f"/{API_VERSION}/Accounts/{{account_sid}}/Messages/{{sid}}.json"


class MessagesApi:
    """Answers what the SDK asks of messages. Every refusal is raised as a TwilioError."""

    def __init__(
        self, *, accounts: Accounts, books: Books, creation: Creation, lifecycle: Lifecycle
    ) -> None:
        self._accounts = accounts
        self._books = books
        self._creation = creation
        self._lifecycle = lifecycle

    def routes(self) -> list[Route]:
        """Return the routes, for the application to take in."""
        return [
            Route(_LIST, self._create, methods=["POST"]),
            Route(_LIST, self._list, methods=["GET"]),
            Route(_INSTANCE, self._fetch, methods=["GET"]),
            Route(_INSTANCE, self._update, methods=["POST"]),
            Route(_INSTANCE, self._delete, methods=["DELETE"]),
        ]

    async def _create(self, request: Request) -> Response:
        return await self._creation.create(self._account(request), await _form(request))

    async def _list(self, request: Request) -> Response:
        account = self._account(request)
        shelf = self._books.shelf(account.sid)
        return json_answer(list_page(shelf, request.query_params, path=request.url.path), 200)

    async def _fetch(self, request: Request) -> Response:
        return json_answer(self._message(request).resource(), 200)

    async def _update(self, request: Request) -> Response:
        message = self._message(request)
        form = await _form(request)
        if value_of(form, "Status"):
            self._cancel(message, value_of(form, "Status"))
        if "Body" in form:
            self._redact(message, value_of(form, "Body"))
        return json_answer(message.resource(), 200)

    async def _delete(self, request: Request) -> Response:
        message = self._message(request)
        if not message.finished:
            raise TwilioError(20009)
        self._books.delete(message)
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
        self._books.changed(message)

    def _account(self, request: Request) -> Account:
        return self._accounts.authenticate(
            request.headers.get("Authorization"),
            account_sid=request.path_params["account_sid"],
            path=request.url.path,
        )

    def _message(self, request: Request) -> Message:
        account = self._account(request)
        message = self._books.shelf(account.sid).get(request.path_params["sid"])
        if message is None:
            raise TwilioError(20404, path=unquote(request.url.path))
        return message


async def _form(request: Request) -> Form:
    body = await request.body()
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise TwilioError(20001) from None
