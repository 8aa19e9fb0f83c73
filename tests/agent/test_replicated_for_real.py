"""A volume that is written to over NBD, its storage host's end, and its replica on another one: real files and servers, and real TLS."""

import asyncio
import os
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from make_agent import INVENTORY
from test_peer_port import B, Hall, in_hall

from arable.agent.agent import Agent
from arable.agent.carry_line import Borrowing, lent, point
from arable.agent.ledger import MemoryLedger
from arable.agent.peer_port import PeerPort
from arable.agent.sight import Drivers
from arable.domain.ids import HostId, MachineId, ReplicaId, VolumeId
from arable.domain.manifest import DiskWish, ExportWish, HostReport, ItemKind
from arable.domain.replica import ReplicaSeen, ReplicaWish
from arable.domain.units import MIB
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from arable.drivers.storage.leases import TooEarly
from arable.drivers.storage.nbd.pool import NbdStorage
from arable.runtime.boottime import ClockBootTime
from arable.runtime.clock import RealClock, VirtualClock
from arable.wire.agent import Change, Item
from drivers import make_drivers as make
from drivers import nbd_clients as nbd

pytestmark = pytest.mark.real
A, C = HostId("host-a"), HostId("host-c")
LEASE = 5.0
MACHINE, VOLUME = MachineId(make.fresh("machine")), VolumeId(make.fresh("volume"))


class Node:
    """A storage host with a real pool; its agent's time is the test's."""

    def __init__(self, name: HostId, folder, hall: Hall, own, ports: range) -> None:
        self.host, self.generation, self.clock = name, 0, VirtualClock()
        self.ledger, self._hall = MemoryLedger(), hall
        self._pool = partial(
            NbdStorage,
            folder,
            make.pool(),
            RealClock(),
            ClockBootTime(self.clock),
            address="127.0.0.1",
            credentials=own,
            lease_seconds=LEASE,
            ports=ports,
            capacity_bytes=1 << 30,
        )
        self.restart()

    def restart(self) -> None:
        self.pool = self._pool()
        self.agent = Agent(
            self.host,
            self.ledger,
            Drivers(network=SimNetwork(SimHost()), pools=(self.pool,)),
            self.clock,
            make.Depot().fetch,
            inventory=lambda: INVENTORY,
            ask_point=Borrowing(lambda: self._hall.context(self.host)).ask_point,
        )

    def told(self, *items: Item) -> HostReport | None:
        base = self.generation or None
        self.generation += 1
        self.agent.receive(Change(base=base, generation=self.generation, items=list(items)))
        return self.agent.step()

    def later(self, seconds: float) -> None:
        self.clock.wait(timedelta(seconds=seconds))

    def replica(self) -> ReplicaSeen:
        """What it says of the replica, after as many steps as it takes to say anything new."""
        self.agent.step()
        return next(iter(self.agent._following.tell().values()))


def item(kind: ItemKind, id_: str, body: object) -> Item:
    return Item(kind=kind, id=id_, body=msgspec.Raw(msgspec.json.encode(body)))


def export(node: Node, holder: HostId, epoch: int, **but) -> Item:
    disk = DiskWish(volume=VOLUME, pool=node.pool.pool, bytes=64 * MIB, made=epoch > 1)
    wish = ExportWish(
        machine=MACHINE,
        generation=epoch,
        holder=holder,
        epoch=epoch,
        disks=(disk,),
        guarded=True,
        **but,
    )
    return item(ItemKind.EXPORT, MACHINE, wish)


def test_a_volume_is_brought_back_from_its_last_whole_point(tmp_path) -> None:
    by = ReplicaId(make.fresh("replica"))

    async def play(hall: Hall) -> None:
        of = {host: nbd.credentials(tmp_path, hall.authority, host) for host in (A, B, C)}
        first = 20_000 + os.getpid() % 120 * 100  # as others' tests of these servers
        here = Node(A, tmp_path / "here", hall, of[A], range(first, first + 50))
        there = Node(B, tmp_path / "there", hall, of[B], range(first + 50, first + 100))
        await hall.port.close()
        lend, mark = here.agent.lending, here.agent.marking
        hall.port = PeerPort(
            hall.authority.pem,
            tmp_path / "disks/current",
            partial(lent, lend),
            lend.speed,
            partial(point, mark),
            mark.speed,
        )
        await hall.port.open("127.0.0.1", 0)
        try:
            await asyncio.to_thread(story, here, there, hall.port.address, of)
        finally:
            for node in (here, there):
                node.pool.exports.cut([VOLUME])

    def story(here: Node, there: Node, address: str, of: dict[HostId, Path]) -> None:
        here.told(export(here, C, 1))
        here.pool.leases.acquire(MACHINE, C, 1)
        wish = ReplicaWish(
            replica=by,
            volume=VOLUME,
            source=A,
            target=B,
            pool=there.pool.pool,
            bytes=64 * MIB,
            seconds=10,
            address=address,
        )
        here.told(item(ItemKind.REPLICA, by, wish))
        with nbd.client(here.pool.where(VOLUME, 1), of[C], A) as guest:
            assert guest.writes(0, 1, MIB)
            there.told(item(ItemKind.REPLICA, by, wish))
            assert there.replica().point == 1
            assert guest.writes(MIB, 2, MIB)
            assert there.replica().point == 1, "it is not due yet"
            there.later(11)
            assert there.replica().point == 2
            assert guest.writes(0, 9, MIB), "and this is lost with the host"
        here.pool.exports.cut([VOLUME])  # its power
        here.restart()
        here.agent.step()
        assert not here.pool.exports.alive([VOLUME]), "it has not heard who has it now"

        there.told(item(ItemKind.REPLICA, by, replace(wish, promote=True)))
        assert there.replica().promoted
        there.told(export(there, C, 2, uprooted=2))
        with pytest.raises(TooEarly):
            there.pool.leases.acquire(MACHINE, C, 2)
        there.later(LEASE + 1)
        there.pool.leases.acquire(MACHINE, C, 2)
        with nbd.client(there.pool.where(VOLUME, 2), of[C], B) as guest:
            assert guest.reads(0, 1, MIB)
            assert guest.reads(MIB, 2, MIB)
            assert guest.writes(0, 3, MIB)

    in_hall(tmp_path, play)
