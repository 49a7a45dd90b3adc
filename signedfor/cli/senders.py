"""`signedfor senders`: the pace of what Twilio sends from, in the database of DATABASE_URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from signedfor.cli.environment import database, database_settings, database_trouble
from signedfor.cli.options import JsonOption, RevealOption
from signedfor.cli.output import BadInput, answering, listing
from signedfor.masks import masked_sender
from signedfor.payloads import problems_in
from signedfor.store.rate_limiter import RateLimiter, SenderState
from signedfor.twilio.phone import InvalidAddress, normalize_sender
from signedfor.twilio.rates import Rate, kind_of

app = typer.Typer(
    no_args_is_help=True,
    help="How fast each sender sends, and what waits for it. These commands need only DATABASE_URL"
    " (and DEFAULT_RATES, where the workers have it).",
)

_SenderArgument = Annotated[
    str,
    typer.Argument(
        metavar="SENDER",
        help="A number, short code, alphanumeric id, channel address or Messaging Service.",
    ),
]
_DEFAULT = "default"
_rate = TypeAdapter(Rate)


@app.command("list")
def list_(*, reveal: RevealOption = False, as_json: JsonOption = False) -> None:
    """Show each sender's rate, what waits for it, and what urgent messages borrowed."""
    with answering(as_json=as_json) as out:
        with _pacing() as pacing:
            states = pacing.states()
        names = [each.sender if reveal else masked_sender(each.sender) for each in states]
        out.result(
            {
                "senders": [
                    {
                        "sender": name,
                        "kind": kind_of(state.sender),
                        "rate": state.rate,
                        "is_configured": state.is_configured,
                        "is_paused": state.is_paused,
                        "backlog_segments": round(state.backlog_segments, 1),
                        "backlog_seconds": round(state.backlog.total_seconds(), 1),
                        "borrowed_segments": round(state.urgent_segments, 1),
                    }
                    for name, state in zip(names, states, strict=True)
                ]
            },
            listing(
                ("Sender", "Kind", "Segments/s", "Set by", "Backlog", "Takes", "Borrowed", ""),
                [_row(name, state) for name, state in zip(names, states, strict=True)],
            )
            if states
            else "No sender has been used or configured yet.",
        )


@app.command()
def rate(
    sender: _SenderArgument,
    segments_a_second: Annotated[
        str,
        typer.Argument(
            metavar="RATE", help="Segments a second, or `default` for that of its kind."
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Set how many segments a second a sender may send.

    It holds at once and for all workers. What waits already keeps its slots: they are not moved
    forward when the rate rises, and are kept back when it falls.
    """
    with answering(as_json=as_json) as out:
        normalized = _sender(sender)
        wanted = None if segments_a_second == _DEFAULT else _number(segments_a_second)
        with _pacing() as pacing:
            pacing.set_rate(normalized, wanted)
            now = pacing.rate(normalized)
        out.result({"rate": now}, f"The sender sends {now:g} segments a second.")


@app.command()
def pause(sender: _SenderArgument, *, as_json: JsonOption = False) -> None:
    """Let nothing more be sent from a sender; its messages wait and none is lost."""
    with answering(as_json=as_json) as out:
        with _pacing() as pacing:
            pacing.pause(_sender(sender))
        out.result(
            {"is_paused": True},
            "Paused: no POST begins from now on. "
            "Messages that expire meanwhile end as expired; the others wait.",
        )


@app.command()
def resume(sender: _SenderArgument, *, as_json: JsonOption = False) -> None:
    """Let a paused sender's messages go on, at its pace."""
    with answering(as_json=as_json) as out:
        with _pacing() as pacing:
            pacing.resume(_sender(sender))
        out.result({"is_paused": False}, "Resumed: its messages go on, at its pace.")


@contextmanager
def _pacing() -> Iterator[RateLimiter]:
    rates = database_settings().default_rates
    with database() as engine, database_trouble():
        yield RateLimiter(engine, rates=rates)


def _sender(text: str) -> str:
    try:
        return normalize_sender(text)
    except InvalidAddress as error:
        raise BadInput([("SENDER", str(error))]) from None


def _number(text: str) -> float:
    try:
        return _rate.validate_strings(text)
    except ValidationError as error:
        raise BadInput([("RATE", what) for _, what in problems_in(error)]) from None


def _row(name: str, state: SenderState) -> tuple[object, ...]:
    return (
        name,
        kind_of(state.sender).replace("_", " "),
        f"{state.rate:g}",
        "you" if state.is_configured else "default",
        f"{state.backlog_segments:.0f} segments" if state.backlog else "none",
        timedelta(seconds=round(state.backlog.total_seconds())) if state.backlog else None,
        f"{state.urgent_segments:.0f} segments" if state.urgent_segments >= 1 else None,
        "paused" if state.is_paused else None,
    )
