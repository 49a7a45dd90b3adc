"""The control interface: faults, settings, inbound messages, events and the ledger, as JSON."""

from ipaddress import ip_address
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from devtools.sandbox.callbacks import CallbackSender
from devtools.sandbox.events import EventSink
from devtools.sandbox.faults import Faults, Plan, Spec, Step
from devtools.sandbox.inbound import Inbound
from devtools.sandbox.lifecycle import Lifecycle
from devtools.sandbox.settings import LiveSettings
from devtools.sandbox.state import State


class ScriptRequest(Spec):
    """The steps of the next creates to `to`, one each, and the step of all later ones."""

    to: str = Field(min_length=1)
    steps: tuple[Step, ...] = ()
    then: Step | None = None


class InboundRequest(BaseModel):
    """A message from a person (`from`) to one of our senders (`to`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    sender: str = Field(alias="from", min_length=1)
    to: str = Field(min_length=1)
    body: str
    messaging_service_sid: str | None = None
    opt_out_type: Literal["STOP", "START", "HELP"] | None = None
    user_id: str | None = None
    media: tuple[str, ...] = Field(default=(), max_length=10)
    """The content types of its pictures and files."""


class ReassignedRequest(BaseModel):
    """A number (`to`) that was found to belong to somebody else, and our sender (`from`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    sender: str = Field(alias="from", min_length=1)
    to: str = Field(min_length=1)


def _require_loopback(request: Request) -> None:
    """Refuse clients on other machines: there is no authentication."""
    if request.client is None or not ip_address(request.client.host).is_loopback:
        raise HTTPException(403, "The control interface answers this machine only.")


class Control:
    """The control interface for tests, the demo and benchmarks."""

    def __init__(
        self,
        *,
        state: State,
        callbacks: CallbackSender,
        faults: Faults,
        settings: LiveSettings,
        inbound: Inbound,
        events: EventSink,
        lifecycle: Lifecycle,
    ) -> None:
        self._callbacks = callbacks
        self._state = state
        self._faults = faults
        self._settings = settings
        self._inbound = inbound
        self._events = events
        self._lifecycle = lifecycle

    def router(self) -> APIRouter:
        """Return the routes under `/_sandbox/`."""
        router = APIRouter(prefix="/_sandbox", dependencies=[Depends(_require_loopback)])
        router.get("/health")(self._health)
        router.post("/scripts", status_code=201)(self._script)
        router.delete("/scripts", status_code=204)(self._clear_scripts)
        router.post("/plan", status_code=201)(self._plan)
        router.delete("/plan", status_code=204)(self._clear_plan)
        router.post("/inbound")(self._receive)
        router.post("/reassigned", status_code=202)(self._reassigned)
        router.get("/events")(self._view_events)
        router.delete("/events", status_code=204)(self._clear_events)
        router.delete("/opt-outs", status_code=204)(self._clear_opt_outs)
        router.get("/settings")(self._read_settings)
        router.put("/settings")(self._change_settings)
        router.delete("/settings", status_code=204)(self._reset_settings)
        router.get("/ledger")(self._ledger)
        router.get("/ledger/summary")(self._summary)
        router.delete("/ledger", status_code=204)(self._clear_ledger)
        return router

    async def _health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def _script(self, wanted: ScriptRequest) -> dict[str, int]:
        self._faults.script(wanted.to, wanted.steps, then=wanted.then)
        return {"steps": len(wanted.steps)}

    async def _clear_scripts(self) -> None:
        self._faults.clear_scripts()

    async def _plan(self, wanted: Plan) -> dict[str, int]:
        self._faults.plan(wanted)
        return {"faults": len(wanted.faults)}

    async def _clear_plan(self) -> None:
        self._faults.clear_plan()

    async def _receive(self, wanted: InboundRequest, request: Request) -> dict[str, Any]:
        return await self._inbound.receive(
            sender=wanted.sender,
            to=wanted.to,
            body=wanted.body,
            service=wanted.messaging_service_sid,
            opt_out_type=wanted.opt_out_type,
            user_id=wanted.user_id,
            media=wanted.media,
            api_url=str(request.base_url).rstrip("/"),
        )

    async def _reassigned(self, wanted: ReassignedRequest) -> None:
        self._state.block(wanted.sender, wanted.to)
        self._events.number_reassigned(wanted.to, sender=wanted.sender)

    async def _view_events(self) -> dict[str, int]:
        return self._events.view()

    async def _clear_events(self) -> None:
        self._events.clear()

    async def _clear_opt_outs(self) -> None:
        self._state.clear_opt_outs()

    async def _read_settings(self) -> dict[str, Any]:
        return self._settings.now.model_dump()

    async def _change_settings(self, wanted: dict[str, Any]) -> dict[str, Any]:
        self._settings.change(wanted)
        return self._settings.now.model_dump()

    async def _reset_settings(self) -> None:
        self._settings.reset()
        self._lifecycle.queues.clear()

    async def _ledger(self, to: str | None = None, since: float = 0) -> dict[str, Any]:
        return self._state.ledger.view(to=to, since=since)

    async def _summary(self) -> dict[str, Any]:
        return {**self._state.ledger.summary(), "pending": self._callbacks.pending}

    async def _clear_ledger(self) -> None:
        self._state.clear_ledger()
