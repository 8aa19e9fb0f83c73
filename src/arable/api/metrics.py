"""What operators' Prometheus reads of the API: how many calls, how they ended, how long they took."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """A registry of its own for each server, so that several can live in one process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series, of which nobody asks
        self.registry = registry or CollectorRegistry()
        self._calls = Counter(
            "arable_api_calls_total",
            "Calls by operation and status",
            ("operation", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "arable_api_seconds",
            "Time from the request's first byte to the answer",
            ("operation",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.waiting = Gauge(
            "arable_api_calls_in_progress", "Calls without an answer yet", registry=self.registry
        )
        self.streams = Gauge(
            "arable_api_streams", "Event streams that are open", registry=self.registry
        )

    def call(self, operation: str) -> "CallMetrics":
        """Those of one operation, looked up once."""
        return CallMetrics(operation, self._calls, self._seconds.labels(operation))

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)


class CallMetrics:
    """Of one operation."""

    def __init__(self, operation: str, calls: Counter, seconds: Histogram) -> None:
        self._operation = operation
        self._calls = calls
        self._by_status: dict[int, Counter] = {}
        self._seconds = seconds

    def ended(self, status: int, seconds: float) -> None:
        """One call more."""
        counter = self._by_status.get(status)
        if counter is None:
            counter = self._by_status[status] = self._calls.labels(self._operation, str(status))
        counter.inc()
        self._seconds.observe(seconds)
