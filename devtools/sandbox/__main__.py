"""`python -m devtools.sandbox`: a local Twilio."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from devtools.sandbox.accounts import (
    DEFAULT_ACCOUNT_SID,
    DEFAULT_AUTH_TOKEN,
    TEST_ACCOUNT_SID,
    TEST_AUTH_TOKEN,
)
from devtools.sandbox.server import NotLoopbackError, SandboxConfig, listen, serve
from devtools.sandbox.settings import Settings
from signedfor.secret_files import BadSecretFiles, read_secret_files

_DEFAULT_PORT = 8010

_EPILOG = f"""\
The account is TWILIO_ACCOUNT_SID with TWILIO_AUTH_TOKEN from the environment, or else
{DEFAULT_ACCOUNT_SID} with {DEFAULT_AUTH_TOKEN}. With TWILIO_API_KEY_SID and
TWILIO_API_KEY_SECRET there is an API key of it too.
{TEST_ACCOUNT_SID} with {TEST_AUTH_TOKEN} simulates Twilio's test credentials.
This is a development tool: it sends nothing, has no protection, and listens on loopback only.
"""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the sandbox as `arguments` and `environment` say; return the exit code."""
    parser = _parser(environment)
    environment = dict(environment)
    try:
        read_secret_files(environment)
    except BadSecretFiles as error:
        parser.error(str(error))
    options = parser.parse_args(arguments)
    account_sid = environment.get("TWILIO_ACCOUNT_SID") or None
    auth_token = environment.get("TWILIO_AUTH_TOKEN") or None
    if (account_sid is None) != (auth_token is None):
        parser.error("set both TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, or neither")
    try:
        settings = Settings(
            sent_after=options.sent_after,
            delivered_after=options.delivered_after,
            time_scale=options.time_scale,
            inbound_url=options.inbound_url,
        )
        bound = listen(options.host, options.port)
    except ValidationError as error:
        fields = ", ".join(f"--{one['loc'][0]}".replace("_", "-") for one in error.errors())
        parser.error(f"out of range: {fields}")
    except NotLoopbackError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot listen on port {options.port}: {error.strerror}")
    config = SandboxConfig(
        account_sid=account_sid or DEFAULT_ACCOUNT_SID,
        auth_token=auth_token or DEFAULT_AUTH_TOKEN,
        api_key=_api_key(environment),
        settings=settings,
        journal=options.journal,
    )
    print("Twilio sandbox: a development tool. No message leaves this machine.")  # noqa: T201 - for the person who started it
    serve(config, bound)
    return 0


def _api_key(environment: Mapping[str, str]) -> tuple[str, str] | None:
    sid, secret = (environment.get(f"TWILIO_API_KEY_{part}") for part in ("SID", "SECRET"))
    return (sid, secret) if sid and secret else None


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devtools.sandbox",
        description="A local Twilio for the demo, tests and benchmarks.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = Settings()
    parser.add_argument("--host", default="127.0.0.1", help="loopback only (default 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=int,
        default=environment.get("SANDBOX_PORT") or _DEFAULT_PORT,
        help=f"0 picks a free one (default SANDBOX_PORT, or else {_DEFAULT_PORT})",
    )
    for name, unit, meaning in (
        ("sent_after", "SECONDS", "from creation to sent"),
        ("delivered_after", "SECONDS", "from sent to delivered"),
        ("time_scale", "FACTOR", "how many times faster SendAt and ValidityPeriod pass"),
    ):
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=float,
            default=getattr(defaults, name),
            metavar=unit,
            help=f"{meaning} (default %(default)s)",
        )
    parser.add_argument("--inbound-url", metavar="URL", help="the webhook for inbound messages")
    parser.add_argument(
        "--journal", type=Path, metavar="FILE", help="keep the state here across restarts"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
