"""Tells operators of alerts, on threads of its own: no controller and no request ever waits for a mail server.

What is to be sent stands in the store and goes when it was taken, so a crash loses nothing and may send twice, under
the same id. Only the server that acts does it. A route that does not answer is tried less and less often, for days,
and holds up no other one.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from arable.domain.alert import AlertRoute, Delivery, RouteKind
from arable.domain.errors import CloudError, Unavailable
from arable.domain.event import Event
from arable.domain.ids import AlertRouteId
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.runtime.log import milliseconds, tell, units
from arable.runtime.metrics import DeliveryFigures
from arable.runtime.rounds import Rounds
from arable.runtime.secret import Secret
from arable.runtime.sending import Sender
from arable.store import alert_routes, events
from arable.store.database import Database, Tx
from arable.store.writer import Writer

log = logging.getLogger(__name__)
_units = units("alerts")

AGAIN = timedelta(seconds=5)
"""Before the second try; each further one waits twice as long, up to `SELDOM`."""
SELDOM = timedelta(minutes=10)
GIVE_UP = timedelta(days=3)
_TICK = 2.0  # seconds
_AT_ONCE = 500
_ROUTES_AT_ONCE = 4


Fence = Callable[[Tx], None]
"""Raises in a transaction of somebody who does not act any more."""


@dataclass(slots=True)
class Deliverer:
    """`acts` gives the fence of this server while it acts, None otherwise; `unseal` a route's secret."""

    database: Database
    writer: Writer
    clock: Clock
    entropy: Entropy
    senders: Mapping[RouteKind, Sender]
    unseal: Callable[[AlertRoute], Secret | None]
    acts: Callable[[], Fence | None]
    figures: DeliveryFigures = field(default_factory=DeliveryFigures)
    _busy: set[AlertRouteId] = field(default_factory=set)
    _rounds: Rounds = field(init=False)
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(_ROUTES_AT_ONCE, thread_name_prefix="alerts")
    )

    def __post_init__(self) -> None:
        self._rounds = Rounds(
            "alert-delivery", self.begin, lambda: _TICK, "alerts have to wait", log
        )

    def nudge(self) -> None:
        """There is something new to send; from any thread."""
        self._rounds.nudge()

    def start(self) -> None:
        """Run until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Finish what is being sent, then end; the rest is kept."""
        self._rounds.stop()
        self._pool.shutdown()

    def step(self) -> None:
        """Send what is due, and return when that is done. The writer must run in a thread of its own."""
        for future in self.begin():
            future.result()

    def begin(self) -> list[Future[None]]:
        """Begin to send what is due, on a thread for each route that is not busy."""
        fence = self.acts()
        if fence is None:
            return []
        with self.database.read() as tx:
            due = alert_routes.due(tx, self.clock.now(), _AT_ONCE)
        free = [(route, waiting) for route, waiting in due if route.id not in self._busy]
        self._busy |= {route.id for route, _ in free}
        return [self._pool.submit(self._serve, fence, *each) for each in free]

    def _serve(self, fence: Fence, route: AlertRoute, waiting: Sequence[Delivery]) -> None:
        try:
            most = self.senders[route.kind].most
            for begin in range(0, len(waiting), most):
                if self._rounds.closing:
                    return
                if not self._send(fence, route, waiting[begin : begin + most], waiting[begin:]):
                    return
        except CloudError as error:
            log.warning("what became of alerts for %s is not kept: %s", route.name, error.public)
        except Exception:
            log.exception("alerts for %s", route.name)
        finally:
            self._busy.discard(route.id)

    def _send(
        self,
        fence: Fence,
        route: AlertRoute,
        these: Sequence[Delivery],
        rest: Sequence[Delivery],
    ) -> bool:
        """Whether it makes sense to go on with this route."""
        notices = [each.notice for each in these]
        began = self.clock.monotonic()
        try:
            self.senders[route.kind].send(route.target, self.unseal(route), notices)
        except Unavailable as error:  # nor will it take the others now
            self._failed(fence, route, rest, error)
            return False
        except CloudError as error:
            self._failed(fence, route, these, error)
            return True
        self.figures.delivered += len(these)
        tell(
            _units,
            f"told {route.name}",
            delivery=these[0].id,
            notices=len(these),
            ms=milliseconds(self.clock.monotonic() - began),
        )
        at = self.clock.now()
        self._keep(fence, lambda tx: alert_routes.delivered(tx, route.id, these, at))
        return True

    def _failed(
        self, fence: Fence, route: AlertRoute, what: Sequence[Delivery], error: CloudError
    ) -> None:
        self.figures.failures += 1
        at = self.clock.now()
        log.warning("alerts for %s: %s", route.name, error.public)
        late = [each for each in what if at - each.created_at > GIVE_UP]
        again = [each for each in what if at - each.created_at <= GIVE_UP]
        wait = pause(min((each.tries for each in again), default=0))
        wait *= self.entropy.random.uniform(0.75, 1.25)

        def keep(tx: Tx) -> None:
            alert_routes.failed(tx, route.id, again, error.public, at, at + wait)
            alert_routes.given_up(tx, late)
            events.add_many(tx, [_undelivered(route, each, at) for each in late])

        self._keep(fence, keep)

    def _keep(self, fence: Fence, work: Callable[[Tx], None]) -> None:
        def fenced(tx: Tx) -> None:
            fence(tx)
            work(tx)

        self.writer.submit(fenced).result()


def pause(tries: int) -> timedelta:
    """How long to wait after so many failures before this one."""
    return min(AGAIN * (1 << min(tries, 10)), SELDOM)


def _undelivered(route: AlertRoute, delivery: Delivery, at: datetime) -> Event:
    text = f"{route.name} was not told in {GIVE_UP.days} days: {delivery.notice.alert.text}"
    return Event(at=at, account=None, kind="alert.undelivered", subject=route.id, text=text)
