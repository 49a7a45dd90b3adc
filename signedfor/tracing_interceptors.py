"""Temporal's interceptor for traces, with our attribute, and without what may be personal.

Imported only if traces are on: OpenTelemetry is optional.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes, AttributeValue
from temporalio.api.common.v1 import Payload
from temporalio.contrib.opentelemetry import TracingInterceptor, TracingWorkflowInboundInterceptor
from temporalio.converter import DefaultPayloadConverter
from temporalio.worker import WorkflowInboundInterceptor, WorkflowInterceptorClassInput

from signedfor.contract import message_id_of
from signedfor.tracing import MESSAGE_ID, active

__all__ = ["PROPAGATOR", "MessageTracing", "TracingInterceptor"]

PROPAGATOR: Final = TraceContextTextMapPropagator()
"""The ids of a trace, and nothing else. The SDK's default adds baggage: what a caller has put there
would be stored in Temporal in clear."""

_WORKFLOW_ID: Final = "temporalWorkflowID"
_MAX_HEADER_BYTES: Final = 4096
_NUMBER: Final = re.compile(r"\+[0-9]{7}")
"""In an id: its message is refused, but its spans begin before that."""


class MessageTracing(TracingInterceptor):
    """Spans for starts, signals, workflows and activities, with the message's id.

    Those of a workflow have no length: they are made and exported as they happen, never on replay,
    and no other worker needs to know of them. The header adds no event to the history.
    """

    def __init__(self) -> None:
        super().__init__(_MessageTracer(active.tracer or trace.get_tracer("signedfor")))
        self.text_map_propagator = PROPAGATOR

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[TracingWorkflowInboundInterceptor]:
        """See base class."""
        super().workflow_interceptor_class(input)
        return _WorkflowTracing


class _WorkflowTracing(TracingWorkflowInboundInterceptor):
    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self.text_map_propagator = PROPAGATOR
        self.payload_converter = _Carriers()


class _Carriers(DefaultPayloadConverter):
    """Reads the header of a trace; any that is none of ours is none.

    It comes with starts, signals, updates and queries. An error in reading it would fail the
    workflow task, again and again.
    """

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """See base class."""
        return [self._carrier(each, type_hints) for each in payloads]

    def _carrier(self, payload: Payload, type_hints: list[type] | None) -> dict[str, str]:
        if len(payload.data) > _MAX_HEADER_BYTES:
            return {}
        try:
            (carrier,) = super().from_payloads([payload], type_hints)
        except (KeyError, RecursionError, RuntimeError, ValueError):
            return {}
        is_carrier = isinstance(carrier, dict) and all(
            isinstance(each, str) for pair in carrier.items() for each in pair
        )
        return carrier if is_carrier else {}


class _MessageTracer(Tracer):
    """Another tracer, with the message's id added to its spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        *args: Any,
        **options: Any,
    ) -> Span:
        """See base class."""
        return self._tracer.start_span(
            name, context, kind, _with_message_id(attributes), *args, **options
        )

    def start_as_current_span(  # type: ignore[override] # the base class's is wrapped
        self, name: str, *, attributes: Attributes = None, **options: Any
    ) -> Any:
        """See base class."""
        return self._tracer.start_as_current_span(
            # An exception's text may quote a number or a message.
            name,
            attributes=_with_message_id(attributes),
            record_exception=False,
            **options,
        )


def _with_message_id(attributes: Attributes) -> Mapping[str, AttributeValue]:
    found = dict(attributes or {})
    workflow_id = str(found.get(_WORKFLOW_ID, ""))
    if _NUMBER.search(workflow_id):
        return {**found, _WORKFLOW_ID: "(contains a number)"}
    try:
        return {**found, MESSAGE_ID: message_id_of(workflow_id)}
    except ValueError:
        return found
