"""The books: messages, ledger and opt-outs, changed only here, so that the journal has it all."""

from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any

from devtools.sandbox.journal import Journal
from devtools.sandbox.ledger import Callback, Ledger, Refused
from devtools.sandbox.messages import Message, MessageShelf
from devtools.sandbox.optouts import OptOuts
from devtools.sandbox.steps import Step

_PLAIN_FIELDS = [field.name for field in fields(Message) if field.name != "step"]
_CHANGING = ("status", "error_code", "sender", "body", "num_segments", "sent", "updated")


class Books:
    """What the sandbox remembers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._shelves: dict[str, MessageShelf] = {}
        self.ledger = Ledger()
        self.opt_outs = OptOuts()

    def shelf(self, account_sid: str) -> MessageShelf:
        """Return the messages of an account."""
        return self._shelves.setdefault(account_sid, MessageShelf())

    def accept(self, message: Message) -> None:
        """Keep an accepted `message` and enter it in the ledger."""
        self._keep(message, self.ledger.accept(message))

    def keep(self, message: Message) -> None:
        """Keep a `message` that is no accepted create: refused, inbound or a reply."""
        self._keep(message, None)

    def refuse(self, refused: Refused) -> None:
        """Enter a refused create."""
        self.ledger.refused.append(refused)
        self._journal.append("refused", **asdict(refused))

    def changed(self, message: Message) -> None:
        """Note that `message` changed."""
        if self._journal.is_kept:
            changes = {name: getattr(message, name) for name in (*_CHANGING, "finished")}
            self._journal.append(
                "changed", account_sid=message.account_sid, sid=message.sid, changes=changes
            )

    def delete(self, message: Message) -> None:
        """Take `message` off the shelf; the ledger keeps it."""
        self.shelf(message.account_sid).remove(message.sid)
        self._journal.append("deleted", account_sid=message.account_sid, sid=message.sid)

    def called_back(self, callback: Callback) -> None:
        """Enter one try of a callback."""
        self.ledger.callbacks.append(callback)
        if self._journal.is_kept:
            self._journal.append("callback", **asdict(callback))

    def block(self, scope: str, recipient: str) -> None:
        """Record an opt-out."""
        self.opt_outs.block(scope, recipient)
        self._journal.append("blocked", scope=scope, recipient=recipient)

    def unblock(self, scope: str, recipient: str) -> None:
        """Record an opt-in."""
        self.opt_outs.unblock(scope, recipient)
        self._journal.append("unblocked", scope=scope, recipient=recipient)

    def clear_ledger(self) -> None:
        """Empty the ledger; messages stay."""
        self.ledger.clear()
        self._journal.append("ledger_cleared")

    def clear_opt_outs(self) -> None:
        """Forget every opt-out."""
        self.opt_outs.clear()
        self._journal.append("opt_outs_cleared")

    def open(self) -> list[Message]:
        """Replay the journal, start to append to it, and return the messages still under way."""
        for event in self._journal.replay():
            self._replay(event.pop("event"), event)
        self._journal.open()
        return [
            message
            for shelf in self._shelves.values()
            for message in shelf.older(to=None)
            if not message.finished
        ]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _keep(self, message: Message, n: int | None) -> None:
        self.shelf(message.account_sid).add(message)
        if self._journal.is_kept:
            plain = {name: getattr(message, name) for name in _PLAIN_FIELDS}
            step = message.step.model_dump(mode="json", exclude_defaults=True)
            self._journal.append("message", n=n, message=plain, step=step)

    def _replay(self, event: str, data: dict[str, Any]) -> None:
        replays: dict[str, Callable[[dict[str, Any]], None]] = {
            "message": self._replay_message,
            "changed": self._replay_change,
            "deleted": lambda data: self.shelf(data["account_sid"]).remove(data["sid"]),
            "refused": lambda data: self.ledger.refused.append(Refused(**data)),
            "callback": lambda data: self.ledger.callbacks.append(Callback(**data)),
            "ledger_cleared": lambda _: self.ledger.clear(),
            "blocked": lambda data: self.opt_outs.block(**data),
            "unblocked": lambda data: self.opt_outs.unblock(**data),
            "opt_outs_cleared": lambda _: self.opt_outs.clear(),
        }
        replays[event](data)

    def _replay_message(self, data: dict[str, Any]) -> None:
        message = Message(**data["message"], step=Step.model_validate(data["step"]))
        self.shelf(message.account_sid).add(message)
        if data["n"] is not None:
            self.ledger.accept(message, n=data["n"])

    def _replay_change(self, data: dict[str, Any]) -> None:
        message = self.shelf(data["account_sid"]).get(data["sid"])
        if message is not None:
            for name, value in data["changes"].items():
                setattr(message, name, value)
