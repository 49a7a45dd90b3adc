"""The last resort for a defect: a 500 without details, logged without the request's data."""

import logging
import traceback

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)


class Guarded:
    """ASGI middleware that answers 500 for any exception that nobody expected.

    An exception's text, and those of its causes, may quote a number or a message, so only its type
    and the places it passed are logged.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:  # noqa: BLE001 - whatever it is, its text must not be logged
            places = "".join(traceback.format_tb(error.__traceback__))
            _log.error("A defect: %s, passed through\n%s", type(error).__name__, places)
            if not started and scope["type"] == "http":
                await JSONResponse({"detail": "Internal error."}, 500)(scope, receive, send)
