"""Hosts of some pods on virtual time: the real witnesses, controllers and store; what reaches what is the test's to say."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import insert, select

from arable.agent.agent import DOUBT_SECONDS
from arable.agent.witness import EVERY_SECONDS, Witness
from arable.controllers import liveness, peers, power
from arable.domain.host import HostState
from arable.domain.ids import HostId
from arable.domain.manifest import HostReport, ItemKind, PeerWish
from arable.runtime.clock import VirtualClock
from arable.store import hosts, sightings
from arable.store import schema as t
from arable.store.database import Database

REPORT = 10


@dataclass
class Node:
    id: HostId
    name: str
    witness: Witness
    reports_at: int  # second of the report interval
    alive: bool = True
    uplink: bool = True  # to management
    agent: bool = True
    leases_at: "Node | None" = None
    told: object = None
    said: int = 0  # the second of its last report
    down: list[datetime] = field(default_factory=list)


class Pods:
    """`tick` is a second."""

    def __init__(self, database: Database, sizes: dict[str, int]) -> None:
        self.database, self.clock = database, VirtualClock()
        self.now = 0
        self.managed = True  # whether any management server is there
        self.cut: set[frozenset[str]] = set()  # pairs of nodes that don't reach each other
        self.nodes: dict[str, Node] = {}
        at = self.clock.now()
        with database.write() as tx:
            tx.execute(insert(t.zone).values(id="zone-z", name="z", created_at=at))
            for n, (pod, count) in enumerate(sizes.items()):
                tx.execute(insert(t.pod).values(id=f"pod-{pod}", zone="zone-z", name=pod,
                                                cidr=f"10.0.{n}.0/24", created_at=at))  # fmt: skip
                for m in range(count):
                    name = f"{pod}{m}"
                    self.nodes[name] = Node(HostId(f"host-{name}"), name, Witness(self.clock), (7 * m + 3 * n) % REPORT)  # fmt: skip
                    tx.execute(insert(t.host).values(
                        id=f"host-{name}", zone="zone-z", pod=f"pod-{pod}", name=name, state="up", seen_at=at,
                        created_at=at, peer_address=f"10.0.{n}.{m + 10}:10807"))  # fmt: skip
            peers.attend(tx, at)

    def reaches(self, one: Node, other: Node) -> bool:
        near = frozenset((one.name, other.name)) not in self.cut
        return one.alive and other.alive and other.agent and near

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.clock.wait(timedelta(seconds=1))
            self.now += 1
            for node in self.nodes.values():
                if node.alive and node.agent:
                    self._ask(node)
                    self._report(node)
            if self.managed and self.now % liveness.SECONDS == 0:
                with self.database.write() as tx:
                    peers.attend(tx, self.clock.now())
                    liveness.watch(tx, self.clock.now())
                    power.attend(tx, self.clock.now())

    def until(self, name: str, state: HostState, within: int) -> int:
        """How many seconds it takes."""
        for second in range(within):
            if self.state(name) is state:
                return second
            self.tick()
        raise AssertionError(f"{name} is {self.state(name)}: {self.row(name).told}")

    def _ask(self, node: Node) -> None:
        if self.now % int(EVERY_SECONDS):
            return
        by_id = {each.id: each for each in self.nodes.values()}
        for peer in node.witness.peers():
            if self.reaches(node, by_id[peer.host]):
                node.witness.reached(peer.host)
            else:
                node.witness.failed(peer.host)
        if node.leases_at and self.reaches(node, node.leases_at):
            node.leases_at.witness.asked(node.id)

    def _report(self, node: Node) -> None:
        changed = node.witness.view() != node.told
        doubt = node.witness.in_doubt() and self.now - node.said > DOUBT_SECONDS
        due = changed or doubt or self.now % REPORT == node.reports_at
        if not (self.managed and node.uplink and due):
            return
        node.said = self.now
        at = self.clock.now()
        report = HostReport(
            host=node.id,
            generation=1,
            lost=node.witness.lost() if changed else None,
            renewing=node.witness.renewing() if changed else None,
        )
        node.told = node.witness.view()
        with self.database.write() as tx:
            hosts.connected(tx, [node.id], "server-1", at)
            sightings.note(tx, [report], at)
            item = t.manifest_item.c
            rows = tx.execute(select(item.id).where(item.host == node.id, item.kind == ItemKind.PEER,
                                                    item.body.is_not(None)))  # fmt: skip
            node.witness.want({HostId(row[0]): PeerWish(host=HostId(row[0]), address="x") for row in rows})  # fmt: skip

    def row(self, name: str):
        with self.database.read() as tx:
            return hosts.get(tx, self.nodes[name].id)

    def state(self, name: str) -> HostState:
        return self.row(name).state

    def states(self) -> dict[str, HostState]:
        return {name: self.state(name) for name in self.nodes}
