"""The registry of one process's metrics."""

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics


def new_registry() -> CollectorRegistry:
    """One with the process's memory, CPU and files, and without a `_created` series a counter."""
    disable_created_metrics()  # of the whole process: it doubles the series, and nothing asks
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
