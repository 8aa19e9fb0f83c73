"""What must be true of storage zones after every step: for `invariants.py`.

What a machine reaches is what its guest has plugged in, and its host gets at; which storage zone a disk is in is what
its storage host keeps beside it. Neither is asked of the control plane.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from arable.domain.ids import HostId, VolumeId
from arable.drivers.hypervisor.protocol import NbdSource
from arable.drivers.simhost import SimHost

Look = Callable[[str], list[Any]]
"""The rows of a query."""


def always(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Z1, Z2: machines have, and reach, volumes of their farm's storage zone alone."""
    yield from (
        f"{volume} is in {within}, and {machine} of {reaches} has it"
        for volume, within, machine, reaches in look("""
            select v.id, v.storage_zone, m.id, coalesce(f.storage_zone, f.id) from volume v
              join machine m on m.id = v.machine join farm f on f.id = m.farm
            where v.storage_zone <> coalesce(f.storage_zone, f.id)
        """)
    )
    yield from _carried(look, hosts)
    plugged = list(_plugged(hosts))
    if not plugged:
        return
    yield from _written_once(hosts)
    reaches = dict(
        look(
            "select m.id, coalesce(f.storage_zone, f.id) from machine m join farm f on f.id = m.farm"
        )
    )
    masks = {
        volume: mask for sim in hosts.values() for pool in sim.pools.values() for volume, mask in pool.masks.items()
    }  # fmt: skip
    for machine, volume in plugged:
        within, _since = masks.get(volume, ("none", 0))
        if machine in reaches and within != reaches[machine]:  # a restored copy knows not all
            yield f"{machine} of {reaches[machine]} reaches {volume}, which is in {within}"


def _carried(look: Look, hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Z3: a volume that goes to another pool is there where its row says, and nothing uses a copy of it elsewhere.

    One whose machine was stopped before it was seen running may not have been made.
    """
    query = """
        select c.volume, v.pool, v.erasing or coalesce(m.ran, 1) = 0 from carry c
          join volume v on v.id = c.volume left join machine m on m.id = v.machine and not v.stays
        where v.pool is not null
    """
    for volume, its_pool, unsure in look(query):
        for sim in hosts.values():
            for pool in sim.pools.values():
                held = pool.volumes.get(volume)
                if pool.pool == its_pool and held is None and not unsure:
                    yield f"{volume} is not in {its_pool}, where it should be"
                if pool.pool != its_pool and held and held.path in sim.used_files:
                    yield f"a copy of {volume} is in use in {pool.pool}, and it is in {its_pool}"


def _written_once(hosts: Mapping[HostId, SimHost]) -> Iterator[str]:
    """Z4: a shared volume is in use in one place: no two guests, or disks of one, reach it at two storage hosts and run."""
    places: dict[VolumeId, str] = {}
    for sim in hosts.values():
        for guest in sim.guests.values():
            for disk in guest.runs.disks if guest.runs and guest.awake else ():
                if disk.nbd and sim.reaches(disk.nbd):
                    volume = _volume(disk.nbd)
                    if places.setdefault(volume, disk.nbd.address) != disk.nbd.address:
                        yield f"{volume} is in use at {places[volume]} and at {disk.nbd.address}"


def _plugged(hosts: Mapping[HostId, SimHost]) -> Iterator[tuple[str, VolumeId]]:
    """Machines that run, and the shared volumes that they get at."""
    for sim in hosts.values():
        for machine, guest in sim.guests.items():
            for disk in guest.runs.disks if guest.runs and guest.awake else ():
                if disk.nbd and sim.reaches(disk.nbd):
                    yield machine, _volume(disk.nbd)


def _volume(source: NbdSource) -> VolumeId:
    return VolumeId(source.name.rpartition(".e")[0])
