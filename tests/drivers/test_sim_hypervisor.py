"""The simulated hypervisor keeps the contract, and what tests do to its guests shows."""

from dataclasses import replace
from datetime import timedelta

import pytest

from arable.domain.errors import BadInput, NoRoom, Unavailable
from arable.domain.manifest import PartFormat
from arable.domain.units import MIB
from arable.drivers.faults import Faults
from arable.drivers.hypervisor.protocol import GuestDisk, GuestPort, GuestPower
from arable.drivers.hypervisor.sim import SimHypervisor
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from arable.drivers.storage.sim import SimStorage
from arable.runtime.clock import VirtualClock
from drivers import make_drivers as make
from drivers.contract_hypervisor import HypervisorContract


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def hardware(clock) -> SimHost:
    return SimHost(clock=clock, memory_mib=1024)


class TestSimHypervisor(HypervisorContract):
    @pytest.fixture
    def hypervisor(self, hardware) -> SimHypervisor:
        return SimHypervisor(hardware)

    @pytest.fixture
    def make_guest(self, hardware):
        storage = SimStorage(hardware, make.pool())

        def made(**but):
            disk = storage.ensure(make.volume(), 1 * MIB, None)
            usual = {
                "disks": (GuestDisk(path=disk.path, format=disk.format, serial=disk.volume[-11:]),)
            }
            return make.guest(**usual | but)

        return made

    def as_volume(self, disk):
        return disk

    def disk_snapshots(self, hypervisor, disk):
        (found,) = (
            pool.kept.get(volume, {})
            for pool in hypervisor._hardware.pools.values()
            for volume, one in pool.volumes.items()
            if one.path == disk.path
        )
        return set(found)

    @pytest.fixture
    def make_disk(self, hardware):
        storage = SimStorage(hardware, make.pool())

        def made(position: int) -> GuestDisk:
            disk = storage.ensure(make.volume(), 1 * MIB, None)
            serial = disk.volume[-11:]
            return GuestDisk(path=disk.path, format=disk.format, serial=serial, position=position)

        return made

    def further_disks(self, hypervisor, machine):
        runs = hypervisor._hardware.guests[machine].runs
        assert not hypervisor._hardware.mishaps
        return {disk.serial for disk in runs.disks if disk.position}

    def disk_bytes(self, hypervisor, machine, disk):
        pools = hypervisor._hardware.pools.values()
        volumes = [volume for pool in pools for volume in pool.volumes.values()]
        (found,) = (volume for volume in volumes if volume.path == disk.path)
        runs = hypervisor._hardware.guests[machine].runs
        assert found.bytes == max(one.bytes for one in runs.disks if one.serial == disk.serial)
        return found.bytes

    def disk_iops(self, hypervisor, machine, disk):
        runs = hypervisor._hardware.guests[machine].runs
        return next(one.iops for one in runs.disks if one.serial == disk.serial)

    def incarnation(self, hypervisor, machine):
        return hypervisor._hardware.guests[machine].starts

    def crash(self, hypervisor, machine):
        hypervisor._hardware.crash(machine)

    def reopened(self, hypervisor):
        return SimHypervisor(hypervisor._hardware)


@pytest.fixture
def hypervisor(hardware) -> SimHypervisor:
    return SimHypervisor(hardware)


def test_memory_of_running_guests_is_never_more_than_there_is(hypervisor, hardware) -> None:
    first, second = make.guest(memory_mib=600), make.guest(memory_mib=600)
    hypervisor.ensure(first)
    with pytest.raises(NoRoom):
        hypervisor.ensure(second)
    assert second.machine not in hypervisor.guests()
    hypervisor.stop(first.machine, force=True)
    hypervisor.ensure(second)
    assert hardware.memory_used_mib == 600


def test_a_guest_without_its_disk_or_port_is_not_started(hypervisor) -> None:
    disk = GuestDisk(path=make.Path("nowhere"), format=PartFormat.RAW, serial="x")
    for lacking in ({"disks": (disk,)}, {"ports": (GuestPort(device="tap0", mac=""),)}):
        guest = make.guest(**lacking)
        with pytest.raises(Unavailable):
            hypervisor.ensure(guest)
        assert not hypervisor.guests()


def test_a_guest_that_shuts_itself_down_is_off_and_not_crashed(hypervisor, hardware) -> None:
    guest = make.guest()
    hypervisor.ensure(guest)
    hardware.power_off_by_guest(guest.machine)
    assert hypervisor.guests()[guest.machine].power is GuestPower.OFF


