"""OpenTelemetry traces of messages: off, and not even imported, until its variables are set.

A message's trace goes from its caller to its outcome. Temporal's headers carry it from the caller
to the workflow and its activities, the URL of the status callback from the POST to the webhook, and
the workflow's own header to the outcome. Spans have the message's id, and no personal data.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

MESSAGE_ID: Final = "signedfor.message_id"
"""The attribute of every span of a message."""
TRACEPARENT: Final = "traceparent"
"""W3C's name for what continues a trace; a parameter of the status callback's URL."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def exporters_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the trace exporters that OpenTelemetry's standard variables ask for.

    Its own default is a collector on this machine. Ours is none: an endpoint or an exporter must be
    named.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ()
    default = "otlp" if any(environment.get(name) for name in _ENDPOINTS) else "none"
    named = environment.get("OTEL_TRACES_EXPORTER") or default
    names = (name.strip().lower() for name in named.split(","))
    return tuple(name for name in names if name not in {"", "none"})


def with_tracing(interceptors: Sequence[Any] = ()) -> list[Any]:
    """A Temporal client's interceptors, with the one for traces if they are on.

    A caller that brings its own keeps it. One without OpenTelemetry's packages has no traces.
    """
    found = list(interceptors)
    if not exporters_in(os.environ):
        return found
    try:
        from signedfor.tracing_interceptors import (  # noqa: PLC0415 - slow, and optional
            MessageTracing,
            TracingInterceptor,
        )
    except ImportError:
        return found
    if not any(isinstance(each, TracingInterceptor) for each in found):
        found.insert(0, MessageTracing())
    return found


SpanKind = Literal["internal", "client", "server"]


class _Active:
    """This process's tracer, once `trace_export` has set it up."""

    tracer: "Tracer | None" = None


active: Final = _Active()
_NO_SPAN: Final = nullcontext()


def span(
    name: str, message_id: str, *, kind: SpanKind = "internal", traceparent: str | None = None
) -> AbstractContextManager[None]:
    """A span for the length of a block; a child of the current one, or of `traceparent`.

    If traces are off it does nothing.
    """
    tracer = active.tracer
    if tracer is None:
        return _NO_SPAN
    return _span(tracer, name, message_id, kind, traceparent)


def annotate(**attributes: str | int | None) -> None:
    """Add attributes to the current span; a double underscore stands for a dot."""
    if active.tracer is None:
        return
    from opentelemetry.trace import get_current_span  # noqa: PLC0415 - only if traces are on

    current = get_current_span()
    for name, value in attributes.items():
        if value is not None:
            current.set_attribute(name.replace("__", "."), value)


def current_traceparent() -> str | None:
    """What continues the current trace elsewhere; None if traces are off."""
    if active.tracer is None:
        return None
    from signedfor.tracing_interceptors import PROPAGATOR  # noqa: PLC0415 - only if traces are on

    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier.get(TRACEPARENT)


def trace_id() -> str | None:
    """The id of the current trace, for log lines; None if there is none."""
    if active.tracer is None:
        return None
    from opentelemetry.trace import format_trace_id, get_current_span  # noqa: PLC0415 - as above

    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


@contextmanager
def new_trace() -> Iterator[None]:
    """In the block, whatever is started begins a trace of its own.

    The trace of a campaign would otherwise hold a hundred thousand messages.
    """
    if active.tracer is None:
        yield
        return
    from opentelemetry.context import Context, attach, detach  # noqa: PLC0415 - as above

    token = attach(Context())
    try:
        yield
    finally:
        detach(token)


@contextmanager
def _span(
    tracer: "Tracer", name: str, message_id: str, kind: SpanKind, traceparent: str | None
) -> Iterator[None]:
    from opentelemetry import trace  # noqa: PLC0415 - as above

    with tracer.start_as_current_span(
        name,
        context=_remote(traceparent),
        kind=trace.SpanKind[kind.upper()],
        attributes={MESSAGE_ID: message_id},
        # An exception's text may quote a number or a message.
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield
        except Exception as error:
            current.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            raise


def _remote(traceparent: str | None) -> "Context | None":
    if traceparent is None:
        return None
    from signedfor.tracing_interceptors import PROPAGATOR  # noqa: PLC0415 - as above

    return PROPAGATOR.extract({TRACEPARENT: traceparent})
