"""Three servers on one PostgreSQL share the farms' work; one is killed, or frozen, in the middle of it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from arable.client.arable import Arable
from arable.client.errors import Unreachable
from arable.client.patience import Patience
from arable.wire.machines import DeployIn
from processes.living_servers import Living, Servers, living, until
from processes.test_cluster import blank

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # `bench` is beside `src`, and installed nowhere

from bench import cloud  # noqa: E402

pytestmark = pytest.mark.real

CUSTOMERS, EACH, HOSTS = 9, 8, 9

# Who gave each machine its host, and who held its farm when that was done.
WATCH = """
    create table placed (machine text, by text, holder text);
    create function placed() returns trigger language plpgsql as $$
      begin
        insert into placed select new.id, current_setting('application_name'),
          (select holder from farm where id = new.farm);
        return new;
      end $$;
    create trigger first after insert on machine for each row
      when (new.host is not null) execute function placed();
    create trigger later after update of host on machine for each row
      when (new.host is not null and old.host is distinct from new.host) execute function placed();
"""


@dataclass
class Site:
    """Servers, hosts whose agents are infinitely fast, and customers with a farm each."""

    servers: Servers
    keys: list[str]
    deployed: set[str] = field(default_factory=set)

    def rows(self, query: str) -> list[tuple]:
        with self.servers.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query))]

    def deploy(self, at: Living, other: Living, customer: int, name: str) -> None:
        """Asked of one server; if it does not answer, the same again of the other one."""
        ask = DeployIn(name=name, offering=cloud.OFFERING, image="tiny", zone="zone1")
        for server in (at, other):
            with Arable(
                server.ready["api"], self.keys[customer], patience=Patience(tries=1)
            ) as client:
                try:
                    client.machines.deploy(ask, idempotency_key=f"{customer}-{name}")
                except Unreachable:
                    continue
            self.deployed.add(f"{customer}/{name}")
            return
        raise AssertionError("neither server answers")

    def is_even(self) -> bool:
        """Whether each server holds as many farms as any other, give or take one."""
        held = dict(self.rows("select holder, count(*) from farm group by holder"))
        names = {each.name for each in self.servers.all}
        return held.keys() == names and max(held.values()) - min(held.values()) <= 1

    def all_run(self) -> bool:
        return self.rows("select state, count(*) from machine group by state") == [
            ("running", len(self.deployed))
        ]


@contextmanager
def swarm(site_data: Path, hosts: list[cloud.Joined], gateway: str) -> Iterator[None]:
    """Their agents, in a process of their own."""
    file = site_data / f"hosts-{gateway.rpartition(':')[2]}.json"
    file.write_bytes(msgspec.json.encode(hosts))
    argv = [sys.executable, "-m", "bench.swarm", str(file), gateway]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as started:
        try:
            assert started.stdout.readline() == b"ready\n"
            yield
        finally:
            started.stdin.close()
            started.wait(30)


@pytest.fixture
def site(postgresql, tmp_path) -> Iterator[Site]:
    with ExitStack() as stack:
        url = stack.enter_context(blank(postgresql))
        servers = stack.enter_context(living(url, tmp_path, 3))
        first = servers.all[0]
        served = cloud.Served(first.data, url, msgspec.convert(first.ready, cloud.Ready))
        with cloud.operator(served) as operator:
            place = cloud.describe(operator, tmp_path)
            keys = list(cloud.customers(served, operator, CUSTOMERS).values())
        hosts = cloud.join(served, place, HOSTS, routing=3)
        for number, server in enumerate(servers.all[1:]):  # the first one will not survive
            gateway = server.ready["gateway"]
            stack.enter_context(swarm(tmp_path, hosts[number::2], gateway))
        made = Site(servers, keys)
        with servers.database.write() as tx:
            tx.execute(text(WATCH))
        for customer in range(CUSTOMERS):
            made.deploy(servers.all[customer % 3], first, customer, "first")
        until(made.all_run, "the first machines do not run")
        yield made


def deploy_everywhere(site: Site, trouble: threading.Event, go_on: threading.Event) -> None:
    """Each server is asked by a customer's program of its own; half way somebody makes trouble."""
    half = threading.Barrier(len(site.servers.all) + 1)

    def ask(number: int) -> None:
        server = site.servers.all[number]
        other = site.servers.all[number % 2 + 1]
        for at in range(EACH * CUSTOMERS // 3):
            if at == EACH * CUSTOMERS // 6:
                half.wait(60)
                go_on.wait(60)
            site.deploy(server, other, (at + number) % CUSTOMERS, f"m-{number}-{at}")

    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(ask, number) for number in range(3)]
        half.wait(120)
        trouble.set()
        for each in asking:
            each.result(180)


def check(site: Site, wanted: set[str]) -> None:
    """All that was accepted runs, was placed once, by who held its farm, and nothing is counted twice."""
    until(site.all_run, "not everything runs")
    names = {
        f"{site_customer}/{name}"
        for site_customer, name in (
            (account.removeprefix("customer-"), name)
            for account, name in site.rows(
                "select a.name, m.name from machine m join account a on a.id = m.account"
            )
        )
    }
    assert names == site.deployed
    assert site.rows("select machine from placed group by machine having count(*) > 1") == []
    assert len(site.rows("select machine from placed")) == len(site.deployed)
    assert site.rows("select * from placed where by <> holder") == [], "only the holder of a farm"
    assert {by for (by,) in site.rows("select distinct by from placed")} == wanted
    off = """
        select h.id from host h where h.machines <> (select count(*) from machine where host = h.id)
          or h.reserved_memory_mib <> (select coalesce(sum(memory_mib), 0) from machine where host = h.id)
    """
    assert site.rows(off) == []
    assert site.rows("select id from operation where state <> 'done'") == []
    assert site.rows("select farm from farm_trouble") == []


def test_each_server_does_the_work_of_its_farms_and_when_one_is_killed_the_others_do_its_part(site):
    servers = site.servers
    until(site.is_even, "nothing is to be done, and some servers hold more farms than others")
    victim = servers.all[0]
    trouble, go_on = threading.Event(), threading.Event()

    def kill() -> None:
        trouble.wait(120)
        go_on.set()
        victim.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    deploy_everywhere(site, trouble, go_on)
    killer.join()
    check(site, {each.name for each in servers.all})
    survivors = {each.name for each in servers.others(victim)}
    assert {holder for (holder,) in site.rows("select distinct holder from farm")} <= survivors


def test_a_server_that_is_frozen_in_the_middle_does_nothing_for_farms_that_others_have_by_then(
    site,
):
    servers = site.servers
    victim = servers.all[0]
    trouble, go_on = threading.Event(), threading.Event()

    def freeze() -> None:
        trouble.wait(120)
        victim.signal(signal.SIGSTOP)
        until(lambda: servers.states()[victim.name] == "gone", "nobody misses it")
        victim.signal(signal.SIGCONT)
        go_on.set()

    freezer = threading.Thread(target=freeze)
    freezer.start()
    deploy_everywhere(site, trouble, go_on)
    freezer.join()
    check(site, {each.name for each in servers.all})
    until(lambda: servers.states()[victim.name] == "ready", "it does not come back")
