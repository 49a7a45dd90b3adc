"""`python -m devtools.stack.up`, the command of `make up`: the whole system in the foreground.

By default Twilio is the sandbox, and no message leaves this machine. If TWILIO_ACCOUNT_SID,
TWILIO_AUTH_TOKEN and PUBLIC_BASE_URL are all set, and TWILIO_API_BASE_URL is not, it uses the real
Twilio, without a sandbox.
"""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from devtools.stack.console import addresses, console, shown_path, sign_in_hint
from devtools.stack.local import LocalStack
from devtools.stack.ports import HOST, Ports, port_from
from devtools.stack.processes import StackError, interrupt_on_signals
from devtools.stack.temporal_server import NAMESPACE
from signedfor.files import atomic_write
from signedfor.settings import Settings
from signedfor.temporal_ui import VIEWS, TemporalUI

_REAL_TWILIO = ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_BASE_URL")
_OURS = {"TEMPORAL_UI_URL", "WEBHOOK_HOST", "WEBHOOK_PORT"}
"""Settings that the stack sets itself, regardless of the environment."""
_NOT_WITH_SANDBOX = {*_REAL_TWILIO, "DATABASE_URL"}
"""Settings that are ignored with the sandbox: its messages must not mix with real records."""
_NETWORK = {
    name
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (proxy, proxy.lower())
} | {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"}
"""Proxies and certificates, which the real Twilio needs."""
_CHECK_SECONDS = 0.5
_ENVIRONMENT_FILE = "up.env"
_CLIENT_SETTINGS = (
    "TEMPORAL_ADDRESS",
    "TEMPORAL_NAMESPACE",
    "TEMPORAL_UI_URL",
    "DATABASE_URL",
    "PAYLOAD_ENCRYPTION",
    "PAYLOAD_KEYS_FILE",
    "TEMPORAL_CODEC_ENDPOINT",
    "TEMPORAL_CODEC_AUTH",
)


def main() -> int:
    """Run until Ctrl-C or SIGTERM; 0 after a clean end, 1 if a part failed."""
    interrupt_on_signals()
    out = console()
    try:
        folder = Path(os.environ.get("DATA_DIR") or ".data/up")
        real = wants_real_twilio(os.environ)
        with LocalStack(
            folder,
            ports=_ports(with_sandbox=not real),
            settings=forwarded_settings(os.environ, real=real),
            with_sandbox=not real,
            with_ops=True,
        ) as stack:
            announce(stack, out)
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
    """Whether the environment has everything that the real Twilio needs."""
    return all(environment.get(name) for name in _REAL_TWILIO) and not environment.get(
        "TWILIO_API_BASE_URL"
    )


def forwarded_settings(environment: Mapping[str, str], *, real: bool) -> dict[str, str]:
    """The part of the environment that worker and webhook get."""
    names = {name.upper() for name in Settings.model_fields} - _OURS
    if real:
        names |= _NETWORK
    else:
        names = {name for name in names - _NOT_WITH_SANDBOX if not name.startswith("TWILIO_")}
    return {name: environment[name] for name in sorted(names) if environment.get(name)}


def _ports(*, with_sandbox: bool) -> Ports:
    return Ports(
        temporal=port_from("TEMPORAL_PORT", 7233),
        temporal_ui=port_from("TEMPORAL_UI_PORT", 8233),
        webhook=port_from("WEBHOOK_PORT", 8080),
        sandbox=port_from("SANDBOX_PORT", 8089) if with_sandbox else 0,
        ops=port_from("OPS_PORT", 8234),
        codec=port_from("CODEC_SERVER_PORT", 8235),
    )


def announce(stack: LocalStack, out: Console) -> None:
    """Print the addresses of a running stack and what to try, and write its settings to a file."""
    environment_file = stack.folder / _ENVIRONMENT_FILE
    # The sandbox's credentials are not secret, and `signedfor doctor` needs them.
    settings = stack.shell_settings
    names = _CLIENT_SETTINGS if stack.twilio is None else tuple(settings)
    write_environment(environment_file, {name: settings[name] for name in names})
    out.print()
    out.print(addresses(stack))
    out.print()
    if stack.temporal.ui_url is not None:
        ui = TemporalUI(url=stack.temporal.ui_url, namespace=NAMESPACE)
        for view in VIEWS[:2]:
            out.print(f"{view.name}: {ui.view_url(view)}", soft_wrap=True, markup=False)
        out.print()
    out.print(f"{sign_in_hint(stack)}\n")
    if stack.twilio is None:
        out.print("[bold]THIS IS THE REAL TWILIO: messages reach people and cost money.[/bold]")
        out.print(
            "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and PUBLIC_BASE_URL are set; unset one of them "
            "to use the sandbox."
        )
        out.print(f"PUBLIC_BASE_URL must lead to {stack.webhook_url}.")
    else:
        out.print("Twilio is the sandbox: no message leaves this machine.")
        if any(os.environ.get(name) for name in _REAL_TWILIO):
            out.print(
                "To use the real Twilio, set "
                + ", ".join(_REAL_TWILIO)
                + " and unset TWILIO_API_BASE_URL."
            )
    signedfor = f"{shown_path(Path(sys.executable).with_name('signedfor'))}"
    shown = shown_path(environment_file)
    recipient = "+15558675309" if stack.twilio is not None else "RECIPIENT"
    out.print("\nIn another terminal, try:", soft_wrap=True)
    for arguments in (
        f'send {recipient} --body "Your parcel is at the door." --wait',
        "dead-letters list",
        "temporal-ui",
        *(["doctor"] if stack.twilio is not None else []),
    ):
        out.print(f"  {signedfor} --env-file {shown} {arguments}", soft_wrap=True, markup=False)
    if stack.twilio is not None:
        out.print(
            "  curl -s -H 'Content-Type: application/json' "
            f"http://{HOST}:{stack.ports.sandbox}/_sandbox/inbound "
            # Not the recipient above: further messages to it would be suppressed.
            f"""-d '{{"from": "+15558675300", "to": "{stack.settings["DEFAULT_SENDER"]}", """
            """"body": "STOP"}'""",
            soft_wrap=True,
            markup=False,
        )
    out.print("\nPress Ctrl-C to stop.")


def write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """Write settings in a form that `signedfor --env-file` and a shell can read.

    Only its owner may read the file: the codec server's token is among them.
    """
    with atomic_write(path) as file:
        file.write("".join(f"{name}='{value}'\n" for name, value in settings.items()))


if __name__ == "__main__":
    sys.exit(main())
