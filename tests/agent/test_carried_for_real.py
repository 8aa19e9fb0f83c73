"""A volume from one agent's pool to another's: real files, QEMU's own tools, and real TLS between the two."""

import asyncio
import subprocess
from functools import partial

import msgspec
import pytest
from make_agent import INVENTORY
from test_peer_port import B, Hall, in_hall

from arable.agent.agent import Agent
from arable.agent.carry_line import Borrowing, lent
from arable.agent.ledger import MemoryLedger
from arable.agent.peer_port import PeerPort
from arable.agent.sight import Drivers
from arable.domain.carry import CarryWish
from arable.domain.ids import HostId, OperationId, PoolId, VolumeId
from arable.domain.manifest import HostReport, ItemKind, ScrapWish
from arable.domain.units import MIB
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost
from arable.drivers.storage.local import LocalStorage
from arable.runtime.clock import RealClock
from arable.wire.agent import Change, Item
from drivers import make_drivers as make

pytestmark = pytest.mark.real
A = HostId("host-a")


class Node:
    """A host with a real pool."""

    def __init__(self, name: HostId, folder, depot: make.Depot, hall: Hall) -> None:
        self.host, self.generation = name, 0
        self.pool = LocalStorage(folder, PoolId(make.fresh("pool")), RealClock())
        self.agent = Agent(
            name,
            MemoryLedger(),
            Drivers(network=SimNetwork(SimHost()), pools=(self.pool,)),
            RealClock(),
            depot.fetch,
            inventory=lambda: INVENTORY,
            borrow=Borrowing(lambda: hall.context(name)).borrow,
        )

    def told(self, *items: Item) -> HostReport | None:
        base = self.generation or None
        self.generation += 1
        self.agent.receive(Change(base=base, generation=self.generation, items=list(items)))
        return self.agent.step()


def item(kind: ItemKind, id_: str, body: object) -> Item:
    return Item(kind=kind, id=id_, body=msgspec.Raw(msgspec.json.encode(body)))


def io(path, command: str) -> str:
    words = ["qemu-io", "-f", "qcow2", "-c", command, str(path)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


def test_a_volume_goes_from_host_to_host_with_all_that_is_on_it(tmp_path) -> None:
    content = make.qcow2(content=b"boot me")
    part, depot = make.part(content), make.Depot(content)
    volume, operation = VolumeId(make.fresh("volume")), OperationId(make.fresh("operation"))

    async def play(hall: Hall) -> None:
        here, there = (Node(name, tmp_path / name, depot, hall) for name in (A, B))
        await hall.port.close()
        lending = here.agent.lending
        hall.port = PeerPort(
            hall.authority.pem, tmp_path / "disks/current", partial(lent, lending), lending.speed
        )
        await hall.port.open("127.0.0.1", 0)
        await asyncio.to_thread(story, here, there, hall.port.address)

    def story(here: Node, there: Node, address: str) -> None:
        here.pool.admit(part, depot.fetch)
        path = here.pool.ensure(volume, 64 * MIB, part).path
        for at in range(0, 60, 7):
            assert "wrote" in io(path, f"write -P {at + 1} {at}M 1M")
        wish = CarryWish(
            operation=operation,
            volume=volume,
            source=A,
            target=B,
            pool=there.pool.pool,
            bytes=64 * MIB,
            address=address,
            image=part,
        )
        carry = item(ItemKind.CARRY, operation, wish)
        first = there.told(carry)
        assert first
        assert [(seen.done, seen.tries) for seen in first.carries] == [(False, 0)], (
            "it is waited for"
        )
        assert "not told" in first.carries[0].told
        assert volume not in there.pool.volumes()
        here.told(carry)
        said = there.agent.step() or there.agent.step()
        assert said
        assert [(seen.operation, seen.done) for seen in said.carries] == [(operation, True)]
        found = there.pool.volumes()[volume]
        for at in range(0, 60, 7):
            assert "failed" not in io(found.path, f"read -P {at + 1} {at}M 1M")
        gone = item(ItemKind.SCRAP, volume, ScrapWish(volume=volume, pool=here.pool.pool))
        report = here.told(Item(kind=ItemKind.CARRY, id=operation), gone)
        assert report
        assert report.scrapped == (volume,)
        assert not here.pool.volumes()
        checked = ["qemu-img", "check", "-f", "qcow2", str(found.path)]
        assert subprocess.run(checked, check=False, capture_output=True).returncode == 0

    in_hall(tmp_path, play)
