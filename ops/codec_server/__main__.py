"""`python -m ops.codec_server`: the codec server as a process."""

import sys

import uvicorn
import uvloop

from ops.codec_server.app import create_app
from ops.codec_server.settings import (
    CodecServerSettings,
    load_codec_server_settings,
    token_of,
)
from signedfor.encryption import load_encryption
from signedfor.errors import InvalidSettings
from signedfor.logging import configure_logging
from signedfor.process import end_process, survive_the_signal_that_stops_uvicorn
from signedfor.temporal import connect_config

_SHUTDOWN_SECONDS = 5
_MAX_CONNECTIONS = 100


def main() -> int:
    """Run it: 0 after a clean end, 1 with a one-line error if it cannot start."""
    try:
        settings = load_codec_server_settings()
        configure_logging("INFO", "text")
        return uvloop.run(_serve(settings))
    except InvalidSettings as error:
        sys.stderr.write(f"signedfor codec server: {error}\n")
        return 1


async def _serve(settings: CodecServerSettings) -> int:
    encryption = load_encryption()
    if encryption is None:
        raise InvalidSettings("PAYLOAD_ENCRYPTION is off: there is nothing to decode.")
    app = create_app(
        encryption,
        token=token_of(settings),
        origins=settings.origins,
        namespace=connect_config().get("namespace") or "default",
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.codec_server_host,
            port=settings.codec_server_port,
            log_config=None,
            access_log=False,  # it would log the token in the path
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            limit_concurrency=_MAX_CONNECTIONS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
    )
    survive_the_signal_that_stops_uvicorn()
    await server.serve()
    return 0 if server.started else 1


if __name__ == "__main__":
    end_process(main())
