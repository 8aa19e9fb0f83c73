"""What must be true of a grid and its regions together: after every step, and at rest."""

import hashlib
from collections.abc import Iterator
from ipaddress import ip_network
from itertools import combinations
from typing import Any

import msgspec

from arable.controllers import image_policies
from arable.domain.region import Fact, FactKind
from arable.sim.grid_asks import LIMIT, Asking
from arable.sim.grid_region import Grid, GridRegion
from arable.store import came_volumes, grid_facts, grid_members, images
from arable.store.database import Database

_CHANGES = frozenset({FactKind.BILL})
"""Sums that grow with time: they are always a little older elsewhere."""


class Watch:
    """Of one story. `look` goes after every step and says what is broken."""

    def __init__(self, asking: Asking) -> None:
        self.asking, self.grid = asking, asking.grid
        self.known: dict[str, set[str]] = {}
        """Of each version by its digest: which regions had it with its bytes, when it was looked at last."""

    def look(self) -> Iterator[str]:
        """What may never be."""
        yield from self._last_copies()
        yield from _once(self.grid)
        yield from self._asked()
        yield from _subnets(self.grid)
        yield from _limited(self.grid)

    def _last_copies(self) -> Iterator[str]:
        """A version that was somewhere is somewhere, unless its last copy was deleted by hand."""
        now: dict[str, set[str]] = {}
        hidden: set[str] = set()
        for name, region in self.grid.regions.items():
            for digest, parts, arriving, home in _rows(
                region.database,
                "select v.digest, v.parts, v.arriving, i.home from image_version v join image i on i.id = v.image"
                " order by v.digest",
            ):
                if arriving:
                    hidden.add(digest)
                    continue
                here = all(region.has(part["sha256"]) for part in msgspec.json.decode(parts))
                if here and not home:  # what is on shared volumes goes with those who read it
                    now.setdefault(digest, set()).add(name)
                elif not here:
                    yield f"{name} says that it has {digest[:12]}, and its bytes are not there"
        leaving = {
            digest
            for region in self.grid.regions.values()
            for (digest,) in _rows(
                region.database, "select digest from eviction where state in ('asked', 'leaving')"
            )
        }
        for digest, before in self.known.items():
            by_hand = {
                region for region, deleted in self.asking.deleted if deleted == digest
            } & before
            if digest in now or digest in leaving or by_hand:
                continue
            yield f"the last copy of {digest[:12]} is gone: {sorted(before)} had it"
        self.known = now | {
            digest: before
            for digest, before in self.known.items()
            if digest not in now and digest in leaving
        }

    def _asked(self) -> Iterator[str]:
        """One operation a call: nobody asked for more machines."""
        for region in self.grid.regions.values():
            found: dict[str, int] = {}
            for (name,) in _rows(region.database, "select name from machine where name like 'm%'"):
                called = name.partition("-")[0]
                found[called] = found.get(called, 0) + 1
            for name, count in found.items():
                most = self.asking.names.get(name)
                if most is not None and count > most:
                    yield f"{region.name} has {count} machines {name}, and {most} were asked for"


def _rows(database: Database, query: str) -> list[Any]:
    with database.read() as tx:
        raw: Any = tx.connection.driver_connection
        found: list[Any] = raw.execute(query).fetchall()
    return found


def _once(grid: Grid) -> Iterator[str]:
    """Concurrent asks share a transfer, and what came stays: no chunk comes twice while it is there."""
    twice = [key for key, count in grid.wan.delivered.items() if count > 1]
    yield from (f"chunk {at} of {sha256[:12]} came to {to} twice" for to, sha256, at in twice)


