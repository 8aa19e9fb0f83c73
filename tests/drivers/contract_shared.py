"""What every pool that shares its volumes must do, judged on each of them. `StorageContract` holds besides."""

from dataclasses import replace

import pytest

from arable.domain.errors import CloudError, Conflict, Forbidden, Stale
from arable.domain.ids import HostId, MachineId, VolumeId
from arable.domain.manifest import Heir
from arable.domain.units import MIB
from arable.drivers.storage.leases import Away, Coming, Right
from arable.drivers.storage.protocol import ExportAt, Shares, Storage
from drivers import make_drivers as make

A, B = HostId("host-a"), HostId("host-b")


class SharedRig:
    """A pool that shares, a volume in it, and a right to that."""

    @pytest.fixture
    def pool(self) -> Shares:
        raise AssertionError("a subclass says which driver is judged")

    def reopened(self, pool: Shares) -> Shares:
        """Another driver object for the same pool, as after a restart of the agent."""
        raise AssertionError("a subclass says how a driver is made anew")

    def lets_in(self, pool: Shares, at: ExportAt, host: HostId) -> bool:
        """Whether a client with that host's certificate gets at the volume."""
        raise AssertionError("a subclass says how a client tries")

    def write(self, storage: Storage, volume: VolumeId, pattern: int) -> None:
        """As a guest that has it would."""
        raise AssertionError("a subclass says how")

    def may_read(self, pool: Shares, at: ExportAt, host: HostId, pattern: int) -> bool:
        """Whether that host, which opens it to read alone, sees this pattern on the volume."""
        raise AssertionError("a subclass says how a client tries")

    def may_write(self, pool: Shares, at: ExportAt, host: HostId) -> bool:
        """Whether that host gets a write through, whatever it was told of the volume."""
        raise AssertionError("a subclass says how a client tries")

    @pytest.fixture
    def volume(self, pool) -> VolumeId:
        made = make.volume()
        pool.ensure(made, 8 * MIB, None)
        return made

    @pytest.fixture
    def right(self, volume) -> Right:
        machine = MachineId(make.fresh("machine"))
        return Right(machine=machine, holder=A, epoch=1, volumes=(volume,))

    def given(self, pool: Shares, right: Right) -> ExportAt:
        pool.leases.allow(right)
        pool.leases.acquire(right.machine, right.holder, right.epoch)
        return pool.where(right.volumes[0], right.epoch)

    def next(self, right: Right, holder: HostId = B) -> Right:
        return Right(
            machine=right.machine,
            holder=holder,
            epoch=right.epoch + 1,
            volumes=right.volumes,
            fenced=right.holder,
        )


