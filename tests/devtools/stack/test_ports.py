import socket
import subprocess
import sys

import pytest

from devtools.stack.ports import HOST, free_ports, is_free, port_from
from devtools.stack.processes import StackError


def test_free_ports_are_different_and_free() -> None:
    """As many different ports as requested, all unused."""
    ports = free_ports(6)

    assert 6 == len(set(ports))
    assert all(is_free(port) for port in ports)


def test_a_port_is_assigned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next caller gets another port, even before the first is in use."""
    monkeypatch.setattr("devtools.stack.ports._CANDIDATES", range(31_000, 31_200))
    [named] = free_ports(1)
    monkeypatch.setattr("devtools.stack.ports._assigned", set())
    monkeypatch.setenv("WEBHOOK_PORT", str(named))
    port_from("WEBHOOK_PORT", 8080)

    given = [*free_ports(60), *free_ports(60)]

    assert 120 == len({*given} - {named})


def test_a_port_is_assigned_to_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run beside this one gets others, also before they are in use."""
    code = (
        "from devtools.stack import ports; ports._CANDIDATES = range(31_300, 31_310);"
        "ports._TRIES = 10; print(*ports.free_ports(4), flush=True); input()"
    )
    monkeypatch.setattr("devtools.stack.ports._CANDIDATES", range(31_300, 31_310))
    monkeypatch.setattr("devtools.stack.ports._TRIES", 10)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = {int(each) for each in other.stdout.readline().split()}
        assert {*range(31_300, 31_310)} - theirs == {*free_ports(6)}
        other.communicate("")


def test_a_port_in_use_is_not_free() -> None:
    """A listening socket uses its port."""
    with socket.create_server((HOST, 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_a_port_comes_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable overrides the default; an empty one counts as unset."""
    first, second = free_ports(2)
    monkeypatch.setenv("WEBHOOK_PORT", str(first))
    assert first == port_from("WEBHOOK_PORT", second)

    monkeypatch.setenv("WEBHOOK_PORT", "")
    assert second == port_from("WEBHOOK_PORT", second)


def test_a_taken_port_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for a taken port says which variable to change."""
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("SANDBOX_PORT", str(port))

        with pytest.raises(StackError, match=f"Port {port} is taken.*SANDBOX_PORT"):
            port_from("SANDBOX_PORT", 8089)


@pytest.mark.parametrize("text", ["0", "65536", "-1", "http", "٨٠٨٠", "80 80"])
def test_a_bad_port_names_its_variable(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an invalid port names the variable."""
    monkeypatch.setenv("TEMPORAL_PORT", text)

    with pytest.raises(StackError, match="TEMPORAL_PORT must be a port number"):
        port_from("TEMPORAL_PORT", 7233)