def _subnets(grid: Grid) -> Iterator[str]:
    """Networks of one farm don't overlap, wherever they are, in regions that have heard what they should be."""
    of: dict[str, list[tuple[str, str]]] = {}
    behind = {
        farm
        for region in grid.regions.values()
        for (farm,) in _rows(
            region.database,
            "select farm from farm_region where gone or acked <> version or state <> 'ready'"
            " union select farm from farm_spec where attention",
        )
    }
    for region in grid.regions.values():
        homes = dict(
            _rows(region.database, "select farm, home from farm_partner where farm is not null")
        )
        query = "select n.farm, n.name, n.cidr from network n join farm_spec s on s.farm = n.farm"
        for farm, name, cidr in _rows(region.database, query):
            if farm not in behind and homes.get(farm, farm) not in behind:
                of.setdefault(homes.get(farm, farm), []).append((f"{name} in {region.name}", cidr))
    for farm, networks in of.items():
        for (one, a), (other, b) in combinations(networks, 2):
            if ip_network(a).overlaps(ip_network(b)):
                yield f"{farm}: {one} and {other} overlap ({a}, {b})"


def _limited(grid: Grid) -> Iterator[str]:
    """All regions together hold no more than the limit, nor may they."""
    used = may = 0
    for region in grid.regions.values():
        account = region.ground.callers[1].account
        with region.database.read() as tx:
            raw: Any = tx.connection.driver_connection
            ((its, share),) = raw.execute(
                "select used_machines, share_machines from quota where account = ?", (account,)
            ).fetchall()
        if share >= 0:  # else it was not told of the limit yet
            used, may = used + its, may + share
    if used > LIMIT:
        yield f"the second customer has {used} machines in all, of {LIMIT}"
    if may > LIMIT:
        yield f"the second customer may have {may} machines in all, of {LIMIT}"


# --- at rest


def at_rest(asking: Asking) -> Iterator[str]:
    """After the lines were whole for long enough."""
    grid = asking.grid
    for region in grid.regions.values():
        yield from _told(grid, region)
        yield from _knows(grid, region)
        yield from _images(region)
        yield from _parts(grid, region)
        yield from _volumes(grid, region)
    yield from _evictions(grid)


def _told(grid: Grid, region: GridRegion) -> Iterator[str]:
    """The grid manager knows of each region what it says of itself."""
    with region.database.read() as tx:
        link = grid_members.link(tx)
        own = {fact.at: fact for fact in grid_facts.of(tx, region.name)}
    if link is None or link.told:
        yield f"{region.name} does not reach the grid manager: {link and link.told}"
    with grid.manager.database.read() as tx:
        there = {fact.at: fact for fact in grid_facts.of(tx, region.name)}
    for at in sorted(own.keys() | there.keys(), key=str):
        mine, its = own.get(at), there.get(at)
        if _steady(mine) != _steady(its):
            yield f"of {region.name} the grid manager believes {its}, and it is {mine}"


def _steady(fact: Fact | None) -> tuple[Any, int] | None:
    """What of a fact stands still once nobody asks for anything: how busy machines are never does."""
    if fact is None:
        return None
    return _steady_body(fact), 0 if fact.kind is FactKind.ZONE else fact.version


def _steady_body(fact: Fact) -> Any:
    if fact.kind is not FactKind.ZONE:
        return fact.body
    return {key: told for key, told in fact.body.items() if key != "used_millicpus"}


def _knows(grid: Grid, region: GridRegion) -> Iterator[str]:
    """A region knows of each other one what that says of itself, of accounts that both let in."""
    with region.database.read() as tx:
        own = grid_facts.of(tx, region.name, FactKind.ACCOUNT)
    may = {"", *(fact.key for fact in own)}
    for other in grid.regions.values():
        if other is region:
            continue
        with other.database.read() as tx:
            said = [f for f in grid_facts.of(tx, other.name) if f.audience in may]
        with region.database.read() as tx:
            known = {fact.at: _steady_body(fact) for fact in grid_facts.of(tx, other.name)}
        images = {
            (account, image, number, digest)
            for account, image, number, digest in _rows(
                region.database,
                f"select account, image, number, digest from grid_version where region = '{other.name}'",  # noqa: S608
            )
        }
        told = {
            tuple(fact.body[each] for each in ("account", "image", "number", "digest"))
            for fact in said
            if fact.kind is FactKind.IMAGE
        }
        if images != told:
            yield f"{region.name} believes that {other.name} has {images ^ told}, or not"
        rest = {f.at: _steady_body(f) for f in said if f.kind not in {FactKind.IMAGE, *_CHANGES}}
        seen = {at: body for at, body in known.items() if FactKind(at[0]) not in _CHANGES}
        for at in sorted(rest.keys() | seen.keys(), key=str):
            if rest.get(at) != seen.get(at):
                yield f"{region.name} believes of {other.name} {at}: {seen.get(at)}, and it is {rest.get(at)}"


