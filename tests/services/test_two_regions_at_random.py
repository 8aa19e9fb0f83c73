"""Whatever happens between two regions, a farm ends up as its home says: over wires that fail, and stores that are set back.

Each region has a store of its own; both are on one virtual clock. After each happening it is looked that nothing is wrong
that may never be; at the end all is mended, and what should be is.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_spread_farm import BLUEPRINT, FAR, Regions, regions_of

from arable.domain.errors import CloudError
from arable.domain.ids import BlueprintId, FarmId, SecretId
from arable.services import blueprints, farm_secrets, farms
from arable.wire.blueprints import BlueprintVersionIn
from arable.wire.farm_secrets import RotateSecretIn
from everything_kept import everything_kept

MADE = {key: value for key, value in BLUEPRINT.items() if key != "name"}
FOLLOWS = [FAR["tiers"][0], {**FAR["tiers"][1], "version": "newest", "automatic": True}]
EXAMPLES = int(os.environ.get("REGIONS_AT_RANDOM", "3"))
"""Few in the suite; more when somebody looks for trouble."""
DOCUMENTS: dict[str, dict[str, Any]] = {
    "alone": {**FAR, "tiers": FAR["tiers"][:1], "passages": [], "ways_in": [], "networks": FAR["networks"][:1]},
    "far": FAR,
    "far with secrets": {**FAR, "secrets": ["db"], "tiers": FOLLOWS},
    "far and larger": {**FAR, "secrets": ["db"], "tiers": [FOLLOWS[0], {**FOLLOWS[1], "least": 3}]},
}  # fmt: skip


class World:
    """What happened so far, and what may never change."""

    def __init__(self, two: Regions, folder: Path) -> None:
        self.two, self.folder = two, folder
        self.bodies: dict[tuple[str, int], str] = {}
        self.said = ""
        self.texts = count(1)
        self.numbers = count(2)
        self.asks = False

    # --- what happens

    def applies(self, name: str) -> None:
        if self.asks and name in ("alone", "far"):  # its blueprint asks for what that has not
            name = "far with secrets"
        self.two.apply(DOCUMENTS[name])
        self.said = name

    def publishes(self, *, asks: bool = False) -> None:
        home = self.two["home"]
        ((id_,),) = home.cloud.rows("select id from blueprint where name = 'web'")
        data = "pass={{secret.db}}" if asks or self.asks else ""
        said = {**MADE, "drain_seconds": next(self.numbers), "user_data": data}
        ask = msgspec.convert(said, BlueprintVersionIn)
        if data and self.said in ("alone", "far"):
            return  # the farm has no such secret: what follows would be refused, and rightly
        self.asks = bool(data)
        home.cloud.do(home.ann, blueprints.create_version, BlueprintId(id_), ask)

    def rotates(self) -> None:
        home = self.two["home"]
        for (id_,) in home.cloud.rows("select id from farm_secret"):
            ask = RotateSecretIn(contents=f"a text that nobody reads {next(self.texts)}")
            home.cloud.do(home.ann, farm_secrets.rotate, SecretId(id_), ask)

    def changes_keys(self) -> None:
        home = self.two["home"]
        home.cloud.do(home.ann, farms.rotate_keys, FarmId(home.farm().id))

    def deletes(self) -> None:
        home = self.two["home"]
        home.cloud.do(home.ann, farms.delete, FarmId(home.farm().id))
        self.said = ""

    def loses(self, fate: str) -> None:
        self.two.wan.fates += [fate] * 2

    def cuts(self) -> None:
        self.two.wan.cut.add("london")

    def mends(self) -> None:
        self.two.wan.cut.clear()

    def withdraws(self) -> None:
        self.two["london"].cloud.run("update account set federated = '[]' where name = 'ann'")

    def lets_in(self) -> None:
        self.two["london"].cloud.run(
            "update account set federated = '[\"home\"]' where name = 'ann'"
        )

    def backs_up(self) -> None:
        _copied(self._file(), self.folder / "copy")

    def sets_back(self) -> None:
        """London's store is what it was at the last backup."""
        if (self.folder / "copy").exists():
            _copied(self.folder / "copy", self._file())

    def dies(self) -> None:
        """The server at home, at its next commit."""
        sync = self.two["home"].sync
        real = sync.transact

        def transact(work: Any) -> Any:
            sync.transact = real
            raise RuntimeError("the server died")

        sync.transact = transact

    def _file(self) -> Path:
        return Path(self.two["london"].cloud.database.url.removeprefix("sqlite:///"))

    # --- what may never be

    def look(self) -> None:
        london = self.two["london"].cloud
        rows = london.rows(
            "select b.name, v.number, v.body from blueprint b join blueprint_version v on v.blueprint = b.id"
        )
        for name, number, body in rows:
            assert self.bodies.setdefault((name, number), body) == body, "a version changed"
        homes = london.rows("select count(*) from farm f where not exists (select 1 from farm_partner p where p.farm = f.id)")  # fmt: skip
        assert homes == [(0,)], "a part without a home"

    # --- what is so at last

    def ends(self) -> None:
        two = self.two
        self.mends()
        self.lets_in()
        two.wan.fates.clear()
        two.wan.late()
        two.settle(10)
        two.wan.late()
        with suppress(CloudError):
            if self.said:
                two.apply(DOCUMENTS[self.said])
        two.settle(10)
        self.look()
        for region in ("home", "london"):
            kept = str(everything_kept(two[region].cloud.database, but=()))
            assert "a text that nobody reads" not in kept
        london, home = two["london"], two["home"]
        far = self.said.startswith("far")
        assert bool(london.farms()) == far, "parts are where the document says, and nowhere else"
        used = "select b.name from blueprint b where b.home <> '' and not exists (select 1 from tier t where t.blueprint = b.id)"  # fmt: skip
        assert london.cloud.rows(used) == []
        if far:
            assert two.state() in ("ready", "changing"), home.farm().regions
            ((version, acked),) = home.cloud.rows("select version, acked from farm_region")
            assert version == acked
            assert self._texts("london") in ({}, self._texts("home"))
            numbers = london.cloud.rows("select blueprint_number from tier")
            sent = home.cloud.rows("select spec from farm_region")[0][0]
            wanted = [each["version"] for each in msgspec.json.decode(sent)["tiers"]]
            assert [number for (number,) in numbers] == wanted

    def _texts(self, region: str) -> dict[str, str]:
        cloud = self.two[region].cloud
        with cloud.database.read() as tx:
            farm = FarmId(self.two[region].farm().id)
            names = [name for (name,) in cloud.rows("select name from farm_secret")]
            found = farm_secrets.texts(tx, cloud.around, farm, names)
        return {name: text.reveal() for name, text in found.items()}


