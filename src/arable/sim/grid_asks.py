"""What customers and operators of a simulated grid ask for: in any region, of any other, sensible or not."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from sqlalchemy import text

from arable.domain.access import ROLES, Caller
from arable.domain.errors import CloudError, Unavailable
from arable.domain.ids import AccountId, FarmId, ImageId, MachineId, SecretId
from arable.domain.image_files import PartSaid
from arable.domain.manifest import PartFormat, PartRole
from arable.runtime.entropy import Random
from arable.services import (
    accounts,
    attachments,
    blueprints,
    catalogue,
    elsewhere,
    farm_secrets,
    farms,
    grid_instructions,
    grid_limits,
    image_policies,
    images,
    power,
    regions,
    volumes,
)
from arable.services.call import Call
from arable.services.elsewhere import Asked
from arable.sim.grid_region import Grid, GridRegion, deploy
from arable.sim.ground import DISK, OFFERING
from arable.store import grid_members
from arable.wire.blueprints import BlueprintIn
from arable.wire.catalogue import FetchIn
from arable.wire.farm_secrets import RotateSecretIn
from arable.wire.farms import FarmChange, FarmIn
from arable.wire.grid_instructions import InstructIn
from arable.wire.grid_limits import GridLimitsIn
from arable.wire.image_policies import ImagePolicyIn, PinIn
from arable.wire.images import ImageIn, UploadQuery, VersionQuery
from arable.wire.machines import DestroyIn
from arable.wire.regions import FederationIn, RegionChange
from arable.wire.volumes import AttachVolumeIn, DetachVolumeIn, VolumeChange, VolumeIn

CHUNK = 64 << 10
MOST_FARMS, MOST_IMAGES, MOST_VERSIONS, MOST_MACHINES = 3, 5, 4, 8
LIMIT = 6  # machines of the second customer in all regions together
LABEL = "near"
READ = "catalogue"
"""The volume of a customer that tiers in other regions read."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A deployment of which nobody said what became of it: it is asked for once more, with the same key."""

    through: str
    target: str
    customer: int
    body: bytes
    key: str


@dataclass
class Asking:
    """What was asked for so far. `deleted`: versions that somebody deleted by hand, by name of region and digest."""

    grid: Grid
    dice: Random
    count: int = 0
    unanswered: list[Unanswered] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    """Of machines that were asked for, and how many of each."""
    deleted: set[tuple[str, str]] = field(default_factory=set)

    def region(self) -> GridRegion:
        """Any."""
        return self.grid.regions[self.dice.choice(sorted(self.grid.regions))]

    def customer(self) -> int:
        return self.dice.randrange(2)

    def rows(self, region: GridRegion, query: str, **values: Any) -> list[Any]:
        """As they are, for choosing."""
        with region.database.read() as tx:
            return [tuple(row) for row in tx.execute(text(query), values)]

    def next(self) -> int:
        self.count += 1
        return self.count


Ask = Callable[[Asking], str]


def operator(region: GridRegion) -> Caller:
    """Of a region, with an account that no customer has."""
    rank, may = ROLES["operator"]
    return replace(
        region.ground.callers[0],
        name="operator",
        account=AccountId("account-operators"),
        role="operator",
        rank=rank,
        permissions=may,
    )


def publisher(region: GridRegion, customer: int) -> Caller:
    """An operator who acts in a customer's account: public images are theirs to publish."""
    return replace(operator(region), account=region.ground.callers[customer].account)


def federate(grid: Grid) -> None:
    """All regions let in each other's customers."""
    for region in grid.regions.values():
        others = tuple(name for name in sorted(grid.regions) if name != region.name)
        for customer in region.ground.callers:
            region.ask(
                operator(region),
                lambda call, a=customer.account, o=others: accounts.federate(
                    call, a, FederationIn(origins=o)
                ),
            )


def limit(grid: Grid) -> None:
    """The second customer may have so many machines in all."""
    path = f"root/{next(iter(grid.regions.values())).ground.callers[1].name}"
    grid.manager.ask(grid_limits.update, GridLimitsIn(path=path, machines=LIMIT))