def _images(region: GridRegion) -> Iterator[str]:
    """Nothing is on its way any more, all bytes are what they are called, and policies are as they say."""
    for image, number, told in _rows(
        region.database, "select image, number, told from transfer where state = 'wanted'"
    ):
        yield f"{image}/{number} is still on its way to {region.name}: {told}"
    for sha256 in sorted(region.store.parts()):
        if hashlib.sha256(region.store.path(sha256).read_bytes()).hexdigest() != sha256:
            yield f"{region.name} has other bytes than {sha256[:12]}"
    with region.database.read() as tx:
        lacked = image_policies.lacked(tx, region.name, region.clock.now())
    for each in lacked:
        yield f"{region.name} lacks {each.image}/{each.number}, as {each.region} wants it"


def _parts(grid: Grid, region: GridRegion) -> Iterator[str]:
    """Parts of farms are where their homes say, as they say, and nowhere else."""
    wanted = {}
    query = "select farm, region, version, acked, gone, state, told from farm_region"
    for farm, where, version, acked, gone, state, told in _rows(region.database, query):
        wanted[farm, where] = version
        if gone or version != acked or state != "ready":
            yield f"{farm} of {region.name} is {state} in {where} ({acked} of {version}{', to go' if gone else ''}): {told}"
    for other in grid.regions.values():
        query = f"select p.home, p.version from farm_partner p join farm f on f.id = p.farm where p.region = '{region.name}'"  # noqa: S608
        for home, version in _rows(other.database, query):
            if wanted.pop((home, other.name), None) != version:
                yield f"{other.name} has a part of {home} of {region.name}, as of {version}"
    yield from (f"{farm} of {region.name} has no part in {where}" for farm, where in wanted)
    orphans = "select b.name from blueprint b where b.home <> '' and not exists (select 1 from tier t where t.blueprint = b.id)"
    yield from (f"{name} is left in {region.name}" for (name,) in _rows(region.database, orphans))


def _volumes(grid: Grid, region: GridRegion) -> Iterator[str]:
    """Parts read what is on the volumes of their homes by now, and nothing is left that nobody reads."""
    query = "select volume, made, shares, told from sent_volume where made < shares or operation is not null or snapshot is not null"
    for volume, made, shares, told in _rows(region.database, query):
        yield f"{volume} of {region.name} was shared {shares} times, and copied as of {made}: {told}"
    on = "select s.volume, v.digest from sent_volume s join image_version v on v.image = s.image and v.number = s.number"
    there = {digest for other in grid.regions.values() for _, digest in _rows(other.database, on)}
    read = (
        "select c.farm, c.name, v.digest, v.arriving from came_volume c left join image_version v"
        " on v.image = c.image and v.number = c.number"
    )
    for farm, name, digest, arriving in _rows(region.database, read):
        if digest is None or arriving or digest not in there:
            yield f"{farm} of {region.name} is to read {name}, which is not here, or not what is there at home"
    with region.database.read() as tx:
        left = [
            f"{id_}/{number}"
            for id_, number in came_volumes.left(tx, 100)
            if not images.used_by(tx, images.version(tx, id_, number))
        ]
        left += map(str, came_volumes.empty(tx, 100))
    if left:
        yield f"{region.name} keeps {left}, which nobody reads"


def _evictions(grid: Grid) -> Iterator[str]:
    """What was granted is over."""
    for id_, region in _rows(grid.manager.database, "select id, region from grid_eviction"):
        open_ = f"select count(*) from eviction where id = '{id_}' and state in ('asked', 'leaving', 'done')"  # noqa: S608
        if not _rows(grid.regions[region].database, open_)[0][0]:
            yield f"{region} was granted {id_}, which it does not know"
