"""Farms in two or three regions: each with a store of its own, in one process, on one virtual clock and wires that fail."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from make_cloud import Cloud, make_cloud
from make_farm import farm_in, whole
from sqlalchemy import insert, update

from arable.controllers import farm_documents
from arable.controllers.farm_regions import FarmRegions
from arable.domain.access import Caller
from arable.domain.element import ElementState
from arable.domain.errors import Unavailable
from arable.domain.grid import Peer
from arable.domain.ids import FarmId
from arable.runtime.ca import Authority
from arable.runtime.clock import VirtualClock
from arable.runtime.entropy import Entropy
from arable.services import blueprints, farm_partners, farms
from arable.services.hands import FarmHands
from arable.store import grid, grid_members
from arable.store import schema as t
from arable.store.grid_members import Link
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmOut
from arable.wire.grid import FarmPartsIn, FarmPartsOut
from databases import fresh_sqlite

BLUEPRINT = {"name": "web", "image": "tiny", "offering": "small", "ports": [{"port": 8080}]}
FAR: dict[str, Any] = {
    "name": "shop",
    "networks": [{"name": "front"}, {"name": "edge"}],
    "tiers": [
        {"name": "origin", "blueprint": "web", "networks": ["front"], "least": 2},
        {"name": "cache", "blueprint": "web", "networks": ["edge"], "region": "london"},
    ],
    "passages": [{"source": "cache", "to": "origin", "port": 8080}],
    "ways_in": [{"tier": "cache", "port": 80}],
}


@dataclass
class Place:
    """A region."""

    name: str
    cloud: Cloud
    ann: Caller
    sync: FarmRegions = field(init=False)

    @property
    def hands(self) -> FarmHands:
        return FarmHands(lambda: self.cloud.around)

    def farm(self) -> FarmOut:
        (found,) = self.cloud.rows("select id from farm where name = 'shop'")
        return self.cloud.do(self.ann, farms.get, FarmId(found[0]))

    def farms(self) -> list[str]:
        return [name for (name,) in self.cloud.rows("select name from farm order by name")]

    def serve(self) -> None:
        """Hosts and routers do what is wished: all elements serve, and what is to leave has left."""
        now = self.cloud.around.clock.now()
        self.cloud.run("delete from element where tier in (select id from tier where leaving)")
        with self.cloud.database.write() as tx:
            for id_, farm, account, count in tx.execute(
                t.tier.select().with_only_columns(t.tier.c.id, t.tier.c.farm, t.tier.c.account, t.tier.c.count)
            ).all():  # fmt: skip
                tx.execute(t.element.delete().where(t.element.c.tier == id_))
                for number in range(1, count + 1):
                    tx.execute(
                        insert(t.element).values(
                            id=self.cloud.around.ids.new("element"),
                            tier=id_,
                            farm=farm,
                            account=account,
                            number=number,
                            state=ElementState.SERVING,
                            since=now,
                            blueprint_number=1,
                            image_version=1,
                        )
                    )
        self.look()
        self.cloud.run("delete from network where state = 'leaving'")
        self.look()

    def look(self) -> None:
        """The controller of documents has its turn."""
        wanted = [FarmId(id_) for (id_,) in self.cloud.rows("select farm from farm_spec where attention")]  # fmt: skip
        with self.cloud.database.write() as tx:
            farm_documents.attend(self.hands, tx, self.cloud.around.clock.now(), wanted)

    def vpns(self) -> list[Any]:
        return self.cloud.rows(
            "select v.name, p.public_key <> '', p.endpoint <> '', p.cidrs from vpn v join vpn_peer p on p.vpn = v.id"
            " order by v.name"
        )


@dataclass
class Wan:
    """Between all of them. What is delayed arrives when `late` is called."""

    places: dict[str, Place] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    fates: list[str] = field(
        default_factory=list
    )  # of the next calls: "ask", "answer", "double", "late"
    waiting: list[Any] = field(default_factory=list)
    asked: int = 0

    def farms(self, link: Link, url: str, region: str, ask: FarmPartsIn) -> FarmPartsOut:
        self.asked += 1
        if region in self.cut or link.region in self.cut:
            raise Unavailable(f"{region} can't be reached")
        fate = self.fates.pop(0) if self.fates else ""
        if fate in ("ask", "late"):
            if fate == "late":
                self.waiting.append((link.region, region, ask))
            raise Unavailable("no answer")
        answer = self.told(link.region, region, ask)
        if fate == "double":
            answer = self.told(link.region, region, ask)
        if fate == "answer":
            raise Unavailable("the answer was lost")
        return answer

    def late(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in reversed(waiting):
            self.told(*each)

    def told(self, home: str, region: str, ask: FarmPartsIn) -> FarmPartsOut:
        ask = msgspec.json.decode(msgspec.json.encode(ask), type=FarmPartsIn)
        place, parts = self.places[region], []
        for part in ask.parts:
            with place.cloud.database.write() as tx:
                parts.append(farm_partners.take(tx, place.cloud.around, home, part))
        answer = FarmPartsOut(parts=tuple(parts))
        return msgspec.json.decode(msgspec.json.encode(answer), type=FarmPartsOut)


@dataclass
class Regions:
    """All of them."""

    clock: VirtualClock
    wan: Wan

    def __getitem__(self, name: str) -> Place:
        return self.wan.places[name]

    def apply(self, said: dict[str, Any]) -> Any:
        home = self["home"]
        if home.farms():
            return home.cloud.do(home.ann, farms.update, FarmId(home.farm().id), whole(said))
        lists = {"networks": [], "tiers": [], "passages": [], "ways_in": []}
        return home.cloud.do(home.ann, farms.create, farm_in(**lists | said))

    def turn(self, seconds: float = 5) -> None:
        """Time passes, and home tells and asks."""
        self.clock.wait(timedelta(seconds=seconds))
        self["home"].sync.step()

    def settle(self, turns: int = 4) -> None:
        """Until all is as it should be, if it ever is."""
        for _ in range(turns):
            self.turn(61)
            for place in self.wan.places.values():
                place.serve()
            if not self.wan.fates and self._is_quiet():
                break
        self.turn(61)
        self["home"].look()

    def _is_quiet(self) -> bool:
        """Nobody has anything to do any more."""
        busy = "select 1 from farm_spec where attention union all select 1 from farm_region where gone or acked <> version or state <> 'ready'"
        return not any(place.cloud.rows(busy) for place in self.wan.places.values())

    def state(self, region: str = "london") -> str:
        return {each.region: each.state for each in self["home"].farm().regions}.get(region, "none")


@contextmanager
def regions_of(directory: Path, *names: str) -> Iterator[Regions]:
    """`home`, and these; the account `ann` is in each, and let in from home."""
    clock = VirtualClock()
    with ExitStack() as stack:
        made = Regions(clock, Wan())
        for number, name in enumerate(("home", *names)):
            folder = directory / name
            folder.mkdir()
            cloud = make_cloud(stack.enter_context(fresh_sqlite(folder)))
            entropy = Entropy(f"region {name}")
            cloud.around = replace(
                cloud.around,
                clock=clock,
                entropy=entropy,
                authority=Authority.open(folder / "authority", clock, entropy),
            )
            _move_range(cloud, f"198.51.{10 + number}")
            place = Place(name, cloud, cloud.account("ann"))
            cloud.do(place.ann, blueprints.create, msgspec.convert(BLUEPRINT, BlueprintIn))
            link = Link(region=name, grid="grid:1", authorities=("a",), certificate="c", key_sealed="k")  # fmt: skip
            with cloud.database.write() as tx:
                grid_members.add_link(tx, link)
                others = [n for n in ("home", *names) if n != name]
                grid.put_peers(tx, [Peer(name=n, url=f"https://{n}:1", fingerprint="f", authority="a") for n in others])  # fmt: skip
                if name != "home":
                    tx.execute(update(t.account).where(t.account.c.name == "ann").values(federated=["home"]))  # fmt: skip
            place.sync = FarmRegions(
                look=cloud.database.read,
                transact=lambda work, database=cloud.database: _done(database, work),
                clock=clock,
                wire=made.wan,
                hands=place.hands,
                acts=lambda: lambda tx: None,
                patience=60,
            )
            made.wan.places[name] = place
        yield made


def _move_range(cloud: Cloud, to: str) -> None:
    """Each region has public addresses of its own."""
    for table, columns in (
        ("address", ("address",)),
        ("public_range", ("cidr", "gateway", "first", "last")),
    ):
        for column in columns:
            cloud.run(f"update {table} set {column} = replace({column}, '198.51.100', :to)", to=to)


def _done(database: Any, work: Any) -> Any:
    with database.write() as tx:
        return work(tx)
