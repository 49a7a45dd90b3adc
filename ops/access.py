"""Who may do what: roles, the users file with its passwords, and people whom a proxy signed in."""

import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from starlette.requests import Request

_log = logging.getLogger(__name__)

_HASHER: Final = PasswordHasher()
_NAME: Final = re.compile(r"[!-~]{1,100}", re.ASCII)
MIN_PASSWORD: Final = 12


class Role(StrEnum):
    """What a person may do; each role may do what those before it may."""

    LOOK = "look"
    """Read everything, the audit log too, and see a recipient's number on request."""
    ACT = "act"
    """Retry, discard, cancel, pause, resume, opt out, work off reviews, start campaigns."""
    ADMINISTER = "administer"
    """Set rates, lift opt-outs."""

    def includes(self, other: "Role") -> bool:
        """Whether a person with this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True)
class User:
    """A person who has signed in."""

    name: str
    role: Role


class InvalidUsers(Exception):
    """The users file cannot be used; the text says which line, and never its value."""


@dataclass(frozen=True)
class _Account:
    role: Role
    password_hash: str


class Users:
    """The users file: a line each of name, role and an Argon2 hash of the password.

    It is read again when it has changed, so that a person who is removed is out at once. While it
    does not exist, nobody can sign in with a password.
    """

    def __init__(self, path: Path | None) -> None:
        """Raises InvalidUsers: the file cannot be read, or a line is wrong."""
        self._path = path
        self._version = self._newest_version()
        self._accounts = read_accounts(path) if path is not None and path.exists() else {}

    def check(self, name: str, password: str) -> User | None:
        """The person, if the password is theirs. Takes some 50 ms of CPU time."""
        self._refresh()
        account = self._accounts.get(name)
        if account is None:
            _HASHER.hash(password)  # takes as long, so that the time does not tell
            return None
        try:
            _HASHER.verify(account.password_hash, password)
        except (VerificationError, InvalidHashError):
            return None
        return User(name, account.role)

    def find(self, name: str) -> User | None:
        """The person by name, with their present role."""
        self._refresh()
        account = self._accounts.get(name)
        return None if account is None else User(name, account.role)

    @property
    def are_none(self) -> bool:
        """Whether nobody can sign in with a password."""
        self._refresh()
        return not self._accounts

    def _refresh(self) -> None:
        version = self._newest_version()
        if version == self._version:
            return
        self._version = version
        try:
            self._accounts = read_accounts(self._path) if self._path and version else {}
        except InvalidUsers as error:
            _log.error("The users file has changed and is not used: %s", error)

    def _newest_version(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat() if self._path else None
        except OSError:
            return None
        return None if status is None else (status.st_mtime_ns, status.st_ino)


def read_accounts(path: Path) -> dict[str, _Account]:
    """The accounts of a users file.

    Raises:
        InvalidUsers: it cannot be read, or a line is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidUsers(f"OPS_USERS_FILE cannot be read ({type(error).__name__}).") from None
    accounts: dict[str, _Account] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        accounts |= [_account(line, number, accounts)]
    return accounts


def _account(line: str, number: int, known: Mapping[str, _Account]) -> tuple[str, _Account]:
    parts = line.split()
    where = f"OPS_USERS_FILE, line {number}:"
    if len(parts) != 3:  # noqa: PLR2004 - the three that the message names
        raise InvalidUsers(f"{where} must be a name, a role and a password hash")
    name, role, password_hash = parts
    if role not in set(Role):
        raise InvalidUsers(f"{where} the role must be one of {', '.join(Role)}")
    if not password_hash.startswith("$argon2"):
        raise InvalidUsers(f"{where} the third word must be an Argon2 hash")
    if name in known:
        raise InvalidUsers(f"{where} the name stands twice")
    return name, _Account(Role(role), password_hash)


def write_user(path: Path, name: str, role: Role, password: str) -> None:
    """Add a person to the users file, or replace them; only its owner can read the file.

    Raises:
        InvalidUsers: name or password cannot be used, or the file that exists cannot be.
    """
    if not _NAME.fullmatch(name) or name.startswith("#"):
        raise InvalidUsers("The name must be 1 to 100 visible ASCII characters without spaces.")
    if len(password) < MIN_PASSWORD:
        raise InvalidUsers(f"The password must have at least {MIN_PASSWORD} characters.")
    kept: list[str] = []
    if path.exists():
        read_accounts(path)
        kept = [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.split()[:1] != [name]
        ]
    text = "\n".join([*kept, f"{name} {role} {_HASHER.hash(password)}", ""])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(path)


@dataclass(frozen=True)
class ProxyUsers:
    """Reads from a trusted proxy's headers whom it has signed in."""

    trusted: tuple[IPv4Network | IPv6Network, ...]
    user_header: str
    groups_header: str
    group_roles: Mapping[str, Role]

    def find(self, request: Request) -> User | None:
        """The person whom the proxy names, with the highest role of their groups.

        None if the request does not come from the proxy, or names nobody with a role.
        """
        if request.client is None or not self._is_trusted(request.client.host):
            return None
        name = request.headers.get(self.user_header, "").strip()
        if not _NAME.fullmatch(name):
            return None
        groups = {each.strip() for each in request.headers.get(self.groups_header, "").split(",")}
        roles = [role for group, role in self.group_roles.items() if group in groups]
        return User(name, max(roles, key=list(Role).index)) if roles else None

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self.trusted)
