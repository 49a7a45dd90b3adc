"""The state of the sandbox: messages, ledger, opt-outs, configuration. A journal records it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from devtools.sandbox.configuration import Configuration, Kind, Resource
from devtools.sandbox.faults import Step
from devtools.sandbox.ledger import Callback, Ledger, Refused
from devtools.sandbox.messages import Message, MessageList


class Journal:
    """Appends events to a file as JSON lines, or does nothing without a path.

    Every event is passed to the operating system at once: it survives a kill of the process, not
    a crash of the machine.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: TextIO | None = None

    def replay(self) -> Iterator[dict[str, Any]]:
        """Yield the events in the file, oldest first; a line that a kill cut short is skipped."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                yield event

    def open(self) -> None:
        """Start to append."""
        if self._path is None:
            return
        written = self._path.read_bytes() if self._path.exists() else b""
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        if written and not written.endswith(b"\n"):
            self._file.write("\n")

    @property
    def is_open(self) -> bool:
        """Whether events are written."""
        return self._file is not None

    def append(self, event: str, **fields: Any) -> None:
        """Write one event."""
        if self._file is not None:
            self._file.write(json.dumps({"event": event, **fields}) + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class OptOuts:
    """The opt-outs: pairs of a scope (sender or Messaging Service) and a recipient."""

    def __init__(self) -> None:
        self._blocked: set[tuple[str, str]] = set()

    def block(self, scope: str, recipient: str) -> None:
        """Block messages of `scope` to `recipient`."""
        self._blocked.add((scope, recipient))

    def unblock(self, scope: str, recipient: str) -> None:
        """Allow messages of `scope` to `recipient` again."""
        self._blocked.discard((scope, recipient))

    def blocks(self, scope: str, recipient: str) -> bool:
        """Whether `recipient` has blocked `scope`."""
        return (scope, recipient) in self._blocked

    def clear(self) -> None:
        """Remove every block."""
        self._blocked.clear()

    def __len__(self) -> int:
        return len(self._blocked)


_PLAIN_FIELDS = [field.name for field in fields(Message) if field.name != "step"]
_CHANGING = (
    *("status", "error_code", "sender", "body", "media"),
    *("num_media", "num_segments", "sent", "updated"),
)


class State:
    """Messages, ledger, opt-outs and configuration, changed only by these methods."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lists: dict[str, MessageList] = {}
        self.ledger = Ledger()
        self.opt_outs = OptOuts()
        self.configuration = Configuration()

    def messages(self, account_sid: str) -> MessageList:
        """Return the messages of an account."""
        return self._lists.setdefault(account_sid, MessageList())

    def accept(self, message: Message) -> None:
        """Store an accepted `message` and add it to the ledger."""
        self._keep(message, self.ledger.accept(message))

    def keep(self, message: Message) -> None:
        """Store a `message` that is not an accepted create: refused, inbound or a reply."""
        self._keep(message, None)

    def refuse(self, refused: Refused) -> None:
        """Add a refused create to the ledger."""
        self.ledger.refused.append(refused)
        self._journal.append("refused", **asdict(refused))

    def changed(self, message: Message) -> None:
        """Record that `message` has changed."""
        if self._journal.is_open:
            changes = {name: getattr(message, name) for name in (*_CHANGING, "finished")}
            self._journal.append(
                "changed", account_sid=message.account_sid, sid=message.sid, changes=changes
            )

    def delete(self, message: Message) -> None:
        """Delete `message`; the ledger keeps it."""
        self.messages(message.account_sid).remove(message.sid)
        self._journal.append("deleted", account_sid=message.account_sid, sid=message.sid)

    def called_back(self, callback: Callback) -> None:
        """Add one attempt of a callback to the ledger."""
        self.ledger.callbacks.append(callback)
        if self._journal.is_open:
            self._journal.append("callback", **asdict(callback))

    def block(self, scope: str, recipient: str) -> None:
        """Record an opt-out."""
        self.opt_outs.block(scope, recipient)
        self._journal.append("blocked", scope=scope, recipient=recipient)

    def unblock(self, scope: str, recipient: str) -> None:
        """Record an opt-in."""
        self.opt_outs.unblock(scope, recipient)
        self._journal.append("unblocked", scope=scope, recipient=recipient)

    def configure(self, kind: Kind, sid: str, resource: Resource | None) -> None:
        """Store a resource of the configuration, or delete it."""
        self.configuration.put(kind, sid, resource)
        self._journal.append("configured", kind=kind, sid=sid, resource=resource)

    def clear_ledger(self) -> None:
        """Empty the ledger; messages stay."""
        self.ledger.clear()
        self._journal.append("ledger_cleared")

    def clear_opt_outs(self) -> None:
        """Remove every opt-out."""
        self.opt_outs.clear()
        self._journal.append("opt_outs_cleared")

    def open(self) -> list[Message]:
        """Replay the journal, open it, and return the unfinished messages."""
        for event in self._journal.replay():
            self._replay(event.pop("event"), event)
        self._journal.open()
        return [
            message
            for messages in self._lists.values()
            for message in messages.older(to=None)
            if not message.finished
        ]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _keep(self, message: Message, n: int | None) -> None:
        self.messages(message.account_sid).add(message)
        if self._journal.is_open:
            plain = {name: getattr(message, name) for name in _PLAIN_FIELDS}
            step = message.step.model_dump(mode="json", exclude_defaults=True)
            self._journal.append("message", n=n, message=plain, step=step)

    def _replay(self, event: str, data: dict[str, Any]) -> None:
        replays: dict[str, Callable[[dict[str, Any]], None]] = {
            "message": self._replay_message,
            "changed": self._replay_change,
            "deleted": lambda data: self.messages(data["account_sid"]).remove(data["sid"]),
            "refused": lambda data: self.ledger.refused.append(Refused(**data)),
            "callback": lambda data: self.ledger.callbacks.append(Callback(**data)),
            "ledger_cleared": lambda _: self.ledger.clear(),
            "blocked": lambda data: self.opt_outs.block(**data),
            "unblocked": lambda data: self.opt_outs.unblock(**data),
            "opt_outs_cleared": lambda _: self.opt_outs.clear(),
            "configured": lambda data: self.configuration.put(
                Kind(data["kind"]), data["sid"], data["resource"]
            ),
        }
        replays[event](data)

    def _replay_message(self, data: dict[str, Any]) -> None:
        message = Message(**data["message"], step=Step.model_validate(data["step"]))
        self.messages(message.account_sid).add(message)
        if data["n"] is not None:
            self.ledger.accept(message, n=data["n"])

    def _replay_change(self, data: dict[str, Any]) -> None:
        message = self.messages(data["account_sid"]).get(data["sid"])
        if message is not None:
            for name, value in data["changes"].items():
                setattr(message, name, value)