def test_a_disobedient_guest_runs_until_the_plug_is_pulled(hypervisor, hardware) -> None:
    guest = make.guest()
    hypervisor.ensure(guest)
    hardware.disobey(guest.machine)
    hypervisor.stop(guest.machine, force=False)
    assert hypervisor.guests()[guest.machine].power is GuestPower.RUNNING
    hypervisor.stop(guest.machine, force=True)
    assert hypervisor.guests()[guest.machine].power is GuestPower.OFF


def test_a_guest_that_was_slow_to_obey_goes_off_in_its_own_time(hypervisor, hardware) -> None:
    guest = make.guest()
    hypervisor.ensure(guest)
    hardware.disobey(guest.machine)
    hypervisor.stop(guest.machine, force=False)
    hardware.disobey(guest.machine, obeys=True)
    assert hypervisor.guests()[guest.machine].power is GuestPower.OFF


def test_a_power_cut_ends_all_that_ran_and_keeps_what_was_on_disk(hypervisor, hardware) -> None:
    storage = SimStorage(hardware, make.pool())
    volume = storage.ensure(make.volume(), 1 * MIB, None)
    network = SimNetwork(hardware)
    port = make.tap()
    network.ensure(port)
    guest = make.guest(ports=(GuestPort(device=port.device, mac=port.mac),))
    hypervisor.ensure(guest)
    hardware.lose_power()
    assert hypervisor.guests()[guest.machine].power is GuestPower.CRASHED
    assert not network.ports()
    assert network.vlans() == frozenset()
    assert list(storage.volumes()) == [volume.volume]
    assert hardware.memory_used_mib == 0


def test_time_of_the_processor_is_counted_while_a_guest_runs(hypervisor, clock) -> None:
    guest = make.guest(cpus=2)
    hypervisor.ensure(guest)
    clock.wait(timedelta(seconds=100))
    (stats,) = hypervisor.stats()
    assert stats.cpu_ns == pytest.approx(10e9)
    assert stats.memory_mib == guest.memory_mib


def test_an_effect_whose_answer_was_lost_has_happened(hardware) -> None:
    guest = make.guest()
    with pytest.raises(Unavailable):
        SimHypervisor(hardware, Faults(fail_at=1)).ensure(guest)
    assert SimHypervisor(hardware).guests()[guest.machine].power is GuestPower.RUNNING


def test_a_failure_before_the_effect_leaves_nothing(hardware) -> None:
    guest = make.guest()
    with pytest.raises(Unavailable):
        SimHypervisor(hardware, Faults(fail_at=0)).ensure(guest)
    assert not SimHypervisor(hardware).guests()


def test_what_must_not_be_done_to_a_host_is_written_down(hypervisor, hardware) -> None:
    storage, network = SimStorage(hardware, make.pool()), SimNetwork(hardware)
    disk, port = storage.ensure(make.volume(), 1 * MIB, None), make.tap()
    network.ensure(port)
    guest = make.guest(
        disks=(GuestDisk(path=disk.path, format=disk.format, serial="a"),),
        ports=(GuestPort(device=port.device, mac=port.mac),),
    )
    hypervisor.ensure(guest)
    assert not hardware.mishaps
    network.remove(port.nic)
    storage.erase(disk.volume)
    assert len(hardware.mishaps) == 2


def test_ports_come_and_go_while_the_guest_runs(hardware, hypervisor) -> None:
    network = SimNetwork(hardware)
    taps = [make.tap(device=f"tap{at}", mac=f"02:00:0a:01:01:0{at}") for at in range(2)]
    for tap in taps:
        network.ensure(tap)
    both = tuple(GuestPort(device=t.device, mac=t.mac, place=at) for at, t in enumerate(taps))
    guest = make.guest(ports=both[:1])
    hypervisor.ensure(guest)
    hypervisor.ensure(replace(guest, generation=2, ports=both))
    assert hardware.guests[guest.machine].runs.ports == both
    hardware.guests[guest.machine].clings = True
    with pytest.raises(Unavailable, match="does not let go"):
        hypervisor.ensure(replace(guest, generation=3))
    assert hypervisor.guests()[guest.machine].generation == 2
    hardware.guests[guest.machine].clings = False
    hypervisor.ensure(replace(guest, generation=3))
    network.remove(taps[1].nic)
    assert (hardware.guests[guest.machine].starts, hardware.mishaps) == (1, [])
    with pytest.raises(BadInput, match="one place"):
        hypervisor.ensure(replace(guest, generation=4, ports=(both[0], replace(both[1], place=0))))
