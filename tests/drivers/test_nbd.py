"""Volumes over NBD keep the contracts; and what only reality can show: TLS, killed servers, limits, lost writes."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arable.domain.errors import Unavailable
from arable.domain.ids import HostId
from arable.domain.units import MIB
from arable.drivers import processes
from arable.drivers.storage.nbd.daemon import PROGRAM
from arable.drivers.storage.nbd.pool import NbdStorage
from arable.drivers.storage.protocol import ExportAt
from arable.runtime.boottime import KernelBootTime
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
from drivers.contract_shared import A, B, SharedContract, SharedRig
from drivers.contract_storage import StorageContract
from drivers.emulated_hosts import is_alive

pytestmark = pytest.mark.real

S = HostId("host-s")


class Site:
    """A pool on the loopback, and everybody's certificates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = nbd.authority(folder)
        self.own = nbd.credentials(folder, self.authority, S)
        self.of = {host: nbd.credentials(folder, self.authority, host) for host in (A, B)}
        self.id = make.pool()
        # Several runs may be at it on this machine.
        first = 20_000 + os.getpid() % 400 * 100
        self.ports = range(first, first + 100)

    def pool(self) -> NbdStorage:
        return NbdStorage(
            self.folder / "pool",
            self.id,
            RealClock(),
            KernelBootTime(),
            address="127.0.0.1",
            credentials=self.own,
            lease_seconds=5.0,
            ports=self.ports,
            capacity_bytes=1 << 30,
        )

    def ours(self) -> list[int]:
        """Every server of a volume of this pool."""
        home = str(self.folder).encode()
        found = list(
            processes.holding(
                lambda words: PROGRAM.encode() in words and any(home in word for word in words)
            )
        )
        for one in found:
            one.close()
        return [one.pid for one in found]


def tended(pool: NbdStorage, done: Callable[[], bool]) -> None:
    """The pool is looked after as its host's agent does, until that is so."""
    for _ in range(60):
        pool.leases.tend()
        if done():
            return
        pool.await_trouble(1.0)
    raise AssertionError("looked after in vain")


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for pid in made.ours():
        os.kill(pid, signal.SIGKILL)


class TestNbd(SharedContract, StorageContract):
    @pytest.fixture
    def pool(self, site) -> NbdStorage:
        self.site = site
        return site.pool()

    @pytest.fixture
    def storage(self, pool) -> NbdStorage:
        return pool

    def reopened(self, pool) -> NbdStorage:
        return self.site.pool()

    def lets_in(self, pool, at, host) -> bool:
        return not nbd.may_connect(at, self.site.of[host], S)


