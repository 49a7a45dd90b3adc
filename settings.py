"""Every variable Signedfor reads, its default and meaning. The environment is the only source."""

from datetime import timedelta
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig

from messaging.consent import Scope
from messaging.fields import Sender
from messaging.payloads import data_converter, problems_in


class InvalidSettings(Exception):
    """The environment is incomplete or wrong; the text names each variable and no value."""


class TemporalUnavailable(Exception):
    """Temporal cannot be reached; the text says where it was looked for and what to check."""


class Settings(BaseSettings):
    """What the worker, the webhook and the command line read from the environment.

    How Temporal is reached is Temporal's own affair: `TEMPORAL_ADDRESS`, `TEMPORAL_NAMESPACE`,
    `TEMPORAL_API_KEY`, `TEMPORAL_TLS_*` and its profile file, read by `temporalio.envconfig`.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    twilio_account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-fA-F]{32}$")]
    """The account that sends: `AC...` from the Twilio console."""
    twilio_auth_token: SecretStr
    """Signs callbacks; also authenticates the API unless an API key is given."""
    twilio_previous_auth_token: SecretStr | None = None
    """Accepted for callbacks beside the current one while the token is rotated."""
    twilio_api_key_sid: Annotated[str | None, Field(pattern=r"^SK[0-9a-fA-F]{32}$")] = None
    """An API key for the API calls, so that the auth token is needed for signatures only."""
    twilio_api_key_secret: SecretStr | None = None
    twilio_api_base_url: str | None = None
    """Where the Twilio API is; only for the sandbox and tests. Default: Twilio itself."""
    twilio_edge: str | None = None
    twilio_region: str | None = None
    default_sender: Sender | None = None
    """Used when a message has no `from`."""

    public_base_url: str
    """What Twilio calls our webhook by, exactly: scheme, host, port and path prefix."""
    webhook_host: str = "127.0.0.1"
    webhook_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    forward_all_statuses: bool = False
    """Signal every status to the message, not only those that can change its outcome."""

    database_url: str = "sqlite:///.data/signedfor.db"
    """`sqlite:///path` or `postgresql://user:password@host/name`."""
    opt_out_scope: Scope = Scope.EVERYTHING
    """What a STOP covers: `everything`, or the `sender` it was texted to."""

    send_retry_budget_seconds: Annotated[int, Field(ge=10, le=7 * 86_400)] = 4 * 3600
    """How long a message Twilio cannot take yet is tried again."""
    receipt_check_seconds: tuple[int, ...] = (600, 3600, 21_600)
    """When to ask Twilio for a receipt that did not come, in seconds after submission."""
    unknown_wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    """How long to wait for a callback before a message of unknown fate is looked for."""
    dead_letter_hold_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long a dead letter waits for a decision."""

    max_sends_per_second: Annotated[float | None, Field(gt=0)] = None
    """Account-wide ceiling on send attempts, over all workers. Default: none."""
    max_concurrent_sends: Annotated[int, Field(ge=1, le=1000)] = 20
    """POSTs in flight a worker; also its connections to Twilio."""
    max_cached_workflows: Annotated[int, Field(ge=10)] = 1000
    """Messages a worker keeps in memory, about 80 kB each."""
    drain_seconds: Annotated[int, Field(ge=1)] = 30
    """How long a stopping worker waits for sends in flight."""
    worker_metrics_address: str | None = None
    """`host:port` for Temporal's own worker metrics in Prometheus form. Default: none."""
    log_level: str = "INFO"

    @field_validator("public_base_url", "twilio_api_base_url")
    @classmethod
    def _a_bare_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an absolute http or https URL")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("must have no query, fragment or credentials")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _key_and_secret_go_together(self) -> Self:
        if (self.twilio_api_key_sid is None) != (self.twilio_api_key_secret is None):
            raise ValueError("TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET go together")
        return self

    @property
    def send_retry_budget(self) -> timedelta:
        """How long a message Twilio cannot take yet is tried again."""
        return timedelta(seconds=self.send_retry_budget_seconds)


def load_settings() -> Settings:
    """The settings in the environment.

    Raises:
        InvalidSettings: names every missing or bad variable, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "\n".join(f"  {field.upper()}: {what}" for field, what in problems_in(error))
        raise InvalidSettings(
            f"The environment is incomplete; .env.example explains each variable.\n{problems}"
        ) from None


async def connect_temporal(
    *, lazy: bool = False, identity: str | None = None, metrics_address: str | None = None
) -> Client:
    """A client for the Temporal that `TEMPORAL_*` names, by default on localhost:7233.

    `lazy` connects at the first call instead of now.

    Raises:
        TemporalUnavailable: it does not answer, or refuses us.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "localhost:7233")
    runtime = (
        Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=metrics_address)))
        if metrics_address
        else None
    )
    try:
        return await Client.connect(
            **config, data_converter=data_converter, lazy=lazy, identity=identity, runtime=runtime
        )
    except RuntimeError as error:
        raise TemporalUnavailable(
            f"Temporal does not answer at {config['target_host']}: {error}. "
            "Is it running, and are TEMPORAL_ADDRESS and TEMPORAL_TLS_* right?"
        ) from None
