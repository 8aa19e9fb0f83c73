"""Volumes as iSCSI targets keep the contracts; and what only reality can show: names, secrets, killed servers."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from arable.domain.ids import HostId
from arable.domain.units import MIB
from arable.drivers import processes
from arable.drivers.storage.disk_process import PROGRAM
from arable.drivers.storage.iscsi import names
from arable.drivers.storage.iscsi.daemon import TARGET
from arable.drivers.storage.iscsi.pool import IscsiStorage
from arable.drivers.storage.local import LocalStorage
from arable.runtime.boottime import KernelBootTime
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from drivers import iscsi_clients as iscsi
from drivers import make_drivers as make
from drivers.contract_carries import SharedCarryContract
from drivers.contract_replicas import SharedReplicaContract
from drivers.contract_shared import A, B, SharedContract, SharedRig
from drivers.contract_snapshots import SharedSnapshotContract
from drivers.contract_storage import StorageContract
from drivers.test_local_storage import reads, write

pytestmark = pytest.mark.real


class Site:
    """A pool on the loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = make.pool()
        # Several runs may be at it on this machine; above 32,767 the kernel gives ports to whoever connects.
        first = 20_000 + os.getpid() % 120 * 100
        self.ports = range(first, first + 100)

    def pool(self) -> IscsiStorage:
        return IscsiStorage(
            self.folder / "pool",
            self.id,
            RealClock(),
            KernelBootTime(),
            Entropy.system(),
            address="127.0.0.1",
            lease_seconds=5.0,
            ports=self.ports,
            capacity_bytes=1 << 30,
        )

    def ours(self, program: str) -> list[int]:
        """Every process of this pool that runs that."""
        home = str(self.folder).encode()
        found = list(
            processes.holding(
                lambda words: program.encode() in words and any(home in word for word in words)
            )
        )
        for one in found:
            one.close()
        return [one.pid for one in found]

    def one(self, program: str) -> int:
        """The only one, once who started it is gone: a daemon is forked twice, and who forked may be seen for a moment."""
        make.wait_until(lambda: len(self.ours(program)) == 1, "one process")
        (pid,) = self.ours(program)
        return pid

    def end(self) -> None:
        for program in (PROGRAM, TARGET):
            for pid in self.ours(program):
                os.kill(pid, signal.SIGKILL)

    def why_not(self, at, host: HostId, secret: Secret | None = None, **but) -> str:
        return iscsi.may_connect(at, host, self.folder, secret or at.secret, **but)


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.end()


