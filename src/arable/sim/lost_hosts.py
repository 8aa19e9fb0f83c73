"""The simulated world with shared disks, where hosts are declared lost, rightly and wrongly.

A lost host may be dead, frozen, cut off from some or from all, or quite well. Whatever it is, no machine may ever run
twice, and when all is healed each runs where it should.
"""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import text

from arable.domain.ids import HostId
from arable.sim.asks import ASKS, SHARING
from arable.sim.cloud import SimNode
from arable.sim.ground import Room
from arable.sim.invariants import Broken
from arable.sim.world import World
from arable.store import exports
from arable.store.database import Tx

ROOMS = (
    Room(pods=1, hosts=3, storage=1),
    Room(pods=2, hosts=2, storage=1),
    Room(pods=1, hosts=2, storage=2, host_memory_mib=1024),
    Room(pods=1, hosts=3, storage=1, host_disk_mib=6000),  # its pool is soon full
)


class LostHosts(World):
    """One seed."""

    asks = (*ASKS, *SHARING, *SHARING, *SHARING)

    def __init__(self, seed: str) -> None:
        super().__init__(seed, ROOMS[sum(map(ord, seed)) % len(ROOMS)])
        self._moves += [
            (3, self._declare),
            (2, self._find_without_power),
            (2, self._cut_from_storage),
        ]

    def _check(self) -> None:
        super()._check()
        if mishaps := self.cloud.shared.mishaps():
            raise Broken("; ".join(mishaps))
        for name, figures in self.cloud.loop.figures.controllers.items():
            if figures.told.isidentifier():  # the name of an exception that nobody meant to raise
                raise Broken(f"{name} failed with {figures.told}")

    def _at_rest(self) -> None:
        super()._at_rest()
        with self.cloud.database.read() as tx:
            broken = [*_rights(tx), *self._seeds(tx)]
        if broken:
            raise Broken("; ".join(broken))

    def _declare(self) -> str:
        """Somebody says that a host is down."""
        node = self.dice.choice([self.cloud.nodes[host] for host in self.cloud.ground.hosts])
        self._write("update host set state = 'down' where id = :id", id=node.id)
        if self.dice.random() < 0.7:  # or it may be heard before anything is done about it
            self.cloud.pass_time(timedelta(seconds=2))
            self.cloud.control()
        return f"{node.id} is declared down{', and is not' if node.works else ''}"

    def _find_without_power(self) -> str:
        """A lost host is seen to be without power, and is kept so."""
        down = [n for n in self.cloud.nodes.values() if not n.powered and self._is_down(n)]
        if not down:
            return ""
        node = self.dice.choice(down)
        self._write("update host set powered_off = true where id = :id", id=node.id)
        return f"{node.id} is seen without power"

    def _power(self) -> str:
        """One that is kept without power gets it only when every fence that says so is in force."""
        node = self._node()
        if not node.powered and not self._may_power_on(node):
            return f"{node.id} has to stay without power"
        return self._power_of(node)

    def _cut_from_storage(self) -> str:
        host = self.dice.choice(sorted(self.cloud.shared.runners))
        runner = self.cloud.shared.runners[host]
        runner.cut = not runner.cut
        return f"{host} {'does not reach' if runner.cut else 'reaches'} its storage"

    def _heal(self) -> None:
        kept = [n for n in self.cloud.nodes.values() if not n.powered and self._is_kept_off(n)]
        self.cloud.heal()
        for node in kept:
            node.powered = False
        for _ in range(20):
            self.cloud.settle_down(5)
            self._check()
            if all(self._may_power_on(node) for node in kept):
                break
        for node in kept:
            if not self._may_power_on(node):
                raise Broken(f"{node.id} can't have its power back")
            node.powered = True
        self.cloud.heal()

    def _may_power_on(self, node: SimNode) -> bool:
        """And then it counts as having it."""
        with self.cloud.database.write() as tx:
            if exports.unread_fences(tx, node.id):
                return False
            tx.execute(text("update host set powered_off = false where id = :id"), {"id": node.id})
        return True

    def _is_down(self, node: SimNode) -> bool:
        return bool(self._rows("select 1 from host where id = :id and state = 'down'", node.id))

    def _is_kept_off(self, node: SimNode) -> bool:
        return bool(self._rows("select 1 from host where id = :id and powered_off", node.id))

    def _rows(self, query: str, host: HostId) -> list[object]:
        with self.cloud.database.read() as tx:
            return list(tx.scalars(text(query), {"id": host}))

    def _write(self, statement: str, **values: str) -> None:
        with self.cloud.database.write() as tx:
            tx.execute(text(statement), values)

    def _seeds(self, tx: Tx) -> Iterator[str]:
        """Cloud-init data is on the machine's host alone: it may hold what nobody else should read."""
        rows = text("""
            select v.id, m.host from volume v join machine m on m.id = v.machine
            where v.shared and v.position = 0
        """)
        where: dict[str, str] = dict(tx.execute(rows).all())
        for host, node in self.cloud.nodes.items():
            for pool in node.hardware.pools.values():
                for volume in pool.seeds:
                    if volume in where and where[volume] != host:
                        yield f"cloud-init data of {volume} is left on {host}"


def _rights(tx: Tx) -> Iterator[str]:
    """Who runs has the lease of the epoch that is kept; of the others nobody has any."""
    rows = text("""
        select m.id, m.state, m.host, m.epoch, e.state, e.holder, e.epoch, m.recovery
        from machine m left join export e on e.machine = m.id
        where m.epoch > 0 or e.machine is not null
    """)
    for id_, state, host, epoch, right, holder, given, recovery in tx.execute(rows):
        if recovery:
            yield f"{id_} is still being brought back"
        if state == "running" and (right, holder, given) != ("held", host, epoch):
            yield f"{id_} runs on {host} by {epoch}, and {right} {given} is {holder}'s"
        if state != "running" and right not in (None, "free"):
            yield f"{id_} is {state}, and its lease {right} by {holder}"
    loose = text("select machine from export where machine not in (select id from machine)")
    yield from (f"the lease of {id_} is left" for id_ in tx.scalars(loose))
