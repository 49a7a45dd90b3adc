"""The registry of one process's metrics."""

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics


def new_registry() -> CollectorRegistry:
    """One with the process's memory, CPU and files, and without a `_created` series a counter."""
    # For the whole process: they double the series, and nothing asks for them.
    disable_created_metrics()  # type: ignore[no-untyped-call] # it lacks a return type
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