class TestIscsi(
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
    def pool(self, site) -> IscsiStorage:
        self.site = site
        return site.pool()

    @pytest.fixture
    def storage(self, pool) -> IscsiStorage:
        return pool

    def reopened(self, pool) -> IscsiStorage:
        return self.site.pool()

    def write(self, storage, volume, pattern) -> None:
        write(storage.volumes()[volume].path, pattern)

    def reads(self, storage, volume, pattern) -> bool:
        return reads(storage.volumes()[volume].path, pattern)

    def lets_in(self, pool, at, host) -> bool:
        return not self.site.why_not(at, host)

    def may_read(self, pool, at, host, pattern) -> bool:
        folder, secret = self.site.folder, at.secret
        with iscsi.client(at, host, folder, secret=secret, read_only=True) as one:
            return one.reads(0, pattern)

    def may_write(self, pool, at, host) -> bool:
        with iscsi.client(at, host, self.site.folder, secret=at.secret) as one:
            return one.writes(0, 9)


class TestOneVolume(SharedRig):
    """What the contract does not speak of."""

    @pytest.fixture
    def pool(self, site) -> IscsiStorage:
        return site.pool()

    def test_only_the_holders_name_with_the_secret_of_this_epoch_is_let_in(
        self, pool, right, site
    ) -> None:
        first = self.given(pool, right)
        assert not site.why_not(first, A)
        assert "Authentication failure" in site.why_not(first, A, Secret("another"))
        assert "Target not found" in site.why_not(first, B)
        after = self.given(pool, self.next(right))
        assert not site.why_not(after, B)
        assert "Authentication failure" in site.why_not(after, B, first.secret)
        assert "Target not found" in site.why_not(replace(after, name=first.name), B)

    def test_the_same_host_s_initiator_for_another_farm_is_refused(self, pool, right, site) -> None:
        """Also one that has heard the secret, and an old one once the volume is another farm's."""
        (volume,) = right.volumes
        pool.mask(volume, "farm-a", 1)
        at = self.given(pool, right)
        assert not site.why_not(at, A)
        for other in ("farm-b", ""):
            assert "Target not found" in site.why_not(at, A, storage_zone=other)
        pool.leases.release(right.machine, A, 1)
        pool.mask(volume, "farm-b", 2)
        after = self.given(pool, replace(right, epoch=2))
        assert not site.why_not(after, A)
        assert "Target not found" in site.why_not(after, A, storage_zone="farm-a")

    def test_who_knows_no_secret_is_not_let_in(self, pool, right, site) -> None:
        at = self.given(pool, right)
        with iscsi.client(at, A, site.folder, secret=None) as one:
            assert "Authentication failure" in one.says("read 0 512")

    def test_nobody_on_the_storage_host_reads_a_secret_from_a_command_line_or_a_log(
        self, pool, right, site
    ) -> None:
        at = self.given(pool, right)
        secret = at.secret.reveal()
        assert secret not in repr(at)
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                for told in ("cmdline", "environ"):
                    assert secret.encode() not in _content(entry / told)
        for path in (site.folder / "pool" / "exports").glob("*.log"):
            assert secret not in path.read_text()

    def test_a_host_that_was_cut_off_writes_nothing_more(self, pool, right, site) -> None:
        at = self.given(pool, right)
        with iscsi.client(at, A, site.folder, secret=at.secret) as old:
            assert old.writes(0, 1)
            assert old.writes(4096, 2)
            after = self.given(pool, self.next(right))
            with iscsi.client(after, B, site.folder, secret=after.secret) as new:
                assert new.reads(0, 1)
                assert new.writes(4096, 3)
        assert site.why_not(at, A)
        assert site.one(PROGRAM) != site.one(TARGET)

    @pytest.mark.parametrize("program", [PROGRAM, TARGET])
    def test_a_frozen_server_is_cut_all_the_same(self, pool, right, site, program) -> None:
        self.given(pool, right)
        before = [site.one(PROGRAM), site.one(TARGET)]
        pid = site.one(program)
        os.kill(pid, signal.SIGSTOP)
        self.given(pool, self.next(right))
        assert not set(before) & set(site.ours(PROGRAM) + site.ours(TARGET))

    @pytest.mark.parametrize("program", [PROGRAM, TARGET])
    def test_what_was_said_to_be_written_survives_a_killed_server_though_nobody_flushed(
        self, pool, right, site, program
    ) -> None:
        at = self.given(pool, right)
        with iscsi.client(at, A, site.folder, secret=at.secret) as one:
            for n in range(64):
                assert one.writes(n * 65536, n + 1, 65536)
            pid = site.one(program)
            os.kill(pid, signal.SIGKILL)
        tended(pool, lambda: site.ours(program) not in ([pid], []))
        assert pool.where(right.volumes[0], 1) == at
        with iscsi.client(at, A, site.folder, secret=at.secret) as one:
            for n in range(64):
                assert one.reads(n * 65536, n + 1, 65536)

    @pytest.mark.parametrize("program", [PROGRAM, TARGET])
    def test_the_end_of_a_server_is_noticed_at_once(self, pool, right, site, program) -> None:
        self.given(pool, right)
        pool.await_trouble(0)
        pid = site.one(program)
        os.kill(pid, signal.SIGKILL)
        clock = RealClock()
        began = clock.monotonic()
        pool.await_trouble(120)
        assert clock.monotonic() - began < 60, "it was told, not waited out"

    def test_a_restarted_agent_leaves_servers_alone_and_a_new_epoch_finds_them(
        self, pool, right, site
    ) -> None:
        at = self.given(pool, right)
        before = [site.one(PROGRAM), site.one(TARGET)]
        with iscsi.client(at, A, site.folder, secret=at.secret) as one:
            assert one.writes(0, 1)
            anew = site.pool()
            anew.leases.tend()
            assert site.ours(PROGRAM) + site.ours(TARGET) == before
            assert one.writes(0, 2)
            anew.leases.allow(self.next(right))
        assert site.ours(PROGRAM) + site.ours(TARGET) == []

    def test_nothing_is_left_mounted_when_a_volume_is_served_no_more(
        self, pool, right, site
    ) -> None:
        self.given(pool, right)
        assert str(site.folder) not in Path("/proc/self/mounts").read_text()
        pool.leases.release(right.machine, A, 1)
        assert site.ours(PROGRAM) + site.ours(TARGET) == []

    def test_a_limit_holds_whatever_the_client_does(self, pool, right, site) -> None:
        pool.limit(right.volumes[0], 50, 0)
        at = self.given(pool, right)
        clock = RealClock()
        with iscsi.client(at, A, site.folder, secret=at.secret) as one:
            assert one.writes(0, 1)
            began = clock.monotonic()
            for n in range(100):
                assert one.reads(n * 4096 + MIB, 0)
            took = clock.monotonic() - began
        assert took > 0.6 * 100 / 50, "a hundred reads at fifty a second"

    def test_what_the_client_gives_back_is_free_in_the_pool(self, pool, right, site) -> None:
        at, (volume,) = self.given(pool, right), right.volumes
        with iscsi.client(at, A, site.folder, secret=at.secret) as one:
            assert one.writes(0, 1, 4 * MIB)
            full = pool.volumes()[volume].used_bytes
            assert "discard 4194304/4194304" in one.says("discard 0 4194304")
        assert pool.volumes()[volume].used_bytes < full - 3 * MIB

    def test_a_path_may_have_commas_and_quotes(self, tmp_path, site) -> None:
        odd = Site(tmp_path / 'a,b="c" d')
        pool, volume = odd.pool(), make.volume()
        pool.ensure(volume, 1 * MIB, None)
        try:
            pool.exports.open(1, A, [volume])
            assert not site.why_not(pool.where(volume, 1), A)
        finally:
            pool.exports.cut([volume])
        assert odd.ours(PROGRAM) + odd.ours(TARGET) == []


def test_secrets_differ_by_volume_and_epoch_and_outlive_the_agent(tmp_path) -> None:
    made = names.Secrets(tmp_path, Entropy.system())
    anew = names.Secrets(tmp_path, Entropy.system())
    told = [made.of(name).reveal() for name in ("volume-a.e1", "volume-a.e2", "volume-b.e1")]
    assert len({*told}) == 3
    assert anew.of("volume-a.e1").reveal() == told[0]


def tended(pool: IscsiStorage, done: Callable[[], bool]) -> None:
    """The pool is looked after as its host's agent does, until that is so."""
    for _ in range(60):
        pool.leases.tend()
        if done():
            return
        pool.await_trouble(1.0)
    raise AssertionError("looked after in vain")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
