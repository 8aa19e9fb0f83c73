"""A lab up and down.

Up writes down what it is going to make before it makes it; down removes what carries the lab's name, whether it
was written down or not. So neither a failure half-way nor `kill -9` leaves anything that a later `down` (or the
next `up`, which begins with one) would not find.
"""

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import msgspec

from arable.domain.errors import Conflict, NotFound, Unavailable
from arable.drivers import namespaces
from arable.lab import living, power
from arable.lab.living import Process
from arable.lab.plan import Device, Kind, plan
from arable.lab.power import Site
from arable.lab.record import Place, Record
from arable.lab.topology import Topology
from arable.runtime.clock import Clock

_AT_ONCE = 6
_GRACE = timedelta(seconds=5)
_FORKED = 5.0  # seconds that a fork may take to become another program, on a busy machine
Item = TypeVar("Item")


Job = Callable[[Site], object]


@contextmanager
def lab(
    topology: Topology, data: Path, clock: Clock, meanwhile: Sequence[Job] = ()
) -> Iterator[Site]:
    """The lab is up inside the block and gone after it, also when it could not be built completely.

    `meanwhile` is work that needs the lab's wires but not its devices; it is done while those start.
    """
    place = Place(data)
    _prepare(place)
    with _ours_alone(place):
        clear(place, clock)
        site = Site(place, plan(topology), clock)
        try:
            _build(site, topology, meanwhile)
            yield site
        finally:
            clear(place, clock)


def open_site(data: Path, clock: Clock) -> Site:
    """The lab that is up there, for work on it from another process; raises `NotFound`."""
    place = Place(data)
    return Site(place, plan(place.read().topology), clock)


def _prepare(place: Place) -> None:
    if os.geteuid() != 0:
        raise Unavailable("an emulated data centre needs root; `--lab sim` does not")
    if place.data.is_relative_to("/run") or place.data.is_relative_to("/sys"):
        raise Conflict(
            f"hosts have a /run of their own and would not see {place.data}: choose another"
        )
    place.log("x").parent.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextmanager
def _ours_alone(place: Place) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(place.locked("up", wait=False))
        except BlockingIOError:
            raise Conflict(f"a lab is already up at {place.data}") from None
        yield


@contextmanager
def _ours_after_all(place: Place, clock: Clock) -> Iterator[None]:
    """The same when the builder is dead: a child that it had forked has the lock until it becomes another program."""
    end = clock.monotonic() + _FORKED
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(_ours_alone(place))
                break
            except Conflict:
                if clock.monotonic() > end:
                    raise
                clock.wait(timedelta(milliseconds=20))
        yield


def _build(site: Site, topology: Topology, meanwhile: Sequence[Job]) -> None:
    place = site.place
    me = living.process(os.getpid())
    assert me, "this process lives"
    place.write(
        Record(id=place.id, topology=topology, builder=me, shared_mount=not _names_are_mounted())
    )
    for device in site.plan.devices.values():
        power.make_room(site, device)
    for wire in site.plan.wires.values():
        power.cable(site, wire)
    for device in site.plan.devices.values():
        if not device.switch:
            power.address(site, device)

    def start(device: Device) -> Job:
        return lambda site: power.switch_on(site, device)

    # Hosts take longest, so they begin; what is done meanwhile fills the gaps.
    devices = sorted(site.plan.devices.values(), key=lambda device: device.kind is not Kind.HOST)
    together(lambda job: job(site), [*meanwhile, *(start(device) for device in devices)])


def clear(place: Place, clock: Clock) -> None:
    """Nothing of the lab is left but its directory. Also after a crash, and when there never was one."""
    try:
        record = place.read()
    except (NotFound, msgspec.DecodeError):  # an older version's; the names of things tell enough
        record = None
    if record:
        site = Site(place, plan(record.topology), clock)
        servers = [s.process for s in record.servers.values() if s.process]
        living.end(servers, clock, grace=_GRACE)
        together(lambda device: power.shut(site, device), record.devices)
    _sweep(place, clock)
    for name in namespaces.names(f"{place.id}-"):
        namespaces.remove(name)
    power.forget_groups(place.id)
    if record and record.shared_mount:
        _unmount_names()
    place.forget()


def down(data: Path, clock: Clock) -> None:
    """Take a lab down from outside: by its own `arable up` if that lives, by force of hand otherwise."""
    place = Place(data)
    builder = place.read().builder
    if builder.alive and builder.pid != os.getpid():
        living.end([builder], clock, grace=timedelta(seconds=30))
    with _ours_after_all(place, clock):
        clear(place, clock)


def _sweep(place: Place, clock: Clock) -> None:
    """Kill what carries our mark or is in a namespace of ours, until nobody is found: the dying may still fork."""
    for _ in range(10):
        ours = [namespaces.inode(name) for name in namespaces.names(f"{place.id}-")]
        found: set[Process] = {*living.marked(place.id), *living.within(ours)}
        if not found:
            return
        living.end(found, clock)
    raise Unavailable(f"processes of {place.id} keep coming back")


def together(do: Callable[[Item], object], items: Iterable[Item]) -> None:
    """All at once; raises what the first failure raised, after all have ended."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for done in [pool.submit(do, item) for item in items]:
            done.result()


def _names_are_mounted() -> bool:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(namespaces.RUN) for line in mounts)


def _unmount_names() -> None:
    """Give the machine back as it was; somebody else's namespaces there keep it as it is."""
    with suppress(OSError):
        if not any(namespaces.RUN.iterdir()):
            subprocess.run(["umount", str(namespaces.RUN)], capture_output=True, check=False)
