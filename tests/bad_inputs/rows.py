"""What a row of the table of bad inputs is.

Each row carries a canary, a number or a text that no answer, error or log may repeat.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

NUMBER: Final = "+15558675309"
DIGITS: Final = "5558675309"
TEXT: Final = "mauve-canary"
CANARIES: Final = (DIGITS, TEXT)
FORM: Final = "application/x-www-form-urlencoded"

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request over HTTP, and the answer that it must get."""

    surface: str
    """Which server it goes to."""
    name: str
    """What is wrong with it."""
    status: int
    says: str = ""
    """A part of the answer's body."""
    method: str = "POST"
    target: str = "/"
    headers: Headers = ()
    body: bytes = b""
    raw: bytes | None = None
    """All that is sent, instead of the above."""
    is_signed_in: bool = False
    """Sent by an operator who has signed in, with the token of their session."""

    def encoded(self, host: str, more: Headers = ()) -> bytes:
        """The bytes to send, with `more` headers."""
        if self.raw is not None:
            return self.raw
        names = {name.lower() for name, _ in self.headers}
        headers = [("Host", host), ("Connection", "close"), *self.headers, *more]
        if "content-length" not in names and "transfer-encoding" not in names:
            headers.append(("Content-Length", str(len(self.body))))
        head = f"{self.method} {self.target} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in headers
        )
        return head.encode("latin-1") + b"\r\n" + self.body


@dataclass(frozen=True, kw_only=True)
class Command:
    """A call of the command line, and what it must say."""

    name: str
    arguments: Sequence[str]
    says: str
    """A part of standard error."""
    stdin: bytes = b""
    file: bytes | None = None
    """The contents of the file whose path replaces FILE among the arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 2


def named(rows: Iterable[Request | Command]) -> dict[str, Request | Command]:
    """The rows by name; a name that stands twice is an error."""
    found: dict[str, Request | Command] = {}
    for row in rows:
        name = f"{row.surface}: {row.name}" if isinstance(row, Request) else row.name
        assert name not in found, name
        found[name] = row
    return found
