"""Regions of the grid: at the grid manager as they are, at a region as it was told, with how old that is.

Both keep the same rows, so that both answer with the same words.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.event import Event
from arable.domain.ids import GridTokenId, RegionId
from arable.domain.region import Fact, FactKind, Member, MemberState, ago
from arable.runtime import tokens
from arable.runtime.sealed import seal
from arable.services import grid_manager
from arable.services.call import Call, GridRole, Joined, Prelude
from arable.services.pages import paged
from arable.store import events, evictions, grid, grid_facts, grid_members, shares
from arable.store.grid_members import TOPIC, GridToken, Link
from arable.store.nudges import nudge
from arable.wire.common import Page
from arable.wire.regions import (
    GridOut,
    GridTokenIn,
    GridTokenOut,
    JoinGridIn,
    RegionAlert,
    RegionAmount,
    RegionChange,
    RegionOut,
    RegionQuery,
    RegionZone,
)

SEALED_FOR = "grid link"
"""What a link's private key is sealed for."""
_FRESH = timedelta(seconds=30)  # what is younger is not worth a word
_SHOWN = 20  # facts that could not be read
_RANKS = {"critical": 0, "warning": 1}
_KINDS = (FactKind.ZONE, FactKind.ALERT)


def page(call: Call, query: RegionQuery) -> Page[RegionOut]:
    """All regions, as far as is known here."""
    call.caller.needs(Permission.CATALOGUE_READ)
    found = grid_members.page(call.tx, query.name, after=query.after, limit=query.limit + 1)
    known = _Known(call)
    return paged(found, query, known.shown)


def get(call: Call, region: RegionId) -> RegionOut:
    """One of them."""
    call.caller.needs(Permission.CATALOGUE_READ)
    return _Known(call).shown(grid_members.get(call.tx, region))


def delete(call: Call, region: RegionId) -> None:
    """It is in the grid no more. At the grid manager alone."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = grid_members.get(call.tx, region, lock=True)
    _only_grid(call, "remove a region")
    if found.state is MemberState.GONE:
        raise Conflict(f"{found.name} was removed already")
    grid_manager.remove(call.tx, found, call.around.clock.now())


def update(call: Call, region: RegionId, ask: RegionChange) -> RegionOut:
    """Its labels. At the grid manager alone."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = grid_members.get(call.tx, region, lock=True)
    _only_grid(call, "change a region")
    if found.state is MemberState.GONE:
        raise Conflict(f"{found.name} was removed")
    if ask.labels is not UNSET:
        found = grid_manager.label(call.tx, found, ask.labels)
    return _Known(call).shown(found)


def status(call: Call) -> GridOut:
    """Inventory, capacity, load and faults of all regions together."""
    call.caller.needs(Permission.INFRA_READ)
    known = _Known(call)
    members = [m for m in grid_members.every(call.tx) if m.state is not MemberState.GONE]
    states = [known.state(member) for member in members]
    zones = [zone for member in members for zone in known.zones(member.name)]
    link = known.link
    return GridOut(
        role=str(call.around.grid_role)
        if link or call.around.grid_role is GridRole.GRID
        else "alone",
        region=link.region if link else "",
        grid=link.grid if link else "",
        heard_at=link.heard_at if link else None,
        told=known.told_of_grid(),
        regions=len(members),
        reached=sum(state is MemberState.REACHED for state in states),
        silent=sum(state is MemberState.SILENT for state in states),
        hosts=sum(zone.hosts or 0 for zone in zones),
        hosts_up=sum(zone.hosts_up or 0 for zone in zones),
        machines=sum(zone.machines or 0 for zone in zones),
        used_millicpus=sum(zone.used_millicpus or 0 for zone in zones),
        cpu_mhz=_sum(zone.cpu_mhz for zone in zones),
        memory_mib=_sum(zone.memory_mib for zone in zones),
        disk_mib=_sum(zone.disk_mib for zone in zones),
        images=sum(known.images(member.name) for member in members),
        alerts=tuple(known.alerts(member.name for member in members)),
    )