# --- images


def content(image: str, number: int) -> bytes:
    """Three chunks, of which one is another in each version."""
    pieces = [hashlib.shake_256(f"{image} {at}".encode()).digest(CHUNK) for at in range(3)]
    pieces[number % 3] = hashlib.shake_256(f"{image} v{number}".encode()).digest(CHUNK)
    return b"".join(pieces)


def make_image(region: GridRegion, customer: int, name: str, *, public: bool = True) -> str:
    """Without a version as yet; its id."""
    caller = publisher(region, customer)
    ask = ImageIn(name=name, public=public)
    return str(region.ask(caller, lambda call: images.create(call, ask)).id)


def publish(region: GridRegion, image: str, name: str, number: int, customer: int) -> int:
    """Another version; its number."""
    bytes_ = content(name, number)
    said = PartSaid(role=PartRole.DISK, format=PartFormat.RAW, bytes=len(bytes_))
    upload = region.store.begin(said)
    upload.write(bytes_)
    part = upload.finish()
    region.store.stamp()
    caller = publisher(region, customer)
    query = UploadQuery(format="raw")
    made = region.ask(caller, lambda call: images.upload_version(call, ImageId(image), query, part))
    return int(made.number)


def _image(asking: Asking) -> str | None:
    """The name of one that is somewhere."""
    found = {
        name
        for region in asking.grid.regions.values()
        for (name,) in asking.rows(region, "select name from image where newest > 0")
    }
    return asking.dice.choice(sorted(found)) if found else None


def _here(asking: Asking, region: GridRegion) -> tuple[str, str, int, int] | None:
    """An image with a version that is in that region: its id and name, the number, and whose it is."""
    whose = {caller.account: n for n, caller in enumerate(region.ground.callers)}
    found = asking.rows(
        region,
        "select i.id, i.name, v.number, i.account from image i join image_version v on v.image = i.id"
        " where not v.arriving order by i.name, v.number",
    )
    if not found:
        return None
    id_, name, number, account = asking.dice.choice(found)
    return id_, name, number, whose[account]


def _publish(asking: Asking) -> str:
    region, dice = asking.region(), asking.dice
    own = asking.rows(
        region,
        "select i.id, i.name, i.newest, i.account from image i where i.name like :own and i.newest < :most",
        own=f"{region.name}-%",
        most=MOST_VERSIONS,
    )
    if own and dice.random() < 0.6:
        id_, name, newest, account = dice.choice(sorted(own))
        customer = [caller.account for caller in region.ground.callers].index(account)
    else:
        if len(asking.rows(region, "select id from image")) >= MOST_IMAGES:
            return "nothing"
        customer, newest = asking.customer(), 0
        name = f"{region.name}-{asking.next()}"
        id_ = make_image(region, customer, name, public=dice.random() < 0.7)
    number = publish(region, id_, name, newest + 1, customer)
    return f"{name}/{number} in {region.name}"


def _policy(asking: Asking) -> str:
    region, dice = asking.region(), asking.dice
    found = _here(asking, region)
    if found is None:
        return "nothing"
    id_, name, _number, customer = found
    caller = region.ground.callers[customer]
    if dice.random() < 0.3:
        region.ask(caller, lambda call: image_policies.delete(call, ImageId(id_)))
        return f"nothing of {name} any more, in {region.name}"
    others = sorted(set(asking.grid.regions) - {region.name})
    at = tuple(each for each in others if dice.random() < 0.5)
    said = ImagePolicyIn(
        at=at, labels=() if at else (LABEL,), versions=dice.choice((1, 2)), follow=dice.random() < 0.7
    )  # fmt: skip
    region.ask(caller, lambda call: image_policies.put(call, ImageId(id_), said))
    return f"{name} of {region.name} at {at or LABEL}"


def _seed(asking: Asking) -> str:
    region, name = asking.region(), _image(asking)
    if name is None:
        return "nothing"
    by_operator, customer = asking.dice.random() < 0.5, asking.customer()
    caller = publisher(region, customer) if by_operator else region.ground.callers[customer]
    region.ask(caller, lambda call: catalogue.fetch(call, FetchIn(image=name)))
    return f"{name} to {region.name}"


