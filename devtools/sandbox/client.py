"""A client of the control interface, for tests, the demo and benchmarks."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypedDict, cast

import httpx

_From = TypedDict("_From", {"from": str | None})  # no name for a field of a class


class AcceptedRow(_From):
    """One create that was accepted, as its message stands now; times in epoch seconds.

    `arrived` is when its head had arrived, before its body was read.
    """

    n: int
    sid: str
    to: str
    messaging_service_sid: str | None
    body: str
    body_sha256: str
    segments: int
    status: str
    error_code: int | None
    status_callback: str | None
    arrived: float
    created: float
    sent: float | None
    finished: bool


class RefusedRow(_From):
    """One create that was refused: `invalid`, `scripted`, `dropped` or `hung`."""

    to: str
    body: str
    body_sha256: str
    reason: str
    code: int | None
    http_status: int | None
    sid: str | None
    arrived: float
    at: float


class CallbackRow(TypedDict):
    """One attempt of one status callback."""

    sid: str
    to: str
    status: str
    attempt: int
    http_status: int | None
    error: str | None
    at: float


class LedgerView(TypedDict):
    """The three lists of the ledger, in the order things happened."""

    accepted: list[AcceptedRow]
    refused: list[RefusedRow]
    callbacks: list[CallbackRow]


class Summary(TypedDict):
    """Counts of the ledger.

    `unfinished` messages still wait for their last status; `pending` ones have callbacks that are
    due and not posted yet. Both are 0 when the sandbox is idle.
    """

    accepted: int
    refused: int
    callbacks: int
    unfinished: int
    pending: int
    by_status: dict[str, int]
    by_reason: dict[str, int]
    by_answer: dict[str, int]


class InboundResult(TypedDict):
    """What happened to an inbound message; the webhook's answer is null if there was none."""

    sid: str
    keyword: str | None
    auto_reply: str | None
    replies: list[str]
    http_status: int | None
    content_type: str | None
    body: str | None
    error: str | None


class SettingsView(TypedDict):
    """The current settings."""

    sent_after: float
    delivered_after: float
    hold: bool
    time_scale: float
    inbound_url: str | None
    segments_per_second: float | None
    queue_segments: int
    service_sender: str
    events_url: str | None
    events_collected_for: float
    events_copies: int
    events_newest_first: bool


Step = Mapping[str, Any]
"""A step of a script, as `devtools.sandbox.faults.Step` describes it, in plain JSON."""


class SandboxControl:
    """Controls a running sandbox. Every method raises httpx.HTTPStatusError when it is refused."""

    def __init__(self, base_url: str, *, timeout: float = 30) -> None:
        """`base_url` as in the ready line; `timeout` in seconds."""
        self._client = httpx.Client(
            base_url=f"{base_url}/_sandbox", timeout=timeout, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def health(self) -> bool:
        """Whether the sandbox answers."""
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False

    def script(self, to: str, steps: Sequence[Step], *, then: Step | None = None) -> None:
        """Have the next creates to `to` follow `steps`, one each, and later ones `then`."""
        self._send("POST", "/scripts", json={"to": to, "steps": list(steps), "then": then})

    def plan(self, seed: int, faults: Mapping[str, float], **options: Any) -> None:
        """Draw random faults; `options` are those of `devtools.sandbox.faults.Plan`."""
        self._send("POST", "/plan", json={"seed": seed, "faults": dict(faults), **options})

    def inbound(
        self,
        from_: str,
        to: str,
        body: str,
        *,
        messaging_service_sid: str | None = None,
        opt_out_type: str | None = None,
        user_id: str | None = None,
        media: Sequence[str] = (),
    ) -> InboundResult:
        """Have the person `from_` write `body` to our sender `to`; `media` are content types.

        `user_id` is the WhatsApp user id of a person who writes from a number.
        """
        answer = self._send(
            "POST",
            "/inbound",
            json={
                "from": from_,
                "to": to,
                "body": body,
                "messaging_service_sid": messaging_service_sid,
                "opt_out_type": opt_out_type,
                "user_id": user_id,
                "media": list(media),
            },
        )
        return cast("InboundResult", answer.json())

    def reassigned(self, number: str, *, sender: str) -> None:
        """Have Twilio find that `number`, to which our `sender` writes, is somebody else's now."""
        self._send("POST", "/reassigned", json={"from": sender, "to": number})

    def events(self) -> dict[str, int]:
        """Return how many events are `pending`, `delivered` and `dropped`, and the answers."""
        return cast("dict[str, int]", self._send("GET", "/events").json())

    def ledger(self, *, to: str | None = None, since: float = 0) -> LedgerView:
        """Return the ledger, limited to `to` and to what happened since (epoch seconds)."""
        fields: dict[str, str | float] = {"since": since}
        if to is not None:
            fields["to"] = to
        return cast("LedgerView", self._send("GET", "/ledger", params=fields).json())

    def summary(self) -> Summary:
        """Return the counts of the ledger."""
        return cast("Summary", self._send("GET", "/ledger/summary").json())

    def settings(self, **changes: Any) -> SettingsView:
        """Apply `changes` and return all settings."""
        if not changes:
            return cast("SettingsView", self._send("GET", "/settings").json())
        return cast("SettingsView", self._send("PUT", "/settings", json=changes).json())

    def clear_scripts(self) -> None:
        """Remove every script."""
        self._send("DELETE", "/scripts")

    def clear_plan(self) -> None:
        """Remove the plan."""
        self._send("DELETE", "/plan")

    def clear_opt_outs(self) -> None:
        """Remove every opt-out."""
        self._send("DELETE", "/opt-outs")

    def clear_ledger(self) -> None:
        """Empty the ledger; messages can still be fetched and listed."""
        self._send("DELETE", "/ledger")

    def reset(self) -> None:
        """Reset the sandbox, except for messages, which stay on the list."""
        self.clear_scripts()
        self.clear_plan()
        self.clear_opt_outs()
        self.clear_ledger()
        self._send("DELETE", "/settings")
        self._send("DELETE", "/events")

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._client.request(method, path, **options)
        answer.raise_for_status()
        return answer