def token(call: Call, ask: GridTokenIn) -> GridTokenOut:
    """A one-time token for a region. At the grid manager alone."""
    call.caller.needs(Permission.INFRA_WRITE)
    _only_grid(call, "make tokens for regions")
    around = call.around
    now = around.clock.now()
    issued = tokens.new_join_token(around.authority.fingerprint, around.entropy)
    made = GridToken(
        id=GridTokenId(around.ids.new("gridtoken")),
        region=ask.region,
        secret_hash=issued.digest,
        expires_at=now + timedelta(seconds=ask.seconds),
        created_at=now,
    )
    grid_members.forget_tokens(call.tx, now - timedelta(days=1))
    grid_members.add_token(call.tx, made)
    return GridTokenOut(
        id=made.id, region=made.region, expires_at=made.expires_at, token=issued.text.reveal()
    )


def joined(prelude: Prelude, ask: JoinGridIn) -> Joined:
    """Ask the grid manager to let this region in, before anything is kept here."""
    prelude.caller.needs(Permission.INFRA_WRITE)
    _address(ask.grid)
    if prelude.around.grid_role is GridRole.GRID:
        raise Conflict("this is a grid manager, no region")
    if prelude.around.grid is None:
        raise Conflict("this management server can't join a grid")
    with prelude.look() as call:
        if (link := grid_members.link(call.tx)) is not None:
            raise Conflict(f"this region is in a grid already, as {link.region}; leave it first")
    return prelude.around.grid.join(ask.grid, ask.token, ask.name)


def join(call: Call, ask: JoinGridIn, made: Joined) -> GridOut:
    """Keep what the grid manager gave: from now on this is a region of its grid."""
    call.caller.needs(Permission.INFRA_WRITE)
    around = call.around
    link = Link(
        region=ask.name,
        grid=ask.grid,
        authorities=made.authorities,
        certificate=made.certificate,
        key_sealed=seal(around.authority, around.entropy, made.key, SEALED_FOR),
        joined_at=around.clock.now(),
    )
    grid_members.add_link(call.tx, link)
    nudge(call.tx, TOPIC)
    _tell(call, "grid.joined", f"this region joined the grid at {ask.grid} as {ask.name}")
    return status(call)


def leave(call: Call) -> GridOut:
    """Forget the grid and all that it told. Remove the region at the grid manager as well, or it is missed there."""
    call.caller.needs(Permission.INFRA_WRITE)
    evictions.give_up(call.tx, call.around.clock.now())
    link = grid_members.remove_link(call.tx)
    shares.drop_all(call.tx)
    nudge(call.tx, TOPIC)
    _tell(call, "grid.left", f"this region, {link.region}, left the grid at {link.grid}")
    return status(call)


