"""A farm of one tier for tests of services, with hands to do to it what hosts, routers and controllers do."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from sqlalchemy import insert, text

from arable.controllers import tiers
from arable.domain.balancer import BalancerSeen, MemberSeen
from arable.domain.ids import BalancerId, FarmId, HostId, NicId
from arable.services import blueprints, farms
from arable.services.hands import FarmHands
from arable.store import balancers, schema
from arable.store import tiers as kept
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmIn

BLUEPRINT = {"name": "web", "image": "tiny", "offering": "small", "ports": [{"port": 80}]}
SHOP = {
    "name": "shop",
    "networks": [{"name": "web"}],
    "tiers": [{"name": "web", "blueprint": "web", "networks": ["web"], "most": 4, "count": 2}],
    "ways_in": [{"tier": "web", "port": 80}],
}


class Hands(FarmHands):
    """Ids of the small cloud are not such as `Ids` makes, so that it goes by names."""

    def deploy(self, tx, owner, asks):
        named = {"zone": "here", "image": "tiny", "offering": "small"}
        return super().deploy(tx, owner, [msgspec.structs.replace(ask, **named) for ask in asks])

    def deploy_with(self, tx, owner, ask, disks, reads):
        named = {"zone": "here", "image": "tiny", "offering": "small"}
        return super().deploy_with(tx, owner, msgspec.structs.replace(ask, **named), disks, reads)


class Shop:
    """A farm, and hands to do to it what hosts and controllers do."""

    def __init__(
        self, cloud, tier=None, time_zone="UTC", blueprint=None, secrets=(), **limits
    ) -> None:
        self.cloud = cloud
        self.ann = cloud.account("ann", **limits)
        made_of = msgspec.convert({**BLUEPRINT, **(blueprint or {})}, BlueprintIn)
        cloud.do(self.ann, blueprints.create, made_of)
        said = {**SHOP, "time_zone": time_zone, "tiers": [{**SHOP["tiers"][0], **(tier or {})}]}
        said["secrets"] = list(secrets)
        made = cloud.do(self.ann, farms.create, msgspec.convert(said, FarmIn))
        self.farm, self.operation = FarmId(made.farm.id), made.operation
        now = cloud.around.clock.now()
        with cloud.database.write() as tx:
            common = {"zone": "zone-here", "name": "h1", "created_at": now}
            tx.execute(insert(schema.pod).values(id="pod-a", cidr="10.0.0.0/24", **common))
            tx.execute(insert(schema.host).values(id="host-a", pod="pod-a", state="up", **common))
        cloud.run("update farm set holder = 'me', epoch = 1, confirmed = 1")
        cloud.run("update network set appliance_host = 'host-a', appliance_state = 'running'")

    @property
    def hands(self) -> Hands:
        return Hands(lambda: self.cloud.around)

    def round(self, times: int = 1) -> None:
        for _ in range(times):
            with self.cloud.database.write() as tx:
                tiers.attend(self.hands, tx, self.cloud.around.clock.now(), [self.farm])

    def wanting(self) -> Sequence[FarmId]:
        with self.cloud.database.read() as tx:
            return tiers.wanting(tx, "me", self.cloud.around.clock.now())

    def sweep(self) -> int:
        with self.cloud.database.write() as tx:
            return tiers.sweep(tx, self.cloud.around.clock.now())

    def run_all(self) -> None:
        """Hosts have started what is wished, and routers have what they were told."""
        self.cloud.run("update machine set state = 'running', ran = 1, host = 'host-a' where wish = 'running'")  # fmt: skip
        self.settle()

    def settle(self) -> None:
        self.cloud.run("update operation set state = 'done' where kind like 'balancer.%'")

    def says(self, *, well: bool | None = True, **figures: int) -> None:
        """The router, of all its members as they are in the rows, and of what it spreads over them."""
        self.cloud.around.clock.wait(timedelta(seconds=1))
        rows = self.cloud.rows("select balancer, nic, draining from balancer_member")
        (balancer,) = self.cloud.rows("select id from balancer")[0]
        members = tuple(
            MemberSeen(nic=NicId(nic), up=bool(well), well=well, weight=0 if draining else 1)
            for _, nic, draining in rows
        )
        told = BalancerSeen(id=BalancerId(balancer), members=members, **figures)
        with self.cloud.database.write() as tx:
            balancers.keep_seen(tx, [(HostId("host-a"), told)], self.cloud.around.clock.now())

    def states(self) -> list[str]:
        return [state for (state,) in self.cloud.rows("select state from element order by number")]

    def scale(self, count: int) -> None:
        with self.cloud.database.write() as tx:
            ((id_, generation),) = tx.execute(text("select id, generation from tier"))
            assert kept.set_count(tx, id_, generation, count)
