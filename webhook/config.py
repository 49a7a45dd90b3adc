"""What the webhook must be told."""

from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr

from signedfor.consent import Scope


class InvalidConfig(ValueError):
    """A setting cannot be used; the text names its variable and never repeats its value."""


@dataclass(frozen=True, kw_only=True)
class WebhookConfig:
    """The webhook's settings; what is wrong with them is said by `InvalidConfig`."""

    public_base_url: str
    """What Twilio calls us by, exactly: scheme, host, port, and a path prefix the proxy strips."""
    account_sid: str
    """Callbacks about other accounts' messages are refused."""
    auth_token: SecretStr
    previous_auth_token: SecretStr | None = None
    """Accepted as well, while the token is rotated."""
    forward_all_statuses: bool = False
    """Signal every status, not only those that can change a message's outcome."""
    opt_out_scope: Scope = Scope.EVERYTHING
    """What a STOP covers: everything, or the sender it was texted to."""
    signal_timeout: timedelta = timedelta(seconds=1)
    """For message and dead letter together. Short: what Temporal does not take, the inbox does."""
    patient_timeout: timedelta = timedelta(seconds=3)
    """For what has nowhere else to go, and in the background; Twilio waits 15 seconds in all."""

    def __post_init__(self) -> None:
        """Refuse what no endpoint could work with."""
        if self.opt_out_scope is Scope.CATEGORY:
            raise InvalidConfig(
                "OPT_OUT_SCOPE: must be everything or sender; a STOP names no category"
            )

    @property
    def auth_tokens(self) -> list[SecretStr]:
        """The current token, then the previous one."""
        return [token for token in (self.auth_token, self.previous_auth_token) if token is not None]