class _Known:
    """What is known here, read when it is first needed."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._now = call.around.clock.now()
        self._is_grid = call.around.grid_role is GridRole.GRID
        self._all = Permission.INFRA_READ in call.caller.permissions
        self.link = None if self._is_grid else grid_members.link(call.tx)
        self._facts: Mapping[str, list[Fact]] = grid_facts.of_kinds(call.tx, _KINDS)
        self._images: Mapping[str, int] = self._counted()

    def state(self, member: Member) -> MemberState:
        """At a region: as the grid manager said, for it may be that only this one is cut off."""
        return member.state_at(self._now) if self._is_grid else member.state

    def shown(self, member: Member) -> RegionOut:
        """As it looks outside."""
        own = self.link is not None and self.link.region == member.name
        alerts = sum(f.kind is FactKind.ALERT for f in self._facts.get(member.name, ()))
        return RegionOut(
            id=member.id,
            name=member.name,
            state=str(MemberState.REACHED if own else self.state(member)),
            own=own,
            as_of=self._now if own else member.heard_at,
            told="" if own else self._told(member),
            zones=tuple(self.zones(member.name)),
            alerts=alerts if self._all else 0,
            images=self.images(member.name),
            address=member.url if self._all else "",
            software=member.software,
            labels=member.labels,
            refused=tuple(self._refused(member.name)),
            created_at=member.created_at,
        )

    def _refused(self, region: str) -> list[str]:
        """What it said and nobody could read."""
        if not self._all or not self._is_grid:
            return []
        found = grid_facts.aside(self._call.tx, region)
        return [f"{kind} {key}: {told}" for (kind, key), told in sorted(found.items())[:_SHOWN]]

    def zones(self, region: str) -> list[RegionZone]:
        """What that region said of its zones."""
        facts = (f for f in self._facts.get(region, ()) if f.kind is FactKind.ZONE)
        return [_zone(fact, figures=self._all) for fact in facts]

    def images(self, region: str) -> int:
        """How many versions it told of."""
        return self._images.get(region, 0)

    def alerts(self, regions: Iterable[str]) -> list[RegionAlert]:
        """Open ones, the worst first."""
        found = [
            _alert(region, fact)
            for region in regions
            for fact in self._facts.get(region, ())
            if fact.kind is FactKind.ALERT
        ]
        return sorted(found, key=lambda each: (_RANKS.get(each.severity, 2), each.since))

    def told_of_grid(self) -> str:
        """What is wrong between this region and the grid manager."""
        if self._is_grid or self.link is None:
            return "" if self._is_grid else "this region is in no grid"
        said = self.link.told
        if self.link.heard_at is None:
            return said or "the grid manager was not heard yet"
        span = self._now - self.link.heard_at
        if span < _FRESH and not said:
            return ""
        old = f"the grid manager was last heard {ago(span)} ago"
        return f"{old}; {said}" if said else old

    def _told(self, member: Member) -> str:
        if member.state is MemberState.GONE:
            return f"{member.name} was removed from the grid"
        parts = []
        if member.heard_at is None:
            parts.append(f"{member.name} was never heard")
        elif (span := self._now - member.heard_at) >= _FRESH:
            parts.append(f"{member.name} was last heard {ago(span)} ago")
        if self.link and self.link.heard_at and self._now - self.link.heard_at >= _FRESH:
            parts.append(f"the grid manager {ago(self._now - self.link.heard_at)} ago")
        return ", ".join(parts)

    def _counted(self) -> Mapping[str, int]:
        counts = dict(grid_facts.counts(self._call.tx, FactKind.IMAGE))
        if not self._is_grid:
            counts |= grid.counts(self._call.tx)
        return counts


def _zone(fact: Fact, *, figures: bool) -> RegionZone:
    body: dict[str, Any] = fact.body
    shown = RegionZone(id=fact.key, name=body["name"], enabled=body["enabled"])
    if not figures:
        return shown
    return RegionZone(
        id=fact.key,
        name=body["name"],
        enabled=body["enabled"],
        hosts=body["hosts"],
        hosts_up=body["hosts_up"],
        machines=body["machines"],
        used_millicpus=body["used_millicpus"],
        cpu_mhz=_amount(body["cpu_mhz"]),
        memory_mib=_amount(body["memory_mib"]),
        disk_mib=_amount(body["disk_mib"]),
        free_addresses=body["addresses"]["free"],
    )


def _amount(body: Mapping[str, int]) -> RegionAmount:
    return RegionAmount(total=body["total"], reserved=body["reserved"], idle=body["idle"])


def _sum(amounts: Iterable[RegionAmount | None]) -> RegionAmount:
    there = [each for each in amounts if each is not None]
    return RegionAmount(
        total=sum(each.total for each in there),
        reserved=sum(each.reserved for each in there),
        idle=sum(each.idle for each in there),
    )


def _alert(region: str, fact: Fact) -> RegionAlert:
    body: dict[str, Any] = fact.body
    return RegionAlert(
        region=region,
        id=fact.key,
        kind=body["kind"],
        severity=body["severity"],
        name=body["name"],
        text=body["text"],
        since=datetime.fromisoformat(body["since"]),
    )


def _only_grid(call: Call, what: str) -> None:
    if call.around.grid_role is not GridRole.GRID:
        raise Conflict(f"only the grid manager can {what}: ask it")


def _address(text: str) -> None:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise BadInput("this is not HOST:PORT", field="grid")


def _tell(call: Call, kind: str, text: str) -> None:
    at = call.around.clock.now()
    events.add_many(call.tx, [Event(at=at, account=None, kind=kind, subject="grid", text=text)])