def _pin(asking: Asking) -> str:
    region = asking.region()
    found = _here(asking, region)
    if found is None:
        return "nothing"
    id_, name, number, customer = found
    verb = asking.dice.choice((image_policies.pin, image_policies.unpin, image_policies.unpin))
    caller = region.ground.callers[customer]
    region.ask(caller, lambda call: verb(call, ImageId(id_), PinIn(version=number)))
    return f"{verb.__name__} {name}/{number} in {region.name}"


def _delete_version(asking: Asking) -> str:
    region = asking.region()
    found = _here(asking, region)
    if found is None or asking.dice.random() < 0.5:
        return "nothing"
    id_, name, number, customer = found
    ((digest,),) = asking.rows(
        region, "select digest from image_version where image = :i and number = :n", i=id_, n=number
    )
    caller = region.ground.callers[customer]
    query = VersionQuery(number=number)
    try:
        region.ask(caller, lambda call: images.delete_version(call, ImageId(id_), query))
    except Unavailable:  # perhaps it was done
        asking.deleted.add((region.name, digest))
        raise
    asking.deleted.add((region.name, digest))
    return f"{name}/{number} in {region.name}"


def _customer(asking: Asking, region: GridRegion) -> Caller:
    return region.ground.callers[asking.customer()]


# --- machines


def _deploy(asking: Asking) -> str:
    name, dice = _image(asking), asking.dice
    if name is None:
        return "nothing"
    through, target = asking.region(), asking.region()
    if asking.rows(target, "select count(*) from machine")[0][0] >= MOST_MACHINES:
        return "nothing"
    called, count = f"m{asking.next()}", dice.choice((1, 1, 2))
    asking.names[called] = count
    body = {"name": called, "count": count, "offering": OFFERING, "image": name}
    asked = Unanswered(
        through.name,
        target.name,
        asking.customer(),
        msgspec.json.encode(body),
        f"key-{called}-{dice.randrange(10**9)}",
    )
    asking.unanswered.append(asked)
    return f"{called} of {name} {told(asking, asked)}"


def _again(asking: Asking) -> str:
    """Who got no answer asks again; who got one may do that, too."""
    if not asking.unanswered:
        return "nothing"
    return "again: " + told(asking, asking.dice.choice(asking.unanswered))


def told(asking: Asking, asked: Unanswered) -> str:
    """Ask, and say what was answered."""
    through = asking.grid.regions[asked.through]
    caller = through.ground.callers[asked.customer]
    where = f"in {asked.target} through {asked.through}"
    try:
        server = through.server_for_a_call()
        if asked.through == asked.target:
            deploy(server, caller, asked.body, asked.key)
        else:
            headers = (("idempotency-key", asked.key),)
            said = Asked("POST", "/v1/machines", "", headers, asked.body)
            answer = elsewhere.carry(server.database, server.around, caller, asked.target, said)
            if answer.status >= 400:
                asking.unanswered.remove(asked)
                return f"{where}: {answer.body.decode()}"
    except Unavailable as error:
        return f"{where}: no answer, {error.public}"
    except CloudError as error:
        asking.unanswered.remove(asked)
        return f"{where}: {error.public}"
    if asking.dice.random() < 0.7:  # else it is asked once more for nothing
        asking.unanswered.remove(asked)
    return where


def _destroy(asking: Asking) -> str:
    region = asking.region()
    caller = _customer(asking, region)
    found = asking.rows(
        region,
        "select id from machine where account = :a and id not in"
        " (select machine from element where machine is not null) order by id",
        a=caller.account,
    )
    if not found:
        return "nothing"
    (id_,) = asking.dice.choice(found)
    ask = DestroyIn(force=True, expunge=True)
    region.ask(caller, lambda call: power.destroy(call, MachineId(id_), ask))
    return f"{id_} in {region.name}"


# --- farms