def _copied(one: Path, other: Path) -> None:
    source, target = sqlite3.connect(one), sqlite3.connect(other)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()


HAPPENINGS: dict[str, Callable[[World], None]] = {
    **{f"applies {name}": (lambda w, n=name: w.applies(n)) for name in DOCUMENTS},  # type: ignore[misc]
    **{f"loses {fate}": (lambda w, f=fate: w.loses(f)) for fate in ("ask", "answer", "double", "late")},  # type: ignore[misc]
    "publishes": World.publishes,
    "publishes what asks": lambda w: w.publishes(asks=True),
    "rotates": World.rotates,
    "changes keys": World.changes_keys,
    "deletes": World.deletes,
    "cuts": World.cuts,
    "mends": World.mends,
    "withdraws": World.withdraws,
    "lets in": World.lets_in,
    "backs up": World.backs_up,
    "sets back": World.sets_back,
    "dies": World.dies,
}  # fmt: skip


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    happenings=st.lists(
        st.tuples(st.sampled_from(sorted(HAPPENINGS)), st.integers(0, 2)), min_size=4, max_size=16
    )
)
def test_whatever_happens_between_two_regions_the_farm_ends_up_as_home_says(
    tmp_path_factory, happenings
):
    folder = tmp_path_factory.mktemp("two")
    with regions_of(folder, "london") as two:
        world = World(two, folder)
        world.applies("far")
        for what, turns in happenings:
            with suppress(CloudError, ValueError):  # what can't be now is refused, or is not there
                HAPPENINGS[what](world)
            for _ in range(turns):
                with suppress(RuntimeError):
                    two.turn(61)
                for place in two.wan.places.values():
                    place.serve()
            world.look()
        world.ends()
