"""One step of a script: what the client sees, what becomes of the message, what is posted."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

CallbackStatus = Literal["queued", "sent", "delivered", "undelivered", "failed", "read", "canceled"]


class Spec(BaseModel):
    """A frozen part of a control request; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CallbackScript(Spec):
    """What happens to the status callbacks of one message; the default is nothing unusual.

    `statuses`: exactly these are posted, in this order, none before it is true (a status that
    never becomes true is posted at the end). `lost`: true for all, or the statuses never posted.
    `delay`: seconds added to each. `double`: how many times each is posted. `reorder`: the last
    status is posted before the ones that led to it. `before_response`: all are posted before the
    create is answered.
    """

    statuses: tuple[CallbackStatus, ...] | None = None
    error_code: int | None = None
    lost: bool | tuple[CallbackStatus, ...] = False
    delay: float = Field(default=0, ge=0)
    double: int = Field(default=1, ge=1, le=10)
    reorder: bool = False
    before_response: bool = False


Respond = Literal[
    "ok",
    "error",
    "error_after_accept",
    "hang_after_accept",
    "hang_before_accept",
    "drop_before_accept",
    "drop_after_accept",
    "empty_201",
    "html_201",
    "created_no_sid",
]

NOT_ACCEPTED = frozenset({"error", "hang_before_accept", "drop_before_accept"})


class Step(Spec):
    """What happens to one create that is valid; the default is what Twilio does on a good day.

    `respond`: what the client sees, and whether the message is accepted. `code`, `http_status`,
    `html`, `headers`: of an error answer. `stored`: whether a refusal is listed as a failed
    message (by default a 400 is). `seconds`: how long a hang lasts at most. `delay`: seconds
    before the answer. `final`, `error_code`: the status the message really reaches.
    `listed_after`: seconds from its creation until the list holds it; by its sid it is there at
    once.
    """

    respond: Respond = "ok"
    code: int | None = None
    http_status: int | None = Field(default=None, ge=300, le=599)
    message: str | None = None
    stored: bool | None = None
    html: bool = False
    seconds: float = Field(default=60, gt=0)
    delay: float = Field(default=0, ge=0)
    headers: dict[str, str] = Field(default_factory=dict)
    callbacks: CallbackScript = CallbackScript()
    final: Literal["delivered", "undelivered", "failed", "sent", "read"] = "delivered"
    error_code: int | None = None
    listed_after: float = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _an_error_says_which(self) -> Self:
        if self.respond == "error" and self.code is None and self.http_status is None:
            raise ValueError("an error needs a code or an http_status")
        return self

    @property
    def accepts(self) -> bool:
        """Whether the message is accepted, whatever the client is told."""
        return self.respond not in NOT_ACCEPTED


NORMAL = Step()
