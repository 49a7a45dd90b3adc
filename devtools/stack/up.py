"""`python -m devtools.stack.up`, the command of `make up`: the whole system in the foreground.

By default Twilio is the sandbox, and nothing leaves this machine. Where TWILIO_ACCOUNT_SID,
TWILIO_AUTH_TOKEN and PUBLIC_BASE_URL are all set, and TWILIO_API_BASE_URL is not, Twilio is the
real one, and there is no sandbox.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from devtools.stack.console import addresses, console, shown_path
from devtools.stack.local import LocalStack, Ports
from devtools.stack.ports import HOST, port_from
from devtools.stack.processes import StackError, interrupt_on_signals
from signedfor.settings import Settings

_REAL_TWILIO = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_BASE_URL")
_OURS = {"WEBHOOK_HOST", "WEBHOOK_PORT"}
"""Settings that the stack decides whatever the environment says."""
_SANDBOXED = {*_REAL_TWILIO, "DATABASE_URL"}
"""Settings that are never taken over with the sandbox: its messages must not meet real records."""
_THE_WAY_OUT = {
    name
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (proxy, proxy.lower())
} | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
"""Variables that say how the internet is reached; real Twilio needs them."""
_CHECK_SECONDS = 0.5
_ENVIRONMENT_FILE = "up.env"
_WANTED_BY_CLIENTS = ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "DATABASE_URL")


def main() -> int:
    """Run until Ctrl-C or SIGTERM; 0 after a clean end, 1 when a part could not be kept up."""
    interrupt_on_signals()
    out = console()
    try:
        folder = Path(os.environ.get("DATA_DIR") or ".data/up")
        real = wants_real_twilio(os.environ)
        with LocalStack(
            folder,
            ports=_ports(with_sandbox=not real),
            settings=taken_over(os.environ, real=real),
            with_sandbox=not real,
        ) as stack:
            _announce(stack, out)
            while True:
                stack.check()
                time.sleep(_CHECK_SECONDS)
    except KeyboardInterrupt:
        out.print("Stopped.")
    except StackError as error:
        sys.stderr.write(f"make up: {error}\n")
        return 1
    return 0


def wants_real_twilio(environment: Mapping[str, str]) -> bool:
    """Whether the environment says how the real Twilio is reached, completely."""
    return all(environment.get(name) for name in _REAL_TWILIO) and not environment.get(
        "TWILIO_API_BASE_URL"
    )


def taken_over(environment: Mapping[str, str], *, real: bool) -> dict[str, str]:
    """The part of the environment that worker and webhook are to see."""
    names = {name.upper() for name in Settings.model_fields} - _OURS
    if real:
        names |= _THE_WAY_OUT
    else:
        names = {name for name in names - _SANDBOXED if not name.startswith("TWILIO_")}
    return {name: environment[name] for name in sorted(names) if environment.get(name)}


def _ports(*, with_sandbox: bool) -> Ports:
    return Ports(
        temporal=port_from("TEMPORAL_PORT", 7233),
        temporal_ui=port_from("TEMPORAL_UI_PORT", 8233),
        webhook=port_from("WEBHOOK_PORT", 8080),
        sandbox=port_from("SANDBOX_PORT", 8089) if with_sandbox else 0,
    )


def _announce(stack: LocalStack, out: Console) -> None:
    environment_file = stack.folder / _ENVIRONMENT_FILE
    # The sandbox's credentials are no secret; with them `signedfor doctor` can check everything.
    names = _WANTED_BY_CLIENTS if stack.twilio is None else tuple(stack.settings)
    write_environment(environment_file, {name: stack.settings[name] for name in names})
    out.print()
    out.print(addresses(stack))
    out.print()
    if stack.twilio is None:
        out.print("[bold]THIS IS THE REAL TWILIO: messages reach people and cost money.[/bold]")
        out.print(
            "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and PUBLIC_BASE_URL are set; unset one of them "
            "for the sandbox."
        )
        out.print(f"Twilio must reach {stack.webhook_url} by PUBLIC_BASE_URL.")
    else:
        out.print("Twilio is the sandbox: no message leaves this machine.")
        if any(os.environ.get(name) for name in _REAL_TWILIO):
            out.print(
                "For the real one, set " + ", ".join(_REAL_TWILIO) + " and no TWILIO_API_BASE_URL."
            )
    signedfor = f"{shown_path(Path(sys.executable).with_name('signedfor'))}"
    shown = shown_path(environment_file)
    recipient = "+15558675309" if stack.twilio is not None else "RECIPIENT"
    out.print("\nTry, in another terminal:", soft_wrap=True)
    for arguments in (
        f'send {recipient} --body "Your parcel is at the door." --wait',
        "dead-letters list",
        *(["doctor"] if stack.twilio is not None else []),
    ):
        out.print(f"  {signedfor} --env-file {shown} {arguments}", soft_wrap=True, markup=False)
    if stack.twilio is not None:
        out.print(
            "  curl -s -H 'Content-Type: application/json' "
            f"http://{HOST}:{stack.ports.sandbox}/_sandbox/inbound "
            # Not the recipient above, who would then get no message any more.
            f"""-d '{{"from": "+15558675300", "to": "{stack.settings["DEFAULT_SENDER"]}", """
            """"body": "STOP"}'""",
            soft_wrap=True,
            markup=False,
        )
    out.print("\nCtrl-C ends it.")


def write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """Write settings for `signedfor --env-file` or a shell to read."""
    path.write_text("".join(f"{name}='{value}'\n" for name, value in settings.items()))


if __name__ == "__main__":
    sys.exit(main())