def _fill(asking: Asking) -> str:
    """A step further with a volume that many are to read: made, written by a machine, shared, given back, shared anew."""
    region, dice = asking.region(), asking.dice
    caller = _customer(asking, region)
    found = asking.rows(
        region,
        "select id, machine, pool, read_only, change from volume where account = :a and name = :n and stays and not erasing",
        a=caller.account,
        n=READ,
    )
    if not found:
        new = VolumeIn(name=READ, offering=DISK, mib=64)
        return str(region.ask(caller, lambda call: volumes.create(call, new)).id)
    id_, machine, pool, shared, change = found[0]
    if change:
        return "nothing"
    if machine is not None:
        region.ask(caller, lambda call: attachments.detach(call, id_, DetachVolumeIn()))
        return f"{id_} is given back"
    if pool is not None:
        waits = asking.rows(
            region, "select 1 from sent_volume where volume = :v and made < shares", v=id_
        )
        if shared and (waits or dice.random() < 0.5):
            return "nothing"
        how = (
            VolumeChange(share="none")
            if shared
            else VolumeChange(storage_zone=None, share="read-only")
        )
        region.ask(caller, lambda call: volumes.update(call, id_, how))
        return f"{id_} of {region.name}: {how.share}"
    query = "select id from machine where account = :a and state = 'running' and name like 'm%' order by id"
    running = asking.rows(region, query, a=caller.account)
    if not running:
        return "nothing"
    (at,) = dice.choice(running)
    region.ask(caller, lambda call: attachments.attach(call, id_, AttachVolumeIn(machine=at)))
    return f"{id_} to {at}"


def _is_shared(asking: Asking, region: GridRegion, caller: Caller) -> bool:
    query = "select 1 from volume where account = :a and name = :n and read_only and not erasing and view_of is null"
    return bool(asking.rows(region, query, a=caller.account, n=READ))


def _document(asking: Asking, home: GridRegion, blueprint: str) -> dict[str, Any]:
    """Tiers elsewhere are of a blueprint that reads a volume, if there is one."""
    dice = asking.dice
    reads = asking.rows(home, "select 1 from blueprint where name = :n", n=f"{blueprint}-far")
    other = {"blueprint": f"{blueprint}-far"} if reads else {}
    others = [name for name in sorted(asking.grid.regions) if name != home.name]
    far = [name for name in others if dice.random() < 0.6]
    tier = {"blueprint": blueprint, "most": 3}
    newest = {"version": "newest", "automatic": True}
    tiers: list[dict[str, Any]] = [{"name": "web", "networks": ["front"], "least": 1, **tier}]
    for at, name in enumerate(far):
        more = newest if dice.random() < 0.5 else {}
        edge = f"edge{at}"
        tiers.append(
            {"name": edge, "networks": [edge], "region": name, "least": dice.choice((1, 1, 2))}
            | tier
            | more
            | other
        )
    return {
        "secrets": ["db"] if dice.random() < 0.4 else [],
        "networks": [{"name": "front"}, *({"name": f"edge{n}"} for n in range(len(far)))],
        "tiers": tiers,
        "passages": [
            {"source": f"edge{n}", "to": "web", "port": 8080}
            for n in range(len(far))
            if dice.random() < 0.7
        ],
        "ways_in": [{"tier": f"edge{n}", "port": 80} for n in range(len(far)) if dice.random() < 0.5],
    }  # fmt: skip


def _apply(asking: Asking) -> str:
    home, image = asking.region(), _image(asking)
    if image is None:
        return "nothing"
    caller = _customer(asking, home)
    count = (
        "select count(*) from farm f where exists (select 1 from farm_spec s where s.farm = f.id)"
    )
    if asking.rows(home, count)[0][0] >= MOST_FARMS:
        return "nothing"
    name = f"f{asking.next()}"
    made = {
        "name": f"b{name}",
        "image": image,
        "offering": OFFERING,
        "ports": [{"port": 8080}],
    }
    if _is_shared(asking, home, caller):
        far = made | {"name": f"b{name}-far", "reads": [READ]}
        home.ask(caller, lambda call: blueprints.create(call, msgspec.convert(far, BlueprintIn)))
    said = {"name": name, **_document(asking, home, f"b{name}")}

    def work(call: Call) -> str:
        blueprints.create(call, msgspec.convert(made, BlueprintIn))
        return farms.create(call, msgspec.convert(said, FarmIn)).farm.id

    id_ = home.ask(caller, work)
    return f"{id_} of {home.name}, also in {_places(said)}"


