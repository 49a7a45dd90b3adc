"""The settings of the codec server."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from signedfor.errors import InvalidSettings
from signedfor.settings import invalid_settings, web_address

MIN_TOKEN_CHARACTERS = 32
_LOOPBACK = ("127.0.0.1", "localhost")


class CodecServerSettings(BaseSettings):
    """The settings of the codec server, besides `PAYLOAD_*` and `TEMPORAL_NAMESPACE`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    codec_server_host: str = "127.0.0.1"
    codec_server_port: Annotated[int, Field(ge=0, le=65_535)] = 8235
    codec_server_token: SecretStr | None = None
    """What a request must have in `Authorization: Bearer TOKEN`, or as the first part of its
    path."""
    temporal_ui_url: str = "http://127.0.0.1:8233"
    """The Temporal UI: no other page in a browser may ask."""

    @field_validator("temporal_ui_url")
    @classmethod
    def _a_web_address(cls, value: str) -> str:
        return web_address(value)

    @property
    def origins(self) -> frozenset[str]:
        """The UI's origin; on this machine by both of its names."""
        parts = urlsplit(self.temporal_ui_url)
        port = "" if parts.port is None else f":{parts.port}"
        hosts = _LOOPBACK if parts.hostname in _LOOPBACK else (parts.hostname,)
        return frozenset(f"{parts.scheme}://{host}{port}" for host in hosts)


def load_codec_server_settings() -> CodecServerSettings:
    """Read the settings from the environment.

    Raises:
        InvalidSettings: names every bad variable, never its value.
    """
    try:
        return CodecServerSettings()
    except ValidationError as error:
        raise invalid_settings(error) from None


def token_of(settings: CodecServerSettings) -> str:
    """The token, of at least 32 visible ASCII characters that need no escape in a URL.

    Raises:
        InvalidSettings: there is none, or it is too short.
    """
    if settings.codec_server_token is None:
        raise InvalidSettings("Set CODEC_SERVER_TOKEN, or CODEC_SERVER_TOKEN_FILE to its file.")
    token = settings.codec_server_token.get_secret_value()
    is_plain = token.isascii() and token.replace("-", "").replace("_", "").isalnum()
    if len(token) < MIN_TOKEN_CHARACTERS or not is_plain:
        raise InvalidSettings(
            f"CODEC_SERVER_TOKEN must be at least {MIN_TOKEN_CHARACTERS} letters, digits, - and _; "
            "make one with: openssl rand -hex 32"
        )
    return token
