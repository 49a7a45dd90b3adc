"""Child processes that report when they are ready or have died, and never outlive us.

All children of a stack share one process group, led by a guard: a shell that only waits for the end
of a pipe whose other end is ours. When we end, even by `kill -9`, the pipe ends and the guard kills
the group. (Linux's PR_SET_PDEATHSIG is bound to the *thread* that started the child: a child that
is started in a thread pool would die with its thread.)
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self, TypedDict

_POLL_SECONDS = 0.02
_LAST_LINES = 15
_GUARD = ("/bin/sh", "-c", "cat >/dev/null; kill -KILL 0")


class StackError(Exception):
    """The stack or a part failed; the text says which part, why, and what to do."""


class ProcessDied(StackError):
    """A part exited unexpectedly; the text names it and has the last lines of its log."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """Another account of this machine, to run a process as; only root can do that."""

    user: int
    group: int


class RunAs(TypedDict):
    """What `subprocess` calls it."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def as_account(account: Account | None) -> RunAs:
    """The arguments of `subprocess` for running as this account, or as ourselves."""
    if account is None:
        return {"user": None, "group": None, "extra_groups": None}
    return {"user": account.user, "group": account.group, "extra_groups": []}


class ProcessGroup:
    """The process group of one stack, for the length of a `with` block."""

    def __init__(self) -> None:
        self._guard: subprocess.Popen[bytes] | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    def spawn(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        log: IO[bytes],
        account: Account | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a process in the group, its output in `log`."""
        if self._guard is None:
            raise StackError("The stack is not running.")
        child = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=self._guard.pid,
            **as_account(account),
        )
        self._children = [each for each in self._children if each.poll() is None]
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        self._guard = subprocess.Popen(  # noqa: S603 - our own command
            _GUARD,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill what is left of the group."""
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.communicate()  # ends the pipe and waits
        for child in self._children:
            child.wait()


class Process:
    """One part of the stack: a command that can be started, stopped, killed and started again.

    Its output, both streams, is appended to `log`. It sees `environment` and nothing else.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        group: ProcessGroup,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        is_ready: Callable[["Process"], bool],
        start_seconds: float = 60,
        stop_seconds: float = 40,
        account: Account | None = None,
        stop_with: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._group = group
        self._environment = dict(environment)
        self._folder = folder
        self._is_ready = is_ready
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._account = account
        self._stop_with = stop_with
        self._child: subprocess.Popen[bytes] | None = None
        self._asked_to_stop = False
        self._log_begins = 0

    @property
    def pid(self) -> int:
        """The id of the running process; StackError when it does not run."""
        if self._child is None:
            raise StackError(f"The {self.name} is not running.")
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def output(self) -> str:
        """The output of the current run so far."""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    def start(self, *, wait: bool = True) -> None:
        """Start the process and, unless `wait` is false, return when it is ready.

        Raises:
            ProcessDied: it ended instead.
            StackError: it was not ready in time.
        """
        if self.is_running:
            raise StackError(f"The {self.name} is already running.")
        self._asked_to_stop = False
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._log_begins = log.tell()
            self._child = self._group.spawn(
                self._command,
                environment=self._environment,
                folder=self._folder,
                log=log,
                account=self._account,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when the process is ready; raises as `start` does."""
        give_up_at = time.monotonic() + self._start_seconds
        while not self._is_ready(self):
            self.check()
            if time.monotonic() > give_up_at:
                raise StackError(
                    f"The {self.name} was not ready after {self._start_seconds:.0f} s."
                    + self._last_lines()
                )
            time.sleep(_POLL_SECONDS)

    def check(self) -> None:
        """Return if the process runs or was stopped by us; raise ProcessDied if it exited."""
        if self._child is None or self.is_running:
            return
        raise ProcessDied(
            f"The {self.name} exited unexpectedly ({_how(self._child.returncode)})."
            + self._last_lines()
        )

    def ask_to_stop(self) -> None:
        """Send SIGTERM, or what ends this one, and return at once; `stop` waits for the end."""
        if self._child is not None and not self._asked_to_stop:
            self._asked_to_stop = True
            self._child.send_signal(self._stop_with)

    def stop(self) -> int | None:
        """End the process with SIGTERM, or SIGKILL if that takes too long; its return code.

        None if it was not started.
        """
        self.ask_to_stop()
        return self._wait_for_end()

    def kill(self) -> int | None:
        """End the process at once, as a crash or a power cut would; its return code."""
        if self._child is not None:
            self._child.kill()
        return self._wait_for_end()

    def restart(self, *, wait: bool = True) -> None:
        """Stop the process if it runs, and start it."""
        self.stop()
        self.start(wait=wait)

    def _wait_for_end(self) -> int | None:
        if self._child is None:
            return None
        try:
            returncode = self._child.wait(self._stop_seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            returncode = self._child.wait()
        self._child = None
        return returncode

    def _last_lines(self) -> str:
        lines = self.output().splitlines()[-_LAST_LINES:]
        output = "".join(f"\n  {line}" for line in lines) or " nothing"
        return f" The last lines of {self.log}:{output}"


def _how(returncode: int) -> str:
    if returncode >= 0:
        return f"exit code {returncode}"
    return f"killed by {signal.Signals(-returncode).name}"


def interrupt_on_signals() -> None:
    """Have SIGTERM, like Ctrl-C, raise KeyboardInterrupt; SIGINT too where a shell has ignored it.

    A shell without job control starts what runs in the background with SIGINT ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def says(line: str) -> Callable[[Process], bool]:
    """Ready when the process has written `line`."""
    return lambda process: line in process.output()


def basic_environment(home: Path) -> dict[str, str]:
    """The variables that any process needs, without secrets and settings of our environment.

    `home` excludes files that would change our parts: a Temporal profile with TLS settings of
    another server, or a .netrc, whose password would replace the Twilio token.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ}
    return {**inherited, "HOME": str(home), "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
