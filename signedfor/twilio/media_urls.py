"""Media URLs: what Twilio is to fetch must be a public web address, and clear to every reader.

Twilio fetches it, not we, so no name is looked up here: this finds mistakes, and addresses that
only a machine inside a network would serve. A workflow validates its URLs at every replay, so the
table of networks is ours: the one of Python changes with its releases.
"""

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final
from urllib.parse import urlsplit

MAX_URL_CHARACTERS: Final = 2000

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_TOP_LEVEL = re.compile(r"[A-Za-z]{2,63}|[Xx][Nn]--[A-Za-z0-9-]{1,59}", re.ASCII)
_MAX_HOST = 253
_HIGHEST_PORT = 65_535

# RFC 6761, 6762, 8375 and 9476: names that mean something within a machine or network only.
_LOCAL_NAMES: Final = ("localhost", "local", "localdomain", "internal", "home.arpa", "alt")
# IANA's special-purpose registry of 2025, multicast, and what is reserved.
_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    )
)
_PUBLIC_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(
    # The second is 6to4: it holds an IPv4 address.
    IPv6Network(each)
    for each in ("2001::/23", "2002::/16", "2001:db8::/32", "3fff::/20")
)


def media_url_problem(url: str) -> str | None:
    """Why Twilio is not asked to fetch `url`, without repeating it; None if nothing is wrong."""
    if len(url) > MAX_URL_CHARACTERS:
        return f"is longer than {MAX_URL_CHARACTERS} characters"
    if any(unicodedata.category(each)[0] in "CZ" for each in url):
        return "has a space or an invisible or control character; percent-encode it"
    if not _SCHEME.match(url):
        return "must be an absolute http or https URL"
    if "\\" in url:
        return "has a backslash, which readers take for different things; percent-encode it"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "has a host or a port that is none"
    if "@" in parts.netloc:
        return "must have no user name or password"
    if port is not None and not 0 < port <= _HIGHEST_PORT:
        return "has a host or a port that is none"
    return _host_problem(parts.hostname or "", is_literal=parts.netloc.startswith("["))


def _host_problem(host: str, *, is_literal: bool) -> str | None:
    if not host.isascii():
        return "must have a host in ASCII; write the name as it is looked up (xn--...)"
    if is_literal:
        return _address_problem(IPv6Address, host)
    if re.fullmatch(r"[0-9.]+", host):
        return _address_problem(IPv4Address, host)
    name = host.removesuffix(".")
    labels = name.split(".")
    if any(name == each or name.endswith(f".{each}") for each in _LOCAL_NAMES):
        return "has a host inside a machine or network, which Twilio cannot reach"
    is_name = (
        len(name) <= _MAX_HOST
        and len(labels) > 1
        and all(map(_LABEL.fullmatch, labels))
        and _TOP_LEVEL.fullmatch(labels[-1]) is not None
    )
    return None if is_name else "has a host or a port that is none"


def _address_problem(kind: type[IPv4Address] | type[IPv6Address], host: str) -> str | None:
    try:
        address = kind(host)
    except AddressValueError:
        return "has a host or a port that is none"
    if isinstance(address, IPv4Address):
        is_public = not any(address in each for each in _NOT_PUBLIC_4)
    else:
        is_public = (
            address.scope_id is None
            and address in _PUBLIC_6
            and not any(address in each for each in _NOT_PUBLIC_6)
        )
    return None if is_public else "has an address that is not public, which Twilio cannot reach"
