"""`python -m devtools.bench.floor.webhook`: a bare FastAPI route, one signal a receipt.

The same uvicorn with the same options, and like ours a plain route, of which FastAPI parses
nothing. It checks no signature, measures and logs nothing, keeps nothing when Temporal is away, and
believes whatever it is sent. Like ours it signals final statuses only.
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import parse_qs

import uvicorn
from fastapi import FastAPI, Request, Response
from temporalio.client import Client

from devtools.bench.floor.message import DELIVERY_STATUS, FLOOR_PREFIX
from signedfor.contract import STATUS_PATH

_NOT_FINAL = frozenset({"queued", "accepted", "scheduled", "sending", "sent"})


def create_app(*, temporal: str) -> FastAPI:
    """The application."""
    client: Client

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        nonlocal client
        client = await Client.connect(temporal)
        yield

    async def status(request: Request) -> Response:
        """Signal the workflow."""
        fields = parse_qs((await request.body()).decode())
        message_status = fields["MessageStatus"][0]
        if message_status not in _NOT_FINAL:
            handle = client.get_workflow_handle(FLOOR_PREFIX + request.query_params["message_id"])
            callback = {"message_sid": fields["MessageSid"][0], "message_status": message_status}
            await handle.signal(DELIVERY_STATUS, callback)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def healthz(_request: Request) -> Response:
        """Say that it is up."""
        return Response("ok")

    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.add_route(STATUS_PATH, status, methods=["POST"])
    app.add_route("/healthz", healthz, methods=["GET"])
    return app


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--temporal", required=True, help="host:port")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    uvicorn.run(
        create_app(temporal=arguments.temporal),
        port=arguments.port,
        # What follows is as in webhook/__main__.py.
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        limit_concurrency=500,
        h11_max_incomplete_event_size=16_384,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
