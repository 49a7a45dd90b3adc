"""The users file, roles, and people whom a proxy signed in."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from starlette.requests import Request

from ops.access import InvalidUsers, ProxyUsers, Role, User, Users, write_user

PASSWORD = "correct horse battery"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"


def test_each_role_includes_those_before_it() -> None:
    """Who may administer may act and look."""
    assert [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ] == [[role.includes(other) for other in Role] for role in Role]


def test_a_user_signs_in_with_the_password_only(tmp_path: Path) -> None:
    """Neither another password nor another name is enough; the file has only a hash."""
    path = tmp_path / "users"
    write_user(path, "kim", Role.ACT, PASSWORD)
    users = Users(path)

    assert User("kim", Role.ACT) == users.check("kim", PASSWORD)
    assert users.check("kim", PASSWORD + "!") is None
    assert users.check("lee", PASSWORD) is None
    assert PASSWORD not in path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_user_is_replaced(tmp_path: Path) -> None:
    """Role and password are the newest; others stay, and so do comments."""
    path = tmp_path / "users"
    path.write_text(f"# The team\nlee look {HASH}\n")
    write_user(path, "kim", Role.LOOK, PASSWORD)
    write_user(path, "kim", Role.ADMINISTER, PASSWORD + "2")
    users = Users(path)

    assert users.check("kim", PASSWORD) is None
    assert User("kim", Role.ADMINISTER) == users.check("kim", PASSWORD + "2")
    assert User("lee", Role.LOOK) == users.find("lee")
    assert path.read_text().startswith("# The team\n")


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("kim look", "line 1: must be a name, a role and a password hash"),
        (f"\nkim boss {HASH}", "line 2: the role must be one of look, act, administer"),
        ("kim look secret-secret", "line 1: the third word must be an Argon2 hash"),
        (f"kim look {HASH}\nkim act {HASH}", "line 2: the name stands twice"),
    ],
)
def test_a_wrong_line_is_named(lines: str, problem: str, tmp_path: Path) -> None:
    """By its number; what is in it is not repeated."""
    path = tmp_path / "users"
    path.write_text(lines)

    with pytest.raises(InvalidUsers) as caught:
        Users(path)

    assert problem in str(caught.value)
    assert "secret" not in str(caught.value)


def test_without_a_file_nobody_signs_in(tmp_path: Path) -> None:
    """Until somebody is added; the process need not be restarted."""
    users = Users(tmp_path / "users")
    assert users.are_none
    write_user(tmp_path / "users", "kim", Role.ACT, PASSWORD)

    assert not users.are_none
    assert User("kim", Role.ACT) == users.check("kim", PASSWORD)


def test_who_is_removed_is_out_at_once(tmp_path: Path) -> None:
    """The file is read again; a wrong one is not used, and the log says so without its content."""
    path = tmp_path / "users"
    write_user(path, "kim", Role.ACT, PASSWORD)
    write_user(path, "lee", Role.ACT, PASSWORD)
    users = Users(path)
    assert users.find("kim") is not None
    text = path.read_text()
    path.write_text("kim is wrong here\n")
    assert users.find("kim") is not None
    path.write_text("".join(line for line in text.splitlines(True) if not line.startswith("kim")))

    assert users.find("kim") is None
    assert users.find("lee") is not None


@pytest.mark.parametrize(
    ("name", "password", "problem"),
    [("two words", PASSWORD, "name"), ("#kim", PASSWORD, "name"), ("kim", "short", "at least 12")],
)
def test_a_user_that_cannot_be_written(
    name: str, password: str, problem: str, tmp_path: Path
) -> None:
    """It says why, and no file is made."""
    with pytest.raises(InvalidUsers, match=problem):
        write_user(tmp_path / "users", name, Role.LOOK, password)
    assert not (tmp_path / "users").exists()


PROXY = ProxyUsers(
    (ip_network("10.0.0.0/8"), ip_network("fd00::/8")),
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    {"support": Role.LOOK, "on-call": Role.ACT},
)


def _request(host: str | None, **headers: str) -> Request:
    encoded = [
        (name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()
    ]
    client = None if host is None else (host, 1234)
    return Request({"type": "http", "headers": encoded, "client": client})


@pytest.mark.parametrize("host", ["10.1.2.3", "fd00::5"])
def test_a_trusted_proxy_names_the_person(host: str) -> None:
    """With the highest role of the groups."""
    request = _request(
        host, x_forwarded_email="kim@example.org", x_forwarded_groups="staff, support,on-call"
    )

    assert User("kim@example.org", Role.ACT) == PROXY.find(request)


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("11.1.2.3", {"x_forwarded_email": "kim", "x_forwarded_groups": "support"}),
        (None, {"x_forwarded_email": "kim", "x_forwarded_groups": "support"}),
        ("testclient", {"x_forwarded_email": "kim", "x_forwarded_groups": "support"}),
        ("10.1.2.3", {"x_forwarded_groups": "support"}),
        ("10.1.2.3", {"x_forwarded_email": "a b", "x_forwarded_groups": "support"}),
        ("10.1.2.3", {"x_forwarded_email": "kim", "x_forwarded_groups": "staff"}),
        ("10.1.2.3", {"x_forwarded_email": "kim"}),
    ],
)
def test_others_name_nobody(host: str | None, headers: dict[str, str]) -> None:
    """Headers from elsewhere, without a name, or without a group that has a role."""
    assert PROXY.find(_request(host, **headers)) is None
