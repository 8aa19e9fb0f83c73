"""How disks of simulated guests go to other places while the guest runs: what is copied is there after some time.

What happens on the way needs no agent, as with QEMU: `turn` is called by whoever looks. What a place holds is known to whoever
made the hosts (`SimHost.load`, `SimHost.store`).
"""

from collections.abc import Sequence

from arable.domain.errors import NotFound, Unavailable
from arable.domain.ids import MachineId
from arable.drivers.hypervisor.protocol import GuestDisk, Mirror, MirrorState, NbdSource, together
from arable.drivers.simhost import SimGuest, SimHost, SimMirror

SECONDS = 3.0
_WHOLE = 1 << 20


def turn(hardware: SimHost, kept: SimGuest) -> None:
    """Whatever has become of those on their way."""
    for serial, going in list(kept.mirrors.items()):
        source = _disk(kept, serial).nbd
        if source is None or not hardware.reaches(going.to):
            del kept.mirrors[serial]
        elif not going.whole and hardware.clock.monotonic() >= going.began + SECONDS:
            if not hardware.reaches(source):
                del kept.mirrors[serial]
                continue
            hardware.store(going.to, hardware.load(source))
            going.whole = True


def mirror(hardware: SimHost, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
    """Begin with each that is not begun."""
    kept = _running(hardware, machine)
    for disk in disks:
        assert disk.nbd
        if same(_disk(kept, disk.serial).nbd, disk.nbd) or disk.serial in kept.mirrors:
            continue
        if not hardware.reaches(disk.nbd):
            raise Unavailable(f"{disk.nbd.name} is not served to this host")
        kept.mirrors[disk.serial] = SimMirror(disk.nbd, hardware.clock.monotonic())


def mirrored(hardware: SimHost, machine: MachineId, disks: Sequence[GuestDisk]) -> Mirror:
    """All taken together."""
    kept = _running(hardware, machine)
    turn(hardware, kept)
    states, copied = set(), 0
    for disk in disks:
        going = kept.mirrors.get(disk.serial)
        if same(_disk(kept, disk.serial).nbd, disk.nbd):
            states.add(MirrorState.THERE)
        elif going is None or not same(going.to, disk.nbd):
            states.add(MirrorState.NONE)
        else:
            copied += _WHOLE if going.whole else 0
            states.add(MirrorState.READY if going.whole else MirrorState.COPYING)
    left = len(disks) * _WHOLE - copied
    return Mirror(state=together(states), copied_bytes=copied, left_bytes=left, still=kept.still)


def pivot(hardware: SimHost, machine: MachineId, disks: Sequence[GuestDisk]) -> None:
    """All that are not there yet."""
    kept = _running(hardware, machine)
    turn(hardware, kept)
    for disk in disks:
        if same(_disk(kept, disk.serial).nbd, disk.nbd):
            continue
        going = kept.mirrors.get(disk.serial)
        if going is None or not going.whole:
            raise Unavailable(f"{disk.serial} is not whole there")
        hardware.use(machine, disk.serial, going.to)
        del kept.mirrors[disk.serial]
    hardware.stand(machine, still=False)


def unmirror(hardware: SimHost, machine: MachineId) -> None:
    """None of them is on its way any more."""
    _running(hardware, machine).mirrors.clear()
    hardware.stand(machine, still=False)


def same(one: NbdSource | None, other: NbdSource | None) -> bool:
    """Whether it is one place."""
    return (
        one is not None
        and other is not None
        and (one.address, one.port, one.name) == (other.address, other.port, other.name)
    )


def _running(hardware: SimHost, machine: MachineId) -> SimGuest:
    kept = hardware.guests.get(machine)
    if kept is None or kept.runs is None:
        raise NotFound(f"{machine} does not run here")
    return kept


def _disk(kept: SimGuest, serial: str) -> GuestDisk:
    assert kept.runs is not None
    for disk in kept.runs.disks:
        if disk.serial == serial:
            return disk
    raise NotFound(f"{kept.guest.machine} has no disk {serial}")
