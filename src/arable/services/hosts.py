"""Hosts and the tokens they join by: what an operator may ask of them. What hosts ask stands in `agents.py`."""

from datetime import timedelta
from typing import Any

import msgspec

from arable.domain.access import Permission
from arable.domain.errors import BadInput, Conflict
from arable.domain.host import DIMENSIONS, Host, HostState, JoinToken
from arable.domain.ids import HostId, JoinTokenId, PodId, ZoneId, kind_of
from arable.domain.pool import SHARED
from arable.domain.settings import JOIN_TOKEN_SECONDS
from arable.runtime import tokens
from arable.services import host_health, pods
from arable.services.asks import check_expected
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import hosts, join_tokens, pools, settings
from arable.store.hosts import HostFilter
from arable.store.join_tokens import JoinTokenFilter
from arable.store.nudges import nudge
from arable.wire.common import Page
from arable.wire.hosts import (
    CapacityOfHost,
    HostChange,
    HostDetailOut,
    HostOut,
    HostQuery,
    JoinTokenIn,
    JoinTokenOut,
    JoinTokenQuery,
    NewJoinTokenOut,
)

_ROLES = ("compute",)  # of a new host of which nothing was said


def create_token(call: Call, ask: JoinTokenIn) -> NewJoinTokenOut:
    """A token that lets one host join, or join anew; its text is in this answer and nowhere else."""
    call.caller.needs(Permission.INFRA_WRITE)
    pod, host = _place(call, ask)
    seconds = ask.seconds or settings.get(call.tx, JOIN_TOKEN_SECONDS)
    issued = tokens.new_join_token(call.around.authority.fingerprint, call.around.entropy)
    now = call.around.clock.now()
    token = JoinToken(
        id=JoinTokenId(call.around.ids.new("jointoken")),
        pod=pod,
        secret_hash=issued.digest,
        roles=host.roles if host else tuple(sorted(set(ask.roles or _ROLES))),
        tags=host.tags if host else tuple(sorted(set(ask.tags))),
        host=host.id if host else None,
        expires_at=now + timedelta(seconds=seconds),
        created_at=now,
    )
    join_tokens.add(call.tx, token)
    known = msgspec.structs.asdict(_token_out(token))
    return NewJoinTokenOut(**known, token=issued.text.reveal())


def page_tokens(call: Call, query: JoinTokenQuery) -> Page[JoinTokenOut]:
    """Join tokens by age, used ones too."""
    call.caller.needs(Permission.INFRA_READ)
    where = JoinTokenFilter(pod=PodId(query.pod) if query.pod else None)
    found = join_tokens.page(call.tx, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, _token_out)


def delete_token(call: Call, token: JoinTokenId) -> None:
    """Nobody can join by it any more; a host that has stays."""
    call.caller.needs(Permission.INFRA_WRITE)
    join_tokens.get(call.tx, token)
    join_tokens.remove(call.tx, token)


def page(call: Call, query: HostQuery) -> Page[HostOut]:
    """Hosts by age."""
    call.caller.needs(Permission.INFRA_READ)
    where = HostFilter(
        zone=ZoneId(query.zone) if query.zone else None,
        pod=PodId(query.pod) if query.pod else None,
        name=query.name,
        states=tuple(HostState(state) for state in query.state),
        maintenance=query.maintenance,
    )
    found = hosts.page(call.tx, where, after=query.after, limit=query.limit + 1)
    return paged(found, query, shown)


def get(call: Call, host: HostId) -> HostDetailOut:
    """One host, and who sees it."""
    call.caller.needs(Permission.INFRA_READ)
    return host_health.detail(call, shown(hosts.get(call.tx, host)))