class TestOneVolume(SharedRig):
    """What the contract does not speak of."""

    @pytest.fixture
    def pool(self, site) -> NbdStorage:
        return site.pool()

    def test_only_a_certificate_of_the_clouds_own_authority_with_the_holders_name_is_let_in(
        self, pool, right, site, tmp_path
    ) -> None:
        at = self.given(pool, right)
        assert not nbd.may_connect(at, site.of[A], S)
        stranger = nbd.credentials(tmp_path / "x", nbd.authority(tmp_path / "x"), A)
        known = stranger / "ca-cert.pem"
        known.write_text(known.read_text() + site.authority.pem)
        for who in (site.of[B], stranger):
            assert "TLS" in nbd.may_connect(at, who, S)
        assert "hostname" in nbd.may_connect(at, site.of[A], HostId("host-t"))

    def test_who_does_not_speak_tls_is_not_heard(self, pool, right, site) -> None:
        at = self.given(pool, right)
        with nbd.client(at, None, S) as one:
            assert "TLS" in one.says("read 0 512")

    def test_a_host_that_was_cut_off_writes_nothing_more(self, pool, right, site) -> None:
        at = self.given(pool, right)
        with nbd.client(at, site.of[A], S) as old:
            assert old.writes(0, 1)
            assert old.writes(4096, 2)
            after = self.given(pool, self.next(right))
            with nbd.client(after, site.of[B], S) as new:
                assert new.reads(0, 1)
                assert new.writes(4096, 3)
                assert not old.writes(0, 9)
                assert not old.writes(4096, 9)
                assert new.reads(0, 1)
                assert new.reads(4096, 3)

    def test_a_frozen_server_is_cut_all_the_same(self, pool, right, site) -> None:
        at = self.given(pool, right)
        (pid,) = site.ours()
        with nbd.client(at, site.of[A], S) as old:
            assert old.writes(0, 1)
            os.kill(pid, signal.SIGSTOP)
            self.given(pool, self.next(right))
            assert not is_alive(pid)
            assert not old.writes(0, 9)

    def test_what_was_said_to_be_written_survives_a_killed_server_though_nobody_flushed(
        self, pool, right, site
    ) -> None:
        at = self.given(pool, right)
        with nbd.client(at, site.of[A], S) as one:
            for n in range(64):
                assert one.writes(n * 65536, n + 1, 65536)
            (pid,) = site.ours()
            os.kill(pid, signal.SIGKILL)
        tended(pool, lambda: site.ours() not in ([pid], []))
        assert site.ours() != [pid]
        assert pool.where(right.volumes[0], 1) == at
        with nbd.client(at, site.of[A], S) as one:
            for n in range(64):
                assert one.reads(n * 65536, n + 1, 65536)

    def test_the_end_of_a_server_is_noticed_at_once(self, pool, right, site) -> None:
        self.given(pool, right)
        pool.await_trouble(0)
        (pid,) = site.ours()
        os.kill(pid, signal.SIGKILL)
        clock = RealClock()
        began = clock.monotonic()
        pool.await_trouble(30)
        assert clock.monotonic() - began < 10

    def test_a_restarted_agent_leaves_servers_alone_and_a_new_epoch_finds_them(
        self, pool, right, site
    ) -> None:
        at = self.given(pool, right)
        (pid,) = site.ours()
        with nbd.client(at, site.of[A], S) as one:
            assert one.writes(0, 1)
            anew = site.pool()
            anew.leases.tend()
            assert site.ours() == [pid]
            assert one.writes(0, 2)
            anew.leases.allow(self.next(right))
            assert site.ours() == []

    def test_a_server_that_somebody_started_and_never_wrote_down_is_found(
        self, pool, right, site
    ) -> None:
        self.given(pool, right)
        for path in (site.folder / "pool" / "exports").iterdir():
            path.unlink()
        anew = site.pool()
        anew.leases.allow(self.next(right))
        assert site.ours() == []

    def test_a_port_that_somebody_else_has_is_passed_over(self, pool, right, site) -> None:
        with socket.create_server(("127.0.0.1", site.ports[0])):
            at = self.given(pool, right)
            assert at.port == site.ports[1]
            assert not nbd.may_connect(at, site.of[A], S)

    def test_a_limit_holds_whatever_the_client_does(self, pool, right, site) -> None:
        pool.limit(right.volumes[0], 50, 0)
        at = self.given(pool, right)
        clock = RealClock()
        with nbd.client(at, site.of[A], S) as one:
            assert one.writes(0, 1)
            began = clock.monotonic()
            for n in range(100):
                assert one.writes(n * 4096, 1)
            took = clock.monotonic() - began
        assert took > 0.6 * 100 / 50, "a hundred writes at fifty a second"

    def test_without_a_certificate_nothing_is_served(self, site) -> None:
        site.own = site.folder / "nothing"
        pool = site.pool()
        volume = make.volume()
        pool.ensure(volume, 1 * MIB, None)
        with pytest.raises(Unavailable):
            pool.exports.open(1, A, [volume])
        assert site.ours() == []

    def test_names_with_commas_and_quotes_in_a_path_are_only_names(self, tmp_path, site) -> None:
        odd = Site(tmp_path / 'a,b="c" d')
        pool = odd.pool()
        volume = make.volume()
        pool.ensure(volume, 1 * MIB, None)
        try:
            pool.exports.open(1, A, [volume])
            at: ExportAt = pool.where(volume, 1)
            assert "hostname" in nbd.may_connect(at, odd.of[A], HostId("host-t"))
        finally:
            pool.exports.cut([volume])
        assert odd.ours() == []
