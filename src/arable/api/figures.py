"""What a server counts of itself, and what its store holds, as Prometheus reads it. docs/operators.md has the table.

The names are promises: dashboards and alerting rules are made of them. Everything is read at the moment of a scrape;
where the work is done there are plain numbers only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import GCCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

from arable.runtime.metrics import ControllerFigures, Figures, Tally
from arable.services.figures import Counting


class ServerFigures(Collector):
    """Of one process. `waiting` pieces of the writer, `channels` and `reports` of the gateway are asked for."""

    def __init__(
        self,
        figures: Figures,
        waiting: Callable[[], int],
        channels: Callable[[], int],
        reports: Callable[[], int],
    ) -> None:
        self._figures = figures
        self._waiting = waiting
        self._channels = channels
        self._reports = reports

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        yield from self._writer()
        yield from self._controllers()
        yield from self._gateway()
        it = self._figures
        yield _gauge("arable_master", "Whether this server acts for its region", it.master.acting)
        yield _gauge("arable_master_epoch", "The election that it acts by", it.master.epoch)
        yield _gauge("arable_farms_held", "Farms that this server acts for", it.farms.held)
        yield _gauge("arable_farms_failing", "Those of them whose work fails", it.farms.failing)
        yield _counter(
            "arable_alert_deliveries", "Notices of alerts that were taken", it.deliveries.delivered
        )
        yield _counter(
            "arable_alert_delivery_failures",
            "Attempts at telling of alerts that failed",
            it.deliveries.failures,
        )
        yield _histogram("arable_loop_lag_seconds", "How late the event loop comes", it.lag)

    def _writer(self) -> Iterator[Metric]:
        writer = self._figures.writer
        yield _histogram("arable_writer_batch_pieces", "Pieces in one commit", writer.pieces)
        yield _histogram("arable_writer_commit_seconds", "Time of one commit", writer.seconds)
        yield _counter(
            "arable_writer_failures", "Transactions that failed as a whole", writer.failures
        )
        yield _gauge("arable_writer_waiting", "Pieces of work that wait", self._waiting())

    def _controllers(self) -> Iterator[Metric]:
        known = dict(self._figures.controllers)
        columns: tuple[tuple[str, str, Callable[[ControllerFigures], float]], ...] = (
            ("rounds", "Rounds of a controller", lambda each: each.rounds),
            ("handled", "Things that a controller's rounds handled", lambda each: each.handled),
            ("seconds", "Time that a controller's rounds took", lambda each: each.seconds),
            ("failures", "Rounds of a controller that failed", lambda each: each.failures),
        )
        for name, about, value in columns:
            made = CounterMetricFamily(f"arable_controller_{name}", about, labels=["controller"])
            for controller, each in sorted(known.items()):
                made.add_metric([controller], value(each))
            yield made

    def _gateway(self) -> Iterator[Metric]:
        gateway = self._figures.gateway
        yield _gauge("arable_gateway_channels", "Hosts that are connected here", self._channels())
        yield _gauge("arable_gateway_reports_waiting", "Reports not kept yet", self._reports())
        yield _counter("arable_gateway_frames", "Messages sent to hosts", gateway.frames)
        yield _counter("arable_gateway_sent_bytes", "Bytes of them", gateway.sent)
        yield _counter("arable_gateway_reports", "Reports of hosts", gateway.reports)
        yield _counter(
            "arable_gateway_received_bytes", "Bytes of hosts' messages", gateway.received
        )


class StoreFigures(Collector):
    """Of the whole cloud, the same at every server; the look is a few seconds old at most where little is there."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    def collect(self) -> Iterator[Metric]:
        """For the registry. What is not known is left out; its name is told all the same."""
        found = self._counting.figures()
        yield _gauge("arable_store_answers", "Whether the database answers", found is not None)
        yield _gauge(
            "arable_count_seconds", "How long counting the following took", self._counting.took
        )
        empty: Mapping[tuple[str, ...], int] = {}
        zoned = ("zone", "resource")
        yield _gauges(
            "arable_hosts",
            "Hosts",
            ("zone", "state", "maintenance"),
            found.hosts if found else empty,
        )
        yield _gauges(
            "arable_zone_installed", "What hosts have", zoned, found.installed if found else empty
        )
        yield _gauges(
            "arable_zone_reservable",
            "What can be reserved, with over-commit",
            zoned,
            found.reservable if found else empty,
        )
        yield _gauges(
            "arable_zone_reserved", "What is reserved", zoned, found.reserved if found else empty
        )
        yield _gauges(
            "arable_pool_mib",
            "Storage pools: what they have, what of it is in use, what is and may be promised",
            ("zone", "pool", "kind", "what"),
            found.pool_mib if found else empty,
        )
        yield _gauges(
            "arable_pools_full",
            "Storage pools that get no further disks",
            ("zone", "kind"),
            found.pools_full if found else empty,
        )
        yield _gauges(
            "arable_machines", "Machines", ("zone", "state"), found.machines if found else empty
        )
        yield _gauges(
            "arable_operations",
            "Operations that run, and all that failed",
            ("state",),
            _single(found.operations if found else {}),
        )
        yield _gauges(
            "arable_backlog",
            "What controllers have not looked after yet",
            ("what",),
            _single(found.backlog if found else {}),
        )
        yield _gauges(
            "arable_moves",
            "Machines on their way to other hosts while they run",
            ("stage",),
            _single(found.moves if found else {}),
        )
        yield _gauges(
            "arable_alerts", "Open alerts", ("kind", "severity"), found.alerts if found else empty
        )
        waiting: dict[tuple[str, ...], int] = {(): found.deliveries} if found else {}
        yield _gauges("arable_alert_deliveries_waiting", "Notices not taken yet", (), waiting)


def register(registry: CollectorRegistry, *collectors: Collector) -> None:
    """These, and what Python and the system know of this process."""
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    for each in collectors:
        registry.register(each)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=float(value))


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(name, about, value=float(value))


def _gauges(
    name: str, about: str, labels: Iterable[str], values: Mapping[tuple[str, ...], int]
) -> Metric:
    made = GaugeMetricFamily(name, about, labels=list(labels))
    for of, value in sorted(values.items()):
        made.add_metric(list(of), value)
    return made


def _single(values: Mapping[str, int]) -> dict[tuple[str, ...], int]:
    return {(name,): value for name, value in values.items()}


def _histogram(name: str, about: str, tally: Tally) -> Metric:
    counts, so_far = list(tally.counts), 0
    buckets = []
    for bound, count in zip((*map(str, tally.bounds), "+Inf"), counts, strict=True):
        so_far += count
        buckets.append((bound, float(so_far)))
    return HistogramMetricFamily(name, about, buckets=buckets, sum_value=tally.sum)