def update(call: Call, host: HostId, ask: HostChange) -> HostOut:
    """What is said is changed; over-commit never below what is reserved already (rule 2)."""
    call.caller.needs(Permission.INFRA_WRITE)
    before = hosts.get(call.tx, host, lock=True)
    check_expected(call, before.generation, "host")
    said: dict[str, Any] = msgspec.to_builtins(ask)
    for name in ("roles", "tags"):
        if name in said:
            said[name] = tuple(sorted(set(said[name])))
    if not said.get("maintenance", before.maintenance):
        if said.get("maintenance_stops"):
            raise BadInput(
                "machines are stopped only in maintenance; set `maintenance`, too",
                field="maintenance_stops",
            )
        said["maintenance_stops"] = False
    after = before.changed(**said)
    if "compute" in after.roles and after.pool and pools.get(call.tx, after.pool).kind in SHARED:
        raise BadInput("a host whose disks are shared runs no machines", field="roles")
    for dimension in DIMENSIONS:
        reserved, limit = after.reserved(dimension), after.limit(dimension)
        if reserved > limit:
            raise Conflict(
                f"{reserved} are reserved, and only {limit} could be",
                field=f"{dimension.partition('_')[0]}_percent",
            )
    hosts.change(call.tx, before, said)
    nudge(call.tx, "machines")  # some may wait for just this room
    if (after.maintenance, after.maintenance_stops) != (
        before.maintenance,
        before.maintenance_stops,
    ):
        nudge(call.tx, "hosts")  # it is to be emptied, or no more
    return shown(after)


def declare_down(call: Call, host: HostId) -> HostOut:
    """An operator says that a silent one is down."""
    host_health.declare_down(call, host)
    return shown(hosts.get(call.tx, host))


def delete(call: Call, host: HostId) -> None:
    """Only when nothing is there. Its certificate is worth nothing from then on."""
    call.caller.needs(Permission.INFRA_WRITE)
    found = hosts.get(call.tx, host, lock=True)
    check_expected(call, found.generation, "host")
    hosts.remove(call.tx, found)


def named(call: Call, name: str, field: str = "host") -> Host:
    """The host that a body names, by name or id."""
    if kind_of(name) == "host":
        return hosts.get(call.tx, HostId(name))
    found = hosts.page(call.tx, HostFilter(name=name), limit=1)
    if not found:
        raise BadInput(f"there is no host {name}", field=field)
    return found[0]


def _place(call: Call, ask: JoinTokenIn) -> tuple[PodId, Host | None]:
    """The pod that may be joined, and the host that alone may; None for a new one."""
    if ask.host is None:
        if ask.pod is None:
            raise BadInput(
                "say in which pod a new host is, or which host is let in anew", field="pod"
            )
        return pods.named(call, ask.pod).id, None
    for field, said in (("pod", ask.pod), ("roles", ask.roles), ("tags", ask.tags)):
        if said:
            raise BadInput(f"a host that is let in anew keeps its {field}", field=field)
    host = named(call, ask.host)
    return host.pod, host


def _token_out(token: JoinToken) -> JoinTokenOut:
    return JoinTokenOut(
        id=token.id,
        pod=token.pod,
        roles=token.roles,
        tags=token.tags,
        expires_at=token.expires_at,
        used_at=token.used_at,
        host=token.host,
        created_at=token.created_at,
    )


def shown(host: Host) -> HostOut:
    """As the API shows it."""
    amounts = {
        dimension: CapacityOfHost(
            installed=getattr(host, dimension),
            percent=host.percent(dimension),
            total=host.limit(dimension),
            reserved=host.reserved(dimension),
        )
        for dimension in DIMENSIONS
    }
    return HostOut(
        id=host.id,
        name=host.name,
        zone=host.zone,
        pod=host.pod,
        state=host.state.value,
        told=host.told,
        powered_off=host.powered_off,
        maintenance=host.maintenance,
        maintenance_stops=host.maintenance_stops,
        roles=host.roles,
        tags=host.tags,
        facts=host.facts,
        pool=host.pool,
        machines=host.machines,
        cpus=host.cpus,
        server=host.server,
        seen_at=host.seen_at,
        generation=host.generation,
        created_at=host.created_at,
        **amounts,
    )
