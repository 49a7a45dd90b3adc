"""`signedfor senders`: the rate of each sender, in the database of DATABASE_URL."""

from datetime import timedelta
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from signedfor.cli import audit
from signedfor.cli.environment import database, database_settings
from signedfor.cli.options import JsonOption, ReasonOption, RevealOption, check_reason
from signedfor.cli.output import BadInput, command_output, listing
from signedfor.masks import masked_sender
from signedfor.store.audit_log import PAUSE_SENDER, Action, AuditLog
from signedfor.store.breakers import Breakers, OpenBreaker
from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.times import iso8601
from signedfor.twilio.phone import InvalidAddress, normalize_sender
from signedfor.twilio.rates import Rate

app = typer.Typer(
    no_args_is_help=True,
    help="Rate, backlog and pause of each sender.\n\nThese commands need only DATABASE_URL, and "
    "DEFAULT_SEGMENTS_PER_SECOND if it is set for the workers.",
)

_SenderArgument = Annotated[
    str,
    typer.Argument(
        metavar="SENDER",
        help="A number, short code, alphanumeric ID, channel address or Messaging Service.",
    ),
]
_DEFAULT = "default"
_rate = TypeAdapter(Rate)


@app.command("list")
def list_(*, reveal: RevealOption = False, as_json: JsonOption = False) -> None:
    """Show each sender's rate and backlog."""
    with command_output(as_json=as_json) as out:
        with database() as engine:
            states = _rate_limiter(engine).states()
            breakers = {each.sender: each for each in Breakers(engine).open_breakers()}
            pauses = AuditLog(engine).pauses(each.sender for each in states if each.is_paused)
        names = [each.sender if reveal else masked_sender(each.sender) for each in states]
        out.result(
            {
                "senders": [
                    {
                        "sender": name,
                        "kind": state.kind,
                        "rate": state.rate,
                        "is_configured": state.is_configured,
                        "is_paused": state.is_paused,
                        "pause": _pause(pauses.get(state.sender)),
                        "breaker": _breaker(breakers.get(state.sender)),
                        "backlog_segments": round(state.backlog_segments, 1),
                        "backlog_seconds": round(state.backlog.total_seconds(), 1),
                        "urgent_segments": round(state.urgent_segments, 1),
                    }
                    for name, state in zip(names, states, strict=True)
                ]
            },
            listing(
                ("Sender", "Kind", "Segments/s", "Set by", "Backlog", "Takes", "Urgent", "State"),
                [
                    _row(name, state, pauses.get(state.sender), breakers.get(state.sender))
                    for name, state in zip(names, states, strict=True)
                ],
            )
            if states
            else "No sender has been used or configured yet.",
        )


@app.command()
def rate(
    sender: _SenderArgument,
    segments_per_second: Annotated[
        str,
        typer.Argument(
            metavar="RATE", help="Segments per second, or default for the rate of its kind."
        ),
    ],
    *,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set how many segments per second a sender may send.

    It takes effect at once, for all workers. Messages that already wait keep their reservations:
    a higher rate does not move them forward; a lower rate delays them.
    """
    with command_output(as_json=as_json) as out:
        normalized = _sender(sender)
        wanted = None if segments_per_second == _DEFAULT else _number(segments_per_second)
        check_reason(reason)
        with database() as engine:
            limiter = _rate_limiter(engine)
            audit.record(
                engine,
                "sender.rate",
                masked_sender(normalized),
                why=reason,
                details=f"{wanted or 'default'} segments per second",
            )
            limiter.set_rate(normalized, wanted)
            now = limiter.rate(normalized)
        out.result({"rate": now}, f"The sender sends {now:g} segments per second.")


@app.command()
def pause(
    sender: _SenderArgument, *, reason: ReasonOption = None, as_json: JsonOption = False
) -> None:
    """Send nothing more from a sender; its messages wait."""
    with command_output(as_json=as_json) as out:
        check_reason(reason)
        with database() as engine:
            limiter = _rate_limiter(engine)
            known = _known(limiter, sender)
            audit.record(engine, PAUSE_SENDER, masked_sender(known), why=reason)
            limiter.pause(known)
        out.result(
            {"is_paused": True},
            "Paused: no new POST begins. "
            "Messages that expire meanwhile end as expired; the others wait.",
        )


@app.command()
def resume(
    sender: _SenderArgument, *, reason: ReasonOption = None, as_json: JsonOption = False
) -> None:
    """Continue sending from a paused sender, at its rate.

    If the breaker has paused it, what was sent until now no longer counts.
    """
    with command_output(as_json=as_json) as out:
        check_reason(reason)
        with database() as engine:
            limiter = _rate_limiter(engine)
            known = _known(limiter, sender)
            audit.record(engine, "sender.resume", masked_sender(known), why=reason)
            limiter.resume(known)
        out.result({"is_paused": False}, "Resumed: its messages are sent again, at its rate.")


def _rate_limiter(engine: Engine) -> RateLimiter:
    return RateLimiter(engine, rates=database_settings().default_segments_per_second)


def _sender(text: str) -> str:
    try:
        return normalize_sender(text)
    except InvalidAddress as error:
        raise BadInput([("SENDER", str(error))]) from None


def _known(limiter: RateLimiter, text: str) -> str:
    """The sender; a slip must not look like a pause."""
    sender = _sender(text)
    if not limiter.is_known(sender):
        raise BadInput(
            [("SENDER", "has never been used or configured; check it, or set its rate first")]
        )
    return sender


def _number(text: str) -> float:
    try:
        return _rate.validate_strings(text)
    except ValidationError:
        raise BadInput([("RATE", "must be a number from 0.001 to 1000000, or default")]) from None


def _pause(pause: Action | None) -> dict[str, Any] | None:
    """Who has paused the sender, for programs."""
    if pause is None:
        return None
    return {"at": iso8601(pause.at), "who": pause.who, "why": pause.why}


def _breaker(breaker: OpenBreaker | None) -> dict[str, Any] | None:
    """Why the breaker has paused the sender, for programs."""
    if breaker is None:
        return None
    return {
        "reason": breaker.reason.value,
        "opened_at": iso8601(breaker.opened_at),
        "because": breaker.because,
    }


def _state(state: SenderState, pause: Action | None, breaker: OpenBreaker | None) -> str | None:
    if breaker is not None:
        return f"paused by the breaker at {breaker.opened_at:%Y-%m-%d %H:%M} UTC: {breaker.because}"
    if pause is not None:
        why = f": {pause.why}" if pause.why else ""
        return f"paused by {pause.who} at {pause.at:%Y-%m-%d %H:%M} UTC{why}"
    return "paused" if state.is_paused else None


def _row(
    name: str, state: SenderState, pause: Action | None, breaker: OpenBreaker | None
) -> tuple[object, ...]:
    return (
        name,
        state.kind.replace("_", " "),
        f"{state.rate:g}",
        "you" if state.is_configured else "default",
        f"{state.backlog_segments:.0f} segments" if state.backlog else "none",
        timedelta(seconds=round(state.backlog.total_seconds())) if state.backlog else None,
        f"{state.urgent_segments:.0f} segments" if state.urgent_segments >= 1 else None,
        _state(state, pause, breaker),
    )