class SharedContract(SharedRig):
    """Promises of `Shares`, and of `Exports` behind it."""

    def test_its_holder_gets_at_a_volume_and_no_other_host_does(self, pool, right) -> None:
        at = self.given(pool, right)
        assert self.lets_in(pool, at, A)
        assert not self.lets_in(pool, at, B)

    def test_before_there_is_a_lease_nobody_does(self, pool, right) -> None:
        pool.leases.allow(right)
        pool.limit(right.volumes[0], 0, 0)
        assert not self.lets_in(pool, pool.where(right.volumes[0], 1), A)

    def test_what_was_let_go_is_served_no_more(self, pool, right) -> None:
        at = self.given(pool, right)
        pool.leases.release(right.machine, A, 1)
        assert not self.lets_in(pool, at, A)

    def test_the_next_holder_gets_at_it_and_the_last_one_does_under_no_name(
        self, pool, right
    ) -> None:
        before = self.given(pool, right)
        after = self.given(pool, self.next(right))
        assert after.name != before.name
        assert self.lets_in(pool, after, B)
        for at in (before, after):
            assert not self.lets_in(pool, at, A)
        assert not self.lets_in(pool, before, B)

    def test_an_agent_that_comes_back_finds_what_is_served_and_where(self, pool, right) -> None:
        at = self.given(pool, right)
        anew = self.reopened(pool)
        assert anew.leases.renew(right.machine, A, 1) == anew.leases.length
        anew.leases.tend()
        assert anew.where(right.volumes[0], 1) == at
        assert self.lets_in(anew, at, A)

    def test_an_agent_that_comes_back_cuts_what_an_earlier_one_served(self, pool, right) -> None:
        at = self.given(pool, right)
        anew = self.reopened(pool)
        anew.leases.allow(self.next(right))
        assert not self.lets_in(anew, at, A)
        with pytest.raises(Stale):
            anew.leases.renew(right.machine, A, 1)

    def test_a_volume_that_is_leased_is_not_erased(self, pool, right) -> None:
        at = self.given(pool, right)
        with pytest.raises(Conflict):
            pool.erase(right.volumes[0])
        assert self.lets_in(pool, at, A)
        pool.leases.release(right.machine, A, 1)
        pool.erase(right.volumes[0])
        assert right.volumes[0] not in pool.volumes()

    def test_a_volume_comes_to_a_machine_that_runs_and_goes_to_another(self, pool, right) -> None:
        """The machine's other disk is served on all the time, by the same lease."""
        at = self.given(pool, right)
        further = make.volume()
        pool.ensure(further, 8 * MIB, None)
        pool.limit(further, 0, 0)
        pool.leases.allow(replace(right, volumes=(*right.volumes, further)))
        assert not self.lets_in(pool, pool.where(further, 1), A)
        pool.leases.acquire(right.machine, A, 1)
        got = pool.where(further, 1)
        assert self.lets_in(pool, got, A)
        pool.leases.allow(right)
        assert not self.lets_in(pool, got, A)
        assert self.lets_in(pool, at, A)
        other = Right(
            machine=MachineId(make.fresh("machine")), holder=B, epoch=1, volumes=(further,)
        )
        assert self.lets_in(pool, self.given(pool, other), B)
        assert not self.lets_in(pool, got, A)

    def test_a_volume_that_is_not_here_can_not_be_served(self, pool) -> None:
        machine, volume = MachineId(make.fresh("machine")), make.volume()
        right = Right(machine=machine, holder=A, epoch=1, volumes=(volume,))
        pool.leases.allow(right)
        with pytest.raises(CloudError):
            pool.leases.acquire(machine, A, 1)
        pool.ensure(volume, 1 * MIB, None)
        pool.leases.acquire(machine, A, 1)
        assert self.lets_in(pool, pool.where(volume, 1), A)

    def heir(self, right: Right) -> Right:
        """The same right, with another host that may be handed it."""
        return replace(right, heir=Heir(host=B, epoch=right.epoch + 1))

    def test_an_heir_finds_a_disk_that_holds_nothing_until_it_is_handed_the_real_one(
        self, pool, right
    ) -> None:
        before = self.given(pool, right)
        pool.leases.allow(self.heir(right))
        with pytest.raises(Coming):
            pool.leases.acquire(right.machine, B, 2)
        waiting = pool.where(right.volumes[0], 2)
        assert (waiting.port, waiting.name) != (before.port, before.name)
        assert self.lets_in(pool, waiting, B)
        assert self.lets_in(pool, before, A)
        assert not self.lets_in(pool, waiting, A)
        assert not self.lets_in(pool, before, B)
        pool.leases.hand_over(right.machine, A, 1, 2)
        assert pool.where(right.volumes[0], 2) == waiting, "its hypervisor was told once"
        pool.leases.acquire(right.machine, B, 2)
        assert self.lets_in(pool, waiting, B)
        assert not self.lets_in(pool, before, A)
        assert not self.lets_in(pool, waiting, A)

    def test_an_agent_that_comes_back_hands_over_all_the_same(self, pool, right) -> None:
        self.given(pool, right)
        anew = self.reopened(pool)
        anew.leases.allow(self.heir(right))
        with pytest.raises(Coming):
            anew.leases.acquire(right.machine, B, 2)
        waiting = anew.where(right.volumes[0], 2)
        anew = self.reopened(pool)
        anew.leases.allow(self.heir(right))
        anew.leases.hand_over(right.machine, A, 1, 2)
        anew = self.reopened(pool)
        assert anew.leases.acquire(right.machine, B, 2) == anew.leases.length
        assert anew.where(right.volumes[0], 2) == waiting
        assert self.lets_in(anew, waiting, B)

    def test_nothing_stands_in_for_a_disk_when_there_is_no_heir_any_more(self, pool, right) -> None:
        before = self.given(pool, right)
        pool.leases.allow(self.heir(right))
        with pytest.raises(Coming):
            pool.leases.acquire(right.machine, B, 2)
        waiting = pool.where(right.volumes[0], 2)
        anew = self.reopened(pool)
        anew.leases.allow(right)
        assert not self.lets_in(anew, waiting, B)
        assert self.lets_in(anew, before, A)
        with pytest.raises(Forbidden):
            anew.leases.hand_over(right.machine, A, 1, 2)

    def test_disks_that_went_to_another_storage_host_are_served_to_nobody(
        self, pool, right
    ) -> None:
        before = self.given(pool, right)
        pool.leases.allow(replace(right, heir=Heir(host=A, epoch=7, away=True)))
        pool.leases.hand_over(right.machine, A, 1, 7)
        assert not self.lets_in(pool, before, A)
        for anew in (pool, self.reopened(pool)):
            with pytest.raises(Away):
                anew.leases.acquire(right.machine, A, 1)

    def test_a_volume_is_masked_by_the_last_word_and_no_earlier_one(self, pool, right) -> None:
        (volume,) = right.volumes
        pool.mask(volume, "farm-a", 10)
        pool.mask(volume, "farm-a", 10)
        assert self.given(pool, right).storage_zone == "farm-a"
        for anew in (pool, self.reopened(pool)):
            for zoned in (9, 10):
                with pytest.raises(Forbidden):
                    anew.mask(volume, "farm-b", zoned)
            with pytest.raises(Conflict):
                anew.mask(volume, "farm-b", 11)  # the first farm's machine has it
            assert anew.where(volume, 1).storage_zone == "farm-a"
        pool.leases.release(right.machine, A, 1)
        pool.mask(volume, "farm-b", 11)
        with pytest.raises(Forbidden):
            self.reopened(pool).mask(volume, "farm-a", 10)
        assert self.given(pool, replace(right, epoch=2)).storage_zone == "farm-b"

    def test_what_is_said_of_a_volume_goes_with_it(self, pool, right) -> None:
        (volume,) = right.volumes
        pool.mask(volume, "farm-a", 10)
        pool.erase(volume)
        pool.ensure(volume, 8 * MIB, None)
        pool.mask(volume, "farm-b", 5)
        assert self.given(pool, right).storage_zone == "farm-b"

    def test_two_volumes_have_different_places_or_names(self, pool, right) -> None:
        other = make.volume()
        pool.ensure(other, 1 * MIB, None)
        both = Right(machine=right.machine, holder=A, epoch=1, volumes=(*right.volumes, other))
        first = self.given(pool, both)
        second = pool.where(other, 1)
        assert first != second
        assert self.lets_in(pool, first, A)
        assert self.lets_in(pool, second, A)

    def test_many_hosts_read_a_volume_at_once_and_none_writes_to_it(self, pool, volume) -> None:
        self.write(pool, volume, 7)
        views = {A: make.volume(), B: make.volume()}
        given = {}
        for host, view in views.items():
            pool.view(view, volume)
            machine = MachineId(make.fresh("machine"))
            right = Right(machine=machine, holder=host, epoch=1, volumes=(view,))
            given[host] = (right, self.given(pool, right))
        for host, (_, at) in given.items():
            assert self.may_read(pool, at, host, 7)
            assert not self.may_write(pool, at, host)
        assert not self.lets_in(pool, given[A][1], B), "each by its own"
        alone = Right(
            machine=MachineId(make.fresh("machine")), holder=A, epoch=1, volumes=(volume,)
        )
        pool.leases.allow(alone)
        with pytest.raises(CloudError):
            pool.leases.acquire(alone.machine, A, 1)  # or it would write under who reads
        pool.leases.release(alone.machine, A, 1)
        anew = self.reopened(pool)
        anew.leases.tend()
        for host, (right, at) in given.items():
            assert self.may_read(anew, at, host, 7)
            anew.leases.release(right.machine, host, 1)
            assert not self.may_read(anew, at, host, 7)
            anew.erase(views[host])
        anew.leases.allow(alone)
        anew.leases.acquire(alone.machine, A, 1)
        assert self.may_write(anew, anew.where(volume, 1), A)
