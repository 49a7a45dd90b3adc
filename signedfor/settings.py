"""The settings: every variable, its default and meaning. The environment is the only source."""

import re
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from signedfor.consent import CATEGORY_SCOPES, DEFAULT_REVIEW_SUPPRESSES, Scope
from signedfor.contract import MESSAGES_QUEUE, TWILIO_SENDS_QUEUE
from signedfor.contract.fields import Label, Sender, problem, problems_in
from signedfor.destinations import ALL, country_problem
from signedfor.errors import InvalidSettings
from signedfor.inbound_texts import TextPolicy
from signedfor.message_limits import LimitRule, parse_rules
from signedfor.quiet_hours import unknown_names_problem
from signedfor.twilio.rates import Rate, SenderKind


def web_address(value: str) -> str:
    """The URL without a slash at its end, if it is one that links may show."""
    try:
        parts = urlsplit(value)
    except ValueError:
        raise problem("must be an absolute http or https URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise problem("must be an absolute http or https URL without credentials")
    return value.rstrip("/")


class AtTwilio(StrEnum):
    """What `signedfor erase` does with Twilio's own records of a person's messages."""

    DELETE = "delete"
    """Delete messages and media."""
    REDACT = "redact"
    """Take away texts and media; numbers, times and prices stay."""
    KEEP = "keep"
    """Nothing."""


class DatabaseSettings(BaseSettings):
    """The settings of commands that need only the database, such as `signedfor opt-outs`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, env_ignore_empty=True
    )

    database_url: str = "sqlite:///.data/signedfor.db"
    """`sqlite:///path` or `postgresql://user:password@host/name`."""
    default_segments_per_second: Annotated[dict[SenderKind, Rate], NoDecode] = {}
    """Segments per second by kind of sender, if the account was granted other rates than Twilio's
    usual ones: `long_code=3.75,short_code=200`. For a single sender: `signedfor senders rate`."""

    opt_out_scope: Scope = Scope.EVERYTHING
    """What a STOP covers: `everything`, or only the `sender` it was sent to."""
    review_suppresses: Annotated[tuple[Label, ...], NoDecode] = DEFAULT_REVIEW_SUPPRESSES
    """Categories of messages that are not sent to a person while a message of theirs awaits review:
    `marketing,news`, `all` or `none`."""

    require_opt_in: Annotated[tuple[Label, ...], NoDecode] = ()
    """Categories that are sent only to people with a recorded opt-in: `marketing,news`. Default:
    none."""
    quiet_hours: Annotated[dict[Label, tuple[str, ...]], NoDecode] = {}
    """Quiet hours by category: `marketing:us,marketing:france-marketing`. They are kept besides a
    message's own send window. Default: none."""

    allowed_countries: Annotated[tuple[str, ...], NoDecode] = ()
    """Countries that may be sent to, by ISO 3166 codes: `US,CA,GB`, or `all`. Default: those of
    your senders."""
    message_limits: Annotated[tuple[LimitRule, ...], NoDecode] = ()
    """How many messages may begin in a time, to a person, for a tenant, of a category:
    `person=5/24h,person:otp=10/1h,tenant=10000/1d,category:marketing=50000/1d`. Default: none."""

    temporal_ui_url: str = "http://127.0.0.1:8233"
    """Where operators open Temporal's UI: links lead there."""

    @field_validator("temporal_ui_url")
    @classmethod
    def _a_web_address(cls, value: str) -> str:
        return web_address(value)

    @field_validator("allowed_countries", mode="before")
    @classmethod
    def _countries(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        codes = [each.strip().upper() for each in value.split(",")]
        if codes == [ALL.upper()]:
            return (ALL,)
        for code in codes:
            if (wrong := country_problem(code)) is not None:
                raise problem(wrong)
        return tuple(dict.fromkeys(codes))

    @field_validator("message_limits", mode="before")
    @classmethod
    def _limits(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_rules(value)
        except ValueError as error:
            raise problem(str(error)) from None

    @field_validator("opt_out_scope")
    @classmethod
    def _not_a_category(cls, value: Scope) -> Scope:
        if value in CATEGORY_SCOPES:
            raise problem("must be everything or sender")
        return value

    @field_validator("review_suppresses", "require_opt_in", mode="before")
    @classmethod
    def _categories(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return () if value.strip() == "none" else [each.strip() for each in value.split(",")]

    @field_validator("quiet_hours", mode="before")
    @classmethod
    def _by_category(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        found: dict[str, tuple[str, ...]] = {}
        for pair in value.split(","):
            # From the right: a category may contain colons, the name of quiet hours does not.
            category, colon, name = (part.strip() for part in pair.rpartition(":"))
            if not colon:
                raise problem("must be pairs such as marketing:us")
            if (unknown := unknown_names_problem([name])) is not None:
                raise problem(unknown)
            found[category] = (*found.get(category, ()), name)
        return found

    @field_validator("default_segments_per_second", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [pair.partition("=") for pair in value.split(",")]
        if any(kind.strip() not in set(SenderKind) for kind, _, _ in pairs):
            raise problem("must be pairs such as long_code=1, of " + ", ".join(SenderKind))
        return {kind.strip(): rate.strip() for kind, _, rate in pairs}


class CampaignSettings(DatabaseSettings):
    """The settings of `signedfor campaign`, which needs no Twilio account."""

    default_sender: Sender | None = None
    """The sender of a campaign without `--from`."""
    price_per_segment: Annotated[Decimal | None, Field(ge=0, le=1000)] = None
    """What Twilio and the carriers charge you per segment; for estimates only."""
    price_currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"


class Settings(DatabaseSettings):
    """The settings of the worker, the webhook and the command line.

    The connection to Temporal is not among them: `temporalio.envconfig` reads `TEMPORAL_ADDRESS`,
    `TEMPORAL_NAMESPACE`, `TEMPORAL_API_KEY`, `TEMPORAL_TLS_*` and Temporal's profile file.
    """

    twilio_account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-fA-F]{32}$")]
    """The account that sends: `AC...` from the Twilio console."""
    twilio_auth_token: SecretStr
    """Verifies callbacks; also authenticates API calls unless an API key is given."""
    twilio_previous_auth_token: SecretStr | None = None
    """Also accepted for callbacks while the token is rotated."""
    twilio_webhook_shared_keys: Annotated[dict[str, SecretStr], NoDecode] = {}
    """Webhook shared keys that a Webhooks Rule signs callbacks with (HMAC_SHA256), by their IDs:
    `webhooks_sharedkey_...=secret,webhooks_sharedkey_...=secret`. Default: none."""
    twilio_api_key_sid: Annotated[str | None, Field(pattern=r"^SK[0-9a-fA-F]{32}$")] = None
    """An API key for the API calls; the auth token is then used for signatures only."""
    twilio_api_key_secret: SecretStr | None = None
    twilio_api_base_url: str | None = None
    """URL of the Twilio API, for the sandbox and tests only. Default: Twilio itself."""
    twilio_edge: str | None = None
    twilio_region: str | None = None
    default_sender: Sender | None = None
    """The sender of a message without `from`."""

    public_base_url: str
    """The URL at which Twilio calls the webhook, exactly: scheme, host, port and path prefix."""
    webhook_host: str = "127.0.0.1"
    webhook_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    webhook_metrics_address: str | None = None
    """`host:port` for the webhook's metrics in Prometheus format and its health; Twilio's port then
    serves neither. Default: none, and Twilio's port serves them."""
    forward_all_statuses: bool = False
    """Signal every status to the message, not only those that can change its outcome."""
    event_streams: bool = False
    """Accept Twilio Event Streams, as a second channel for statuses and inbound messages."""

    undeliverable_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """How long a number is not sent to that Twilio calls unreachable. Its own message ends that."""
    inbound_catch_up_minutes: Annotated[int, Field(ge=0, le=1440)] = 5
    """How often to search for inbound messages that did not reach the webhook; 0: never."""

    inbound_workflow: Annotated[str | None, Field(max_length=255)] = None
    """The workflow type of yours that is started for each inbound message. Default: none."""
    inbound_task_queue: Annotated[str | None, Field(max_length=255)] = None
    """The task queue of its workers."""
    inbound_text_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """How long texts of inbound messages are kept; 0: only until they are dispatched and read."""
    inbound_replies_file: Path | None = None
    """A TOML file with the webhook's answers to keywords. Default: none."""

    inbound_record_days: Annotated[int, Field(ge=30, le=36_500)] = 400
    """How long it is kept that a message was received; one about consent as long as the next."""
    consent_record_days: Annotated[int, Field(ge=365, le=36_500)] = 1827
    """How long evidence of consent is kept after it has stopped to hold."""
    audit_log_days: Annotated[int, Field(ge=365, le=36_500)] = 1827
    """How long it is kept what people did on the operations page and the command line."""
    campaign_row_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    """How long a campaign's recipients are kept after its end."""
    erase_at_twilio: AtTwilio = AtTwilio.DELETE
    """What `signedfor erase` does with Twilio's own records of the person's messages."""

    send_retry_budget_seconds: Annotated[int, Field(ge=10, le=7 * 86_400)] = 4 * 3600
    """How long a message is retried while Twilio cannot accept it."""
    receipt_checks_seconds: Annotated[tuple[Annotated[int, Field(ge=1)], ...], NoDecode] = (
        600,
        3600,
        21_600,
    )
    """When to ask Twilio for a missing receipt, in seconds after submission: `600,3600,21600`."""
    unknown_outcome_wait_seconds: Annotated[int, Field(ge=0, le=3600)] = 30
    """How long to wait for a callback before searching for a message with an unknown outcome."""
    dead_letter_expiry_days: Annotated[int, Field(ge=1, le=365)] = 30
    """How long a dead letter waits for a decision before it expires."""
    attempt_record_days: Annotated[int, Field(ge=2, le=3650)] = 30
    """How long the record of each POST, which prevents a second one, is kept after its message has
    ended. At least as long as Temporal keeps closed workflows (the namespace's retention)."""

    duplicate_window_seconds: Annotated[int, Field(ge=0, le=86_400)] = 0
    """For how long a message with the same content to the same person is a duplicate, which is not
    sent; 0: for none."""
    max_sends_per_second: Annotated[float | None, Field(gt=0)] = None
    """Account-wide limit on POSTs to Twilio, over all workers. Default: none."""
    max_concurrent_sends: Annotated[int, Field(ge=1, le=1000)] = 20
    """First attempts in progress at a time in each worker, and as many later ones."""
    max_cached_workflows: Annotated[int, Field(ge=10)] = 1000
    """Workflows that a worker keeps in memory, about 60 kB each."""
    worker_shutdown_seconds: Annotated[int, Field(ge=1)] = 30
    """How long a worker waits for sends in flight when it shuts down."""
    temporal_deployment_name: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9/_-]{0,99}$")
    ] = None
    """Temporal Worker Versioning: the name that all versions share. Temporal's Worker Controller
    sets this variable and the next."""
    temporal_worker_build_id: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$")
    ] = None
    """Temporal Worker Versioning: this version. Default: versioning is off."""
    worker_metrics_address: str | None = None
    """`host:port` for the worker's metrics in Prometheus format and its health. Default: none."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"
    """`text` to read, or a JSON object a line."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("twilio_webhook_shared_keys", mode="before")
    @classmethod
    def _secrets_by_id(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # The first equals sign ends the ID; a secret may have more of them.
        pairs = [pair.strip().partition("=") for pair in value.split(",")]
        if not all(re.fullmatch(r"webhooks_sharedkey_\w+", key) and own for key, _, own in pairs):
            raise problem("must be pairs such as webhooks_sharedkey_1=secret, with commas between")
        return {key: own for key, _, own in pairs}

    @field_validator("receipt_checks_seconds", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("receipt_checks_seconds")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise problem("must be in ascending order")
        return value

    @field_validator("webhook_metrics_address", "worker_metrics_address")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"([0-9.]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}", value):
            raise problem("must be an IP address and a port, such as 127.0.0.1:9464")
        return value

    @field_validator("public_base_url", "twilio_api_base_url")
    @classmethod
    def _a_bare_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:  # its text repeats the value
            raise problem("must be an absolute http or https URL with a valid port") from None
        visible = re.fullmatch(r"[!-~]+", value)  # urlsplit drops some of the others silently
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not visible:
            raise problem("must be an absolute http or https URL, percent-encoded where needed")
        if "?" in value or "#" in value or "@" in parts.netloc:
            raise problem("must have no query, fragment or credentials")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _key_and_secret_go_together(self) -> Self:
        if (self.twilio_api_key_sid is None) != (self.twilio_api_key_secret is None):
            raise problem("TWILIO_API_KEY_SID and TWILIO_API_KEY_SECRET go together")
        return self

    @field_validator("inbound_task_queue")
    @classmethod
    def _not_ours(cls, value: str | None) -> str | None:
        if value in {MESSAGES_QUEUE, TWILIO_SENDS_QUEUE}:
            raise problem(f"must be your own, not {MESSAGES_QUEUE} or {TWILIO_SENDS_QUEUE}")
        return value

    @model_validator(mode="after")
    def _workflow_and_queue_go_together(self) -> Self:
        if (self.inbound_workflow is None) != (self.inbound_task_queue is None):
            raise problem("INBOUND_WORKFLOW and INBOUND_TASK_QUEUE go together")
        return self

    @model_validator(mode="after")
    def _deployment_and_build_go_together(self) -> Self:
        if (self.temporal_deployment_name is None) != (self.temporal_worker_build_id is None):
            raise problem("TEMPORAL_DEPLOYMENT_NAME and TEMPORAL_WORKER_BUILD_ID go together")
        return self

    @property
    def inbound_texts(self) -> TextPolicy:
        """Which inbound messages are stored with their text."""
        return TextPolicy(
            dispatches=self.inbound_workflow is not None, keeps=self.inbound_text_days > 0
        )

    @property
    def send_retry_budget(self) -> timedelta:
        """How long a message is retried while Twilio cannot accept it."""
        return timedelta(seconds=self.send_retry_budget_seconds)


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        InvalidSettings: names every missing or bad variable, never its value.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise invalid_settings(error) from None


def invalid_settings(error: ValidationError) -> InvalidSettings:
    """What to tell people of it."""
    problems = "\n".join(
        f"  {what}" if field == "input" else f"  {field.upper()}: {what}"
        for field, what in problems_in(error)
    )
    return InvalidSettings(
        f"The environment is incomplete or wrong; .env.example explains each variable.\n{problems}"
    )
