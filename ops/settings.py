"""The settings of the operations page, besides those that it shares with worker and webhook."""

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import NoDecode

from ops.access import Role
from signedfor.contract.fields import problem
from signedfor.errors import InvalidSettings
from signedfor.settings import CampaignSettings, Settings, invalid_settings, web_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class OpsSettings(Settings, CampaignSettings):
    """The settings of the operations page."""

    ops_host: str = "127.0.0.1"
    ops_port: Annotated[int, Field(ge=0, le=65_535)] = 8234
    ops_base_url: str | None = None
    """The URL at which browsers reach the page, if not http://OPS_HOST:OPS_PORT. With https,
    cookies are sent over https only."""
    ops_users_file: Path | None = None
    """Who may sign in with a password; `python -m ops add-user` writes it."""
    ops_trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    """Addresses of a proxy that has signed people in: `10.0.0.5,172.16.0.0/12`. Requests from
    elsewhere cannot use its headers."""
    ops_user_header: str = "X-Forwarded-Email"
    """The proxy's header with the person's name."""
    ops_groups_header: str = "X-Forwarded-Groups"
    """The proxy's header with the person's groups, separated by commas."""
    ops_group_roles: Annotated[dict[str, Role], NoDecode, Field(default_factory=dict)]
    """The role of each group: `support=look,on-call=act,admins=administer`."""
    ops_session_hours: Annotated[int, Field(ge=1, le=168)] = 12
    """After this time people have to sign in again."""
    ops_max_upload_mb: Annotated[int, Field(ge=1, le=1000)] = 20
    """The largest file for a campaign, in megabytes; a file of 100,000 recipients has about 5."""

    @field_validator("ops_base_url")
    @classmethod
    def _a_base_url(cls, value: str | None) -> str | None:
        return value if value is None else web_address(value)

    @field_validator("ops_trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        return [each.strip() for each in value.split(",")] if isinstance(value, str) else value

    @field_validator("ops_group_roles", mode="before")
    @classmethod
    def _roles_by_group(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.rpartition("=") for pair in value.split(",")]
        if any(not group.strip() or role.strip() not in set(Role) for group, _, role in pairs):
            raise problem("must be pairs such as on-call=act, with the roles " + ", ".join(Role))
        return {group.strip(): role.strip() for group, _, role in pairs}

    @model_validator(mode="after")
    def _somebody_can_sign_in(self) -> Self:
        if self.ops_users_file is None and not self.ops_trusted_proxies:
            raise problem(
                "OPS_USERS_FILE or OPS_TRUSTED_PROXIES must be set, or nobody can sign in"
            )
        return self

    @model_validator(mode="after")
    def _a_proxy_needs_roles(self) -> Self:
        if self.ops_trusted_proxies and not self.ops_group_roles:
            raise problem("OPS_GROUP_ROLES must be set with OPS_TRUSTED_PROXIES")
        return self

    @property
    def base_url(self) -> str:
        """The URL at which browsers reach the page."""
        return self.ops_base_url or f"http://{self.ops_host}:{self.ops_port}"


def load_ops_settings() -> OpsSettings:
    """Read the settings from the environment.

    Raises:
        InvalidSettings: names every missing or bad variable, never its value.
    """
    try:
        return OpsSettings()
    except ValidationError as error:
        raise invalid_settings(error) from None


__all__ = ["InvalidSettings", "OpsSettings", "load_ops_settings"]