def _places(said: dict[str, Any]) -> str:
    return ", ".join(each["region"] for each in said["tiers"] if "region" in each) or "no other"


def _farm(asking: Asking) -> tuple[GridRegion, Caller, str, str] | None:
    """One at its home: where and whose it is, its id and its name."""
    home = asking.region()
    whose = {caller.account: caller for caller in home.ground.callers}
    found = asking.rows(
        home,
        "select f.id, f.account, f.name from farm f join farm_spec s on s.farm = f.id where not exists"
        " (select 1 from farm_partner p where p.farm = f.id) order by f.id",
    )
    if not found:
        return None
    id_, account, name = asking.dice.choice(found)
    return home, whose[account], id_, name


def _change(asking: Asking) -> str:
    found = _farm(asking)
    if found is None:
        return "nothing"
    home, caller, id_, name = found
    said = _document(asking, home, f"b{name}")
    home.ask(
        caller, lambda call: farms.update(call, FarmId(id_), msgspec.convert(said, FarmChange))
    )
    return f"{id_} of {home.name}, from now on in {_places(said)}"


def _remove(asking: Asking) -> str:
    found = _farm(asking)
    if found is None:
        return "nothing"
    home, caller, id_, _name = found
    home.ask(caller, lambda call: farms.delete(call, FarmId(id_)))
    return f"{id_} of {home.name}"


def _rotate(asking: Asking) -> str:
    found = _farm(asking)
    if found is None:
        return "nothing"
    home, caller, id_, _name = found
    secrets = asking.rows(home, "select id from farm_secret where farm = :f", f=id_)
    if secrets and asking.dice.random() < 0.6:
        ask = RotateSecretIn(contents=f"a text that nobody reads {asking.next()}")
        home.ask(caller, lambda call: farm_secrets.rotate(call, SecretId(secrets[0][0]), ask))
        return f"a secret of {id_} of {home.name}"
    home.ask(caller, lambda call: farms.rotate_keys(call, FarmId(id_)))
    return f"keys of {id_} of {home.name}"


# --- operators


def _instruct(asking: Asking) -> str:
    grid, dice = asking.grid, asking.dice
    path = f"root/{asking.region().ground.callers[0].name}"
    kind = dice.choice(("cap", "suspend", "resume", "resume"))
    at = tuple(sorted({asking.region().name, asking.region().name}))
    more = {"machines": dice.choice((4, 20))} if kind == "cap" else {}
    ask = msgspec.convert({"kind": kind, "subject": path, "at": at, **more}, InstructIn)
    made = grid.manager.ask(grid_instructions.give, ask)
    return f"{made.id}: {kind} {path} in {', '.join(at)}"


def _label(asking: Asking) -> str:
    region, labels = asking.region(), asking.dice.choice(((), (LABEL,)))
    with asking.grid.manager.database.read() as tx:
        found = grid_members.by_name(tx, region.name)
    assert found is not None
    asking.grid.manager.ask(regions.update, found.id, RegionChange(labels=labels))
    return f"{region.name} {labels}"


ASKS: tuple[tuple[str, Ask], ...] = (
    *(("deploys", _deploy),) * 6,
    ("asks again", _again),
    ("asks again", _again),
    *(("expunges", _destroy),) * 4,
    *(("publishes", _publish),) * 3,
    *(("says where an image should be", _policy),) * 2,
    *(("has an image brought", _seed),) * 2,
    ("pins", _pin),
    ("deletes a version", _delete_version),
    *(("applies a farm", _apply),) * 3,
    *(("changes a farm", _change),) * 3,
    *(("removes a farm", _remove),) * 2,
    ("rotates", _rotate),
    *(("fills or shares a volume", _fill),) * 4,
    ("instructs", _instruct),
    ("labels", _label),
)
