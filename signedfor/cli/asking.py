"""Asking the person at the terminal before something large is done."""

import select
import sys
from typing import Final

from signedfor.cli.output import BadInput, Output, Refused

_LOOK_UP_SECONDS: Final = 0.2


def confirm(out: Output, will: str, *, what: str) -> None:
    """Go on only if the person says so. `will` is what is about to be done, `what` in short.

    Raises:
        BadInput: there is no terminal to ask at.
        Refused: the answer was no.
    """
    if sys.stdin is None or not sys.stdin.isatty():  # None: the process was started without
        raise BadInput([("--yes", f"is needed to {what} without a terminal")])
    out.note(f"{will} Go on? [y/N]")
    if _line().strip().lower() not in {"y", "yes"}:
        raise Refused("Nothing was done.")


def _line() -> str:
    """What is typed. Read plainly: a prompt of the library's would take Ctrl-C for an answer.

    A Ctrl-C in the instant before a read begins does not interrupt it, and would be heard only
    after the enter key. So the wait is one of short turns.
    """
    while not select.select([sys.stdin], [], [], _LOOK_UP_SECONDS)[0]:
        pass
    return sys.stdin.readline()
