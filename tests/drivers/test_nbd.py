"""Volumes over NBD keep the contracts; and what only reality can show: TLS, killed servers, limits, lost writes."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from arable.domain.errors import Unavailable
from arable.domain.ids import HostId
from arable.domain.units import MIB
from arable.drivers import processes, unix_sockets
from arable.drivers.storage.disk_process import PROGRAM
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.nbd.pool import NbdStorage
from arable.drivers.storage.protocol import ExportAt
from arable.runtime.boottime import KernelBootTime
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers import nbd_clients as nbd
from drivers.contract_carries import SharedCarryContract
from drivers.contract_replicas import SharedReplicaContract
from drivers.contract_shared import A, B, SharedContract, SharedRig
from drivers.contract_snapshots import SharedSnapshotContract, operation, snapshot
from drivers.contract_storage import StorageContract
from drivers.emulated_hosts import is_alive
from drivers.test_local_storage import reads, tool, write

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
        # Several runs may be at it on this machine; above 32,767 the kernel gives ports to whoever connects.
        first = 20_000 + os.getpid() % 120 * 100
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

    def one(self) -> int:
        """The only one, once who started it is gone: a daemon is forked twice, and who forked may be seen for a moment."""
        make.wait_until(lambda: len(self.ours()) == 1, "one process")
        (pid,) = self.ours()
        return pid


def test_reads_of_a_few_bytes_do_not_wait_for_each_other_s_acknowledgement(site) -> None:
    """With Nagle's algorithm each took 40 ms: a hundred of them 4 s, where they take 0.05."""
    pool, volume = site.pool(), make.volume()
    pool.ensure(volume, 1 * MIB, None)
    pool.exports.open(1, A, [volume])
    try:
        with nbd.client(pool.where(volume, 1), site.of[A], S) as one:
            assert one.writes(0, 7, 1 * MIB)
            took = sorted(_seconds(one.says(f"read {at * 4096} 4096")) for at in range(40))
    finally:
        pool.exports.cut([volume])
    assert took[len(took) // 2] < 0.02, took


def _seconds(said: str) -> float:
    """As qemu-io tells them: minutes are for others."""
    found = re.search(r"([\d.]+) sec", said)
    assert found, said
    return float(found.group(1))


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


class TestNbd(
    SharedContract,
    SharedReplicaContract,
    SharedCarryContract,
    SharedSnapshotContract,
    StorageContract,
):
    @pytest.fixture
    def other(self, tmp_path) -> LocalStorage:
        return LocalStorage(tmp_path / "other", make.pool(), RealClock())

    @pytest.fixture
    def pool(self, site) -> NbdStorage:
        self.site = site
        return site.pool()

    @pytest.fixture
    def storage(self, pool) -> NbdStorage:
        return pool

    def reopened(self, pool) -> NbdStorage:
        return self.site.pool()

    def write(self, storage, volume, pattern) -> None:
        write(storage.volumes()[volume].path, pattern)

    def reads(self, storage, volume, pattern) -> bool:
        return reads(storage.volumes()[volume].path, pattern)

    def lets_in(self, pool, at, host) -> bool:
        return not nbd.may_connect(at, self.site.of[host], S)

    def may_read(self, pool, at, host, pattern) -> bool:
        with nbd.client(at, self.site.of[host], S, read_only=True) as one:
            return one.reads(0, pattern)

    def may_write(self, pool, at, host) -> bool:
        with nbd.client(at, self.site.of[host], S) as one:
            return one.writes(0, 9)


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
        pid = site.one()
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
            pid = site.one()
            os.kill(pid, signal.SIGKILL)
        tended(pool, lambda: site.ours() not in ([pid], []))
        assert site.ours() != [pid]
        assert pool.where(right.volumes[0], 1) == at
        with nbd.client(at, site.of[A], S) as one:
            for n in range(64):
                assert one.reads(n * 65536, n + 1, 65536)

    def test_a_snapshot_has_all_that_was_said_to_be_written_and_nothing_that_came_later(
        self, pool, right, site
    ) -> None:
        at, (volume,) = self.given(pool, right), right.volumes
        taken = [snapshot() for _ in range(4)]
        with nbd.client(at, site.of[A], S) as one:
            for n, each in enumerate(taken, 1):
                assert one.writes(0, n, 65536)
                assert one.writes(n * 65536, 7, 65536)
                pool.take(volume, each)
            assert one.writes(0, 9, 4 * MIB)
        pool.leases.release(right.machine, A, 1)
        path = pool.volumes()[volume].path
        for n, each in enumerate(taken, 1):
            pool.restore(volume, each, 8 * MIB, operation())
            assert reads(path, n)
            assert reads(path, 7, str(n * 65536))
            assert reads(path, 0, str((n + 1) * 65536))
        assert "No errors" in tool("qemu-img", "check", "-f", "qcow2", path)

    def test_a_server_that_is_killed_amid_snapshots_leaves_a_sound_file(
        self, pool, right, site
    ) -> None:
        at, (volume,) = self.given(pool, right), right.volumes
        path = pool.volumes()[volume].path
        for turn in range(4):
            pid = site.one()
            with nbd.client(at, site.of[A], S) as one:
                assert one.writes(0, turn + 1, 2 * MIB)
                killer = threading.Timer(0.002 * turn, os.kill, (pid, signal.SIGKILL))
                killer.start()
                with suppress(Unavailable):
                    for _ in range(50):
                        each = snapshot()
                        pool.take(volume, each)
                        pool.drop(volume, each)
                killer.join()
            tended(pool, lambda pid=pid: site.ours() not in ([pid], []))
            for left in pool.snapshots(volume):
                pool.drop(volume, left)
            with nbd.client(at, site.of[A], S) as one:
                assert one.reads(0, turn + 1, 2 * MIB)
        pool.leases.release(right.machine, A, 1)
        told = subprocess.run(
            ["qemu-img", "check", "-f", "qcow2", str(path)],
            check=False,
            capture_output=True,
            text=True,
        )
        # Room that nothing uses, and marks that a cluster is nobody else's which were not set back yet when its count
        # was raised for a snapshot that then never was: nobody else has such a cluster.
        wrong = re.findall(r"^ERROR (?!OFLAG_COPIED).*", told.stderr, re.MULTILINE)
        assert not wrong, told.stderr
        assert told.returncode in (0, 2, 3), told
        assert not pool.snapshots(volume)
        taken = snapshot()
        pool.take(volume, taken)
        write(path, 9, length="2M")
        pool.restore(volume, taken, 8 * MIB, operation())
        assert reads(path, 4, length="2M")

    def test_one_that_is_given_up_while_it_is_being_taken_does_not_stay(
        self, pool, right, site
    ) -> None:
        """Its server stands still in the middle of it, as on a disk that does not answer."""
        self.given(pool, right)
        (volume,), pid, taken = right.volumes, site.one(), snapshot()
        ask = {"device": "disk", "name": taken}
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as beside, socket.socket(socket.AF_UNIX) as line:
            try:
                line.settimeout(60)
                assert unix_sockets.connect(line, pool.exports._monitor(volume))
                for command, said in (
                    ("qmp_capabilities", {}),
                    ("blockdev-snapshot-internal-sync", ask),
                ):
                    line.sendall(json.dumps({"execute": command, "arguments": said}).encode())
                dropped = beside.submit(pool.drop, volume, taken)
                with pytest.raises(TimeoutError):
                    dropped.result(0.2)
                os.kill(pid, signal.SIGCONT)
                with line.makefile("rb") as answers:
                    said_of_it = [json.loads(answers.readline()) for _ in range(3)]
            finally:
                os.kill(pid, signal.SIGCONT)
            assert "return" in said_of_it[2]
            line.close()
            dropped.result(60)
        assert taken not in pool.snapshots(volume)

    def test_the_end_of_a_server_is_noticed_at_once(self, pool, right, site) -> None:
        self.given(pool, right)
        pool.await_trouble(0)
        pid = site.one()
        os.kill(pid, signal.SIGKILL)
        clock = RealClock()
        began = clock.monotonic()
        pool.await_trouble(120)
        assert clock.monotonic() - began < 60, "it was told, not waited out"

    def test_a_restarted_agent_leaves_servers_alone_and_a_new_epoch_finds_them(
        self, pool, right, site
    ) -> None:
        at = self.given(pool, right)
        pid = site.one()
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
            served = site.ours()
            pool.limit(right.volumes[0], 0, 0)
            began = clock.monotonic()
            for n in range(100):
                assert one.writes(n * 4096, 1)
            assert clock.monotonic() - began < took / 2, "the same client, held back no more"
            pool.limit(right.volumes[0], 0, 64 * 1024)
            began = clock.monotonic()
            for n in range(32):
                assert one.writes(n * 4096, 1)
            assert clock.monotonic() - began > 0.6, "128 KiB at 64 a second"
            assert site.ours() == served

    def test_what_the_client_gives_back_is_free_in_the_pool(self, pool, right, site) -> None:
        at, (volume,) = self.given(pool, right), right.volumes
        with nbd.client(at, site.of[A], S) as one:
            assert one.writes(0, 1, 4 * MIB)
            full = pool.volumes()[volume].used_bytes
            assert "discard 4194304/4194304" in one.says("discard 0 4194304")
        assert pool.volumes()[volume].used_bytes < full - 3 * MIB

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
