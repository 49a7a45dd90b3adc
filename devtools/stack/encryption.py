"""The key of a local stack, and the token with which its Temporal UI asks the codec server."""

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from devtools.stack.ports import HOST

_KEYS = "payload-keys"
_TOKEN = "codec-token"  # noqa: S105 - the name of a file
_UI_OPTIONS = "temporal.yaml"
_PRESET = "stack"


def key_settings(folder: Path, *, encrypted: bool) -> dict[str, str]:
    """The variables of every process in the stack's folder."""
    if not encrypted:
        return {"PAYLOAD_ENCRYPTION": "off"}
    return {"PAYLOAD_ENCRYPTION": "on", "PAYLOAD_KEYS_FILE": str(folder / _KEYS)}


def codec_settings(folder: Path, *, port: int) -> dict[str, str]:
    """The variables of the codec server."""
    return {
        "CODEC_SERVER_HOST": HOST,
        "CODEC_SERVER_PORT": str(port),
        "CODEC_SERVER_TOKEN_FILE": str(folder / _TOKEN),
    }


def make_key(settings: Mapping[str, str]) -> None:
    """Make the key that the settings name, unless it is there."""
    if (path := settings.get("PAYLOAD_KEYS_FILE")) is not None:
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        _write_once(Path(path), f"local={key}\n")


def make_token(settings: Mapping[str, str]) -> None:
    """Make the codec server's token, unless it is there."""
    _write_once(Path(settings["CODEC_SERVER_TOKEN_FILE"]), secrets.token_urlsafe(32) + "\n")


def ui_options(folder: Path) -> list[str]:
    """Arguments of `temporal server start-dev` that read the address of the codec server.

    From a file, because it ends with the token, and every user of a machine sees its arguments.
    """
    return ["--env-file", str(folder / _UI_OPTIONS), "--env", _PRESET]


def secrets_in(folder: Path) -> list[str]:
    """The key and the token of the stack that was started in this folder."""
    key = (folder / _KEYS).read_text().strip().partition("=")[2]
    return [key, (folder / _TOKEN).read_text().strip()]


def codec_client_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """The variables with which Temporal's command line asks the codec server."""
    return {
        "TEMPORAL_CODEC_ENDPOINT": f"http://{HOST}:{settings['CODEC_SERVER_PORT']}",
        "TEMPORAL_CODEC_AUTH": f"Bearer {_token(settings)}",
    }


def _token(settings: Mapping[str, str]) -> str:
    return Path(settings["CODEC_SERVER_TOKEN_FILE"]).read_text().strip()


def write_ui_options(folder: Path, settings: Mapping[str, str]) -> None:
    """Write that file."""
    endpoint = f"http://{HOST}:{settings['CODEC_SERVER_PORT']}/{_token(settings)}"
    path = folder / _UI_OPTIONS
    path.unlink(missing_ok=True)
    _write_once(path, f"env:\n  {_PRESET}:\n    ui-codec-endpoint: {endpoint}\n")


def _write_once(path: Path, text: str) -> None:
    """Write a file that only its owner may read, unless it exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
