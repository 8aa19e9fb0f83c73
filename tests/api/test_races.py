"""Two hundred requests at once for a hundred of something, over real HTTP: a hundred get it, a hundred are told why not.

On PostgreSQL two management servers answer, and several placers work at once, as if an old master had woken up late.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import httpx
import pytest
from sqlalchemy import text

from arable.controllers import machines
from arable.services.execution import lost_race
from arable.store.database import Database
from arable.wire.accounts import LimitsChange
from make_hall import MEMORY, Hall, make_hall
from serving import Served, beside

TRIES = 200
SLOTS = 100
CUSTOMERS = 4


@dataclass
class Crowd:
    """Customers with a hundred hands."""

    served: Served
    urls: list[str]
    tokens: list[str]
    threads: ThreadPoolExecutor

    def begin(self, path: str, *bodies: Any) -> list["Future[httpx.Response]"]:
        """All at once, shared out between the customers and the servers."""
        start = threading.Barrier(TRIES)

        def one(number: int) -> httpx.Response:
            token = self.tokens[number % len(self.tokens)]
            start.wait(60)
            with self.served.http(token) as http:
                url = self.urls[number // len(self.tokens) % len(self.urls)]
                return http.post(url + path, json=bodies[number % len(bodies)], timeout=120)

        return [self.threads.submit(one, number) for number in range(TRIES)]

    def post(self, path: str, *bodies: Any) -> list[httpx.Response]:
        return [each.result(120) for each in self.begin(path, *bodies)]

    def rows(self, query: str) -> list[Any]:
        with self.served.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query))]


def customers(served: Served, count: int, **limits: int | None) -> list[str]:
    free = dict.fromkeys(
        (
            "machines",
            "cpus",
            "memory_mib",
            "volumes",
            "storage_mib",
            "snapshots",
            "snapshot_mib",
            "networks",
            "addresses",
        )
    )
    many = LimitsChange(**(free | limits))
    return [served.token(served.customer(f"customer-{n}", limits=many)) for n in range(count)]


@pytest.fixture
def crowded(served_both) -> Iterator[Any]:
    with ExitStack() as stack:
        urls = [served_both.url]
        if not served_both.database.is_sqlite:
            urls.append(stack.enter_context(beside(served_both)))
        threads = stack.enter_context(ThreadPoolExecutor(TRIES))

        def gathered(count: int = CUSTOMERS, **limits: int) -> Crowd:
            return Crowd(served_both, urls, customers(served_both, count, **limits), threads)

        yield gathered


def statuses(answers: list[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def refusals(answers: list[httpx.Response]) -> list[dict[str, Any]]:
    return [answer.json() for answer in answers if answer.status_code >= 400]


def deploys() -> list[dict[str, Any]]:
    return [{"name": f"m{n}", "offering": "small", "image": "tiny"} for n in range(TRIES)]


class Placers:
    """More of them than there may be: each places whatever waits, again and again, on a database of its own."""

    def __init__(self, crowd: Crowd, count: int) -> None:
        self._over = threading.Event()
        self._crowd = crowd
        self._threads = [threading.Thread(target=self._place) for _ in range(count)]
        self.failures: list[BaseException] = []

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _place(self) -> None:
        database = Database(self._crowd.served.database.url)
        clock = self._crowd.served.around.clock
        while not self._over.wait(0.01):
            try:
                with database.write() as tx:
                    machines.attend(tx, clock.now())
            except Exception as error:  # noqa: BLE001 - told at the end of the test
                if not lost_race(error):
                    self.failures.append(error)
        database.close()


def test_two_hundred_machines_for_a_hundred_places_are_a_hundred_machines(crowded):
    crowd = crowded()
    hall: Hall = make_hall(crowd.served, hosts=5, slots=SLOTS // 5)
    hall.until(lambda: crowd.rows("select count(*) from host where server != ''") == [(5,)])
    with Placers(crowd, 0 if crowd.served.database.is_sqlite else 3) as placers:
        deploying = crowd.begin("/v1/machines", *deploys())
        hall.until(lambda: all(each.done() for each in deploying), rounds=10_000)
        answers = [each.result() for each in deploying]
        assert statuses(answers) == {202: TRIES}, refusals(answers)[:1]
        hall.until(
            lambda: not crowd.rows("select 1 from operation where state = 'running' limit 1")
        )
    assert placers.failures == []
    assert (
        crowd.rows("select reserved_memory_mib, machines from host")
        == [(SLOTS // 5 * MEMORY, SLOTS // 5)] * 5
    )
    assert crowd.rows("select state, count(*) from machine group by state") == [("running", SLOTS)]
    running = hall.guests()
    assert len(running) == len(set(running)) == SLOTS
    assert crowd.rows("select sum(used_machines), sum(used_volumes) from quota") == [(SLOTS, SLOTS)]
    ended = [crowd.served.operator.operations.get(answer.json()["operation"]) for answer in answers]
    assert Counter(each.state for each in ended) == {"done": SLOTS, "failed": TRIES - SLOTS}
    for failed in (each for each in ended if each.state == "failed"):
        assert failed.error is not None
        assert failed.error.type == "urn:arable:problem:no-room"
        assert "memory" in failed.error.detail
        assert len(failed.error.why["hosts"]) == 5
        rules = set(failed.error.why["hosts"].values())
        assert rules == {"needs 512 MiB of memory, 0 free"}


def test_two_hundred_machines_for_a_limit_of_a_hundred_are_a_hundred_machines(crowded):
    crowd = crowded(1, machines=SLOTS)
    make_hall(crowd.served)
    answers = crowd.post("/v1/machines", *deploys())
    assert statuses(answers) == {202: SLOTS, 409: TRIES - SLOTS}
    for told in refusals(answers):
        assert told["type"] == "urn:arable:problem:limit-exceeded"
        assert "limit of 100 machines" in told["detail"]
    assert crowd.rows("select used_machines from quota where used_machines > 0") == [(SLOTS,)]
    assert crowd.rows("select count(*) from machine") == [(SLOTS,)]


def test_two_hundred_networks_for_a_hundred_vlans_are_a_hundred_networks(crowded):
    crowd = crowded()
    make_hall(crowd.served, vlans=SLOTS)
    asks = [{"name": f"n{n}", "cidr": f"10.{n}.0.0/24"} for n in range(TRIES)]
    answers = crowd.post("/v1/networks", *asks)
    assert statuses(answers) == {201: SLOTS, 507: TRIES - SLOTS}
    for told in refusals(answers):
        assert told["type"] == "urn:arable:problem:no-room"
        assert "VLAN" in told["detail"]
    assert crowd.rows("select count(distinct vlan), count(*) from network") == [(SLOTS, SLOTS)]
    assert crowd.rows("select sum(used_networks) from quota") == [(SLOTS,)]


def test_two_hundred_asks_for_a_hundred_public_addresses_get_a_hundred(crowded):
    crowd = crowded()
    make_hall(crowd.served, addresses=SLOTS)
    answers = crowd.post("/v1/addresses", {})
    assert statuses(answers) == {201: SLOTS, 507: TRIES - SLOTS}
    for told in refusals(answers):
        assert told["type"] == "urn:arable:problem:no-room"
        assert "public address" in told["detail"]
    given = [answer.json()["address"] for answer in answers if answer.status_code == 201]
    assert len(set(given)) == SLOTS
    assert crowd.rows("select sum(used_addresses) from quota") == [(SLOTS,)]
