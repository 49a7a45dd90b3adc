"""`python -m ops.codec_server`: the codec server as a process."""

import sys

import uvloop

from ops.codec_server.app import create_app
from ops.codec_server.settings import (
    CodecServerSettings,
    load_codec_server_settings,
    token_of,
)
from signedfor.encryption import load_encryption
from signedfor.errors import InvalidSettings
from signedfor.http_server import Limits, Server
from signedfor.logging import configure_logging
from signedfor.process import end_process, keep_memory_private
from signedfor.secret_files import read_secret_files
from signedfor.temporal import connect_config

_LIMITS = Limits(connections=100, idle_connections=20)


def main() -> int:
    """Run it: 0 after a clean end, 1 with a one-line error if it cannot start."""
    keep_memory_private()
    try:
        read_secret_files()
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
    server = Server(
        app,
        host=settings.codec_server_host,
        port=settings.codec_server_port,
        limits=_LIMITS,
    )
    return 0 if await server.run_to_end() else 1


if __name__ == "__main__":
    end_process(main())
