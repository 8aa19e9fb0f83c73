"""What one may ask of load balancers. Each change holds the network's row, so two that collide meet here."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from arable.domain import ids
from arable.domain.access import Permission
from arable.domain.balancer import (
    NAMES_PORT,
    Algorithm,
    Balancer,
    BalancerKind,
    Check,
    Member,
    Stickiness,
    Traffic,
)
from arable.domain.errors import BadInput, Conflict, NotFound, Stale
from arable.domain.guest_ipv6 import twin_of
from arable.domain.ids import AccountId, AddressId, BalancerId, MachineId, NetworkId, NicId
from arable.domain.machine import LIVING, Machine
from arable.domain.network import Network, NetworkState
from arable.domain.operation import Operation
from arable.runtime.sealed import seal
from arable.runtime.secret import Secret
from arable.services import belonging, certificates, leaving_members
from arable.services.asks import check_expected, network_changed, own_network, tell
from arable.services.call import Call
from arable.services.operations import shown
from arable.services.pages import paged
from arable.services.rules import check_port_free, cidr6_of, cidr_of, network_of, nic_of
from arable.store import balancers, machines, networks, nics, rules
from arable.store.balancers import MemberRow
from arable.wire.balancers import (
    BalancerChange,
    BalancerIn,
    BalancerMadeOut,
    BalancerOut,
    BalancerQuery,
    BalancerStatsOut,
    CheckIn,
    CheckOut,
    MemberChange,
    MemberIn,
    MemberOut,
    MemberStatsOut,
    RemoveMemberQuery,
)
from arable.wire.common import Page
from arable.wire.operations import OperationOut

MOST = 50
"""Balancers of one network: each is in every wish of its appliance."""
MOST_MEMBERS = 200

_WHAT = "balancer"
_USUALLY = RemoveMemberQuery()


def create(call: Call, ask: BalancerIn) -> BalancerMadeOut:
    """A port of an address is spread over machines; or machines are checked."""
    network, made, told = _made(call, ask)
    return _told(call, network, made, "create", told)


def make(call: Call, ask: BalancerIn) -> BalancerId:
    """The same, for whoever does not look at the answer."""
    network, made, told = _made(call, ask)
    _begun(call, network, made, "create", told)
    return made.id


def _made(call: Call, ask: BalancerIn) -> tuple[Network, Balancer, str]:
    kind, network, address, at = _place(call, ask)
    port = ask.port or 0
    if len(balancers.page(call.tx, call.caller.scope, balancers.BalancerFilter(network=network.id), limit=MOST)) >= MOST:  # fmt: skip
        raise Conflict(f"{network.name} has {MOST} balancers, and no network has more")
    _check_name(call, network.account, ask.name)
    id_ = BalancerId(call.around.ids.new("balancer"))
    certificate, sealed = _tls(call, id_, ask.certificate, ask.private_key)
    made = Balancer(
        id=id_,
        account=network.account,
        network=network.id,
        kind=kind,
        address=address,
        name=ask.name,
        port=port,
        traffic=Traffic(ask.protocol),
        algorithm=Algorithm(ask.algorithm),
        stickiness=Stickiness(ask.stickiness),
        cidr=cidr_of(ask.cidr),
        cidr6=_cidr6(network, kind, port, ask.cidr6),
        check=_check(ask.check),
        certificate=certificate,
        sealed=sealed,
        created_at=call.around.clock.now(),
    )
    _check_sense(made)
    balancers.add(call.tx, made)
    for index, member in enumerate(ask.members):
        _join(call, network, made, member, f"members.{index}")
    told = f"{at}:{port} is balanced" if port else f"{ask.name} checks its members"
    return network, made, told


def update(call: Call, balancer: BalancerId, change: BalancerChange) -> BalancerMadeOut:
    """What is said is changed."""
    found, network = _own(call, balancer, names=change.name is not UNSET)
    but: dict[str, Any] = {}
    if change.name is not UNSET and change.name != found.name:
        _check_name(call, found.account, change.name)
        but["name"] = change.name
    if change.algorithm is not UNSET:
        but["algorithm"] = Algorithm(change.algorithm)
    if change.stickiness is not UNSET:
        but["stickiness"] = Stickiness(change.stickiness)
    if change.cidr is not UNSET:
        but["cidr"] = cidr_of(change.cidr)
    if change.cidr6 is not UNSET:
        but["cidr6"] = _cidr6(network, found.kind, found.port, change.cidr6)
    if change.check is not UNSET:
        but["check"] = _check(change.check)
    if change.certificate is not UNSET or change.private_key is not UNSET:
        given = None if change.certificate is UNSET else change.certificate
        key = None if change.private_key is UNSET else change.private_key
        but["certificate"], but["sealed"] = _tls(call, balancer, given, key)
    changed = found.changed(**but)
    _check_sense(changed)
    balancers.save(call.tx, changed)
    return _told(call, network, changed, "update", f"{changed.name} was changed")


def delete(call: Call, balancer: BalancerId) -> OperationOut:
    """No longer."""
    found, network = _own(call, balancer, names=True)
    balancers.remove(call.tx, [balancer])
    tell(call, found.account, "balancer.deleted", balancer, f"{network.name}: {found.name} was deleted")  # fmt: skip
    return shown(network_changed(call, network, "balancer.delete", result={"balancer": balancer}))


def add_member(call: Call, balancer: BalancerId, ask: MemberIn) -> BalancerMadeOut:
    """One more."""
    found, network = _own(call, balancer)
    there = balancers.members(call.tx, [balancer]).get(balancer, [])
    if len(there) >= MOST_MEMBERS:
        raise _full(found)
    name = _join(call, network, found, ask, "")
    return _next(call, network, found, f"{name} joined {found.name}")


def update_member(
    call: Call, balancer: BalancerId, machine: MachineId, change: MemberChange
) -> BalancerMadeOut:
    """Another share, another port; or let it drain before it goes."""
    found, network = _own(call, balancer)
    row = _member(call, found, machine)
    said = {
        name: value
        for name in ("port", "weight", "draining")
        if (value := getattr(change, name)) is not UNSET
    }
    kept = {"port": row.port, "weight": row.weight, "draining": row.draining}
    leaving_members.changed(call, balancer, machine, f"{row.machine_name} was changed")
    member = Member(
        balancer=balancer, machine=machine, nic=row.nic, paused=row.paused, **(kept | said)
    )
    balancers.put_members(call.tx, balancer, [member])
    return _next(call, network, found, f"{row.machine_name} was changed in {found.name}")


def remove_member(
    call: Call, balancer: BalancerId, machine: MachineId, query: RemoveMemberQuery = _USUALLY
) -> OperationOut:
    """It gets nobody new from now on, and goes when nobody is at it any more, or the time for that is over."""
    found, network = _own(call, balancer)
    row = _member(call, found, machine)
    leaving_members.changed(
        call, balancer, machine, f"{row.machine_name} was asked to go once more"
    )
    operation = leaving_members.removing(
        call, found.account, balancer, machine, query.drain_seconds
    )
    if operation is None:
        return _without(call, found, network, [row])
    member = Member(
        balancer=balancer,
        machine=machine,
        nic=row.nic,
        port=row.port,
        weight=row.weight,
        draining=True,
        paused=row.paused,
    )
    balancers.put_members(call.tx, balancer, [member])
    balancers.save(call.tx, found.changed())
    networks.save(call.tx, network.changed(attention=True))
    told = f"{network.name}: {row.machine_name} leaves {found.name}"
    tell(call, found.account, "balancer.changed", found.id, told)
    return shown(operation)


def put_members(
    call: Call,
    balancer: BalancerId,
    members: Sequence[MemberIn],
    weight_zero: Collection[MachineId] = (),
) -> OperationOut:
    """These are members, as is said; those of `weight_zero`, named here or there before, drain. Others stay as they are.

    All of it is one change: one operation, one generation, one event.
    """
    found, network = _own(call, balancer)
    there = {row.machine: row for row in balancers.members(call.tx, [balancer]).get(balancer, [])}
    made: dict[MachineId, Member] = {}
    ports = _ports(call, network, members)
    for at, ask in enumerate(members):
        machine, nic = ports.get(ask.machine) or _port(call, network, ask, f"members.{at}.machine")
        made[machine] = Member(
            balancer=balancer,
            machine=machine,
            nic=nic,
            port=ask.port,
            weight=ask.weight,
            draining=machine in weight_zero,
        )
    for id_ in weight_zero:
        if id_ not in made:
            row = there.get(id_)
            if row is None:
                raise NotFound(f"{found.name} has no member {id_}")
            made[id_] = Member(
                balancer=balancer,
                machine=id_,
                nic=row.nic,
                port=row.port,
                weight=row.weight,
                draining=True,
            )
    if len(there.keys() | made.keys()) > MOST_MEMBERS:
        raise _full(found)
    balancers.put_members(call.tx, balancer, list(made.values()))
    told = f"{len(made)} members of {found.name} were put, {len(weight_zero)} of them to drain"
    return _changed(call, found, network, told)


def drop_members(call: Call, balancer: BalancerId, machines: Collection[MachineId]) -> OperationOut:
    """They get nothing new from now on, those of them that are members; one change of all of them."""
    found, network = _own(call, balancer)
    rows = balancers.members(call.tx, [balancer]).get(balancer, [])
    return _without(call, found, network, [row for row in rows if row.machine in machines])


def page(call: Call, query: BalancerQuery) -> Page[BalancerOut]:
    """Balancers in sight, by age."""
    call.caller.needs(Permission.NETWORK_READ)
    where = balancers.BalancerFilter(
        account=AccountId(query.account) if query.account else None,
        network=NetworkId(query.network) if query.network else None,
        address=AddressId(query.address) if query.address else None,
        name=query.name or "",
    )
    found = balancers.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    shapes = {shape.id: shape for shape in _shapes(call, found)}
    return paged(found, query, lambda each: shapes[each.id])


def get(call: Call, balancer: BalancerId) -> BalancerOut:
    """One."""
    call.caller.needs(Permission.NETWORK_READ)
    return _shapes(call, [balancers.get(call.tx, call.caller.scope, balancer)])[0]


def stats(call: Call, balancer: BalancerId) -> BalancerStatsOut:
    """What it does, as its appliance told last."""
    call.caller.needs(Permission.NETWORK_READ)
    balancers.get(call.tx, call.caller.scope, balancer)
    told = balancers.seen(call.tx, [balancer]).get(balancer)
    if told is None:
        raise NotFound("nothing was seen of it yet")
    at, seen = told
    rows = {row.nic: row for row in balancers.members(call.tx, [balancer]).get(balancer, [])}
    return BalancerStatsOut(
        at=at,
        sessions=seen.sessions,
        all_sessions=seen.all_sessions,
        requests=seen.requests,
        session_rate=seen.session_rate,
        request_rate=seen.request_rate,
        response_ms=seen.response_ms,
        received_bytes=seen.received_bytes,
        sent_bytes=seen.sent_bytes,
        members=[
            MemberStatsOut(
                machine=rows[one.nic].machine,
                machine_name=rows[one.nic].machine_name,
                up=one.up,
                well=one.well,
                told=one.told,
                weight=None if one.weight < 0 else one.weight,
                sessions=one.sessions,
                all_sessions=one.all_sessions,
                errors=one.errors,
                received_bytes=one.received_bytes,
                sent_bytes=one.sent_bytes,
            )
            for one in seen.members
            if one.nic in rows
        ],
    )


def _place(call: Call, ask: BalancerIn) -> tuple[BalancerKind, Network, AddressId | None, str]:
    """Where it is to be called, which has to be free: at a public address, or at the gateway of its network."""
    if ask.probe and ask.port is not None:
        raise BadInput("a probe is called by nobody, so it has no port", field="port")
    if not ask.probe and ask.port is None:
        raise BadInput("at which port is it called?", field="port")
    if ask.address is not None:
        if ask.network is not None or ask.probe:
            field = "probe" if ask.probe else "network"
            raise BadInput("one at a public address is that address's network's", field=field)
        address, network = network_of(call, AddressId(ask.address))
        _check_ready(network)
        assert ask.port is not None, "said above"
        check_port_free(call, network, address, ask.port)
        return BalancerKind.PUBLIC, network, address.id, address.address
    if ask.network is None:
        raise BadInput("where? Say a public address, or a network", field="address")
    network = (
        own_network(call, NetworkId(ask.network))
        if ask.probe
        else _named_by(call, NetworkId(ask.network))
    )
    _check_ready(network)
    if ask.port is None:
        return BalancerKind.PROBE, network, None, ""
    if ask.port == NAMES_PORT:
        raise BadInput("at this port of its gateway a network asks for names", field="port")
    other = balancers.inner_on_port(call.tx, network.id, ask.port)
    if other is not None:
        raise Conflict(
            f"port {ask.port} of {network.name} is balanced already, by {other.name}",
            field="port",
            why={"balancer": other.id},
        )
    return BalancerKind.INNER, network, None, network.gateway


def _named_by(call: Call, id_: NetworkId) -> Network:
    """A network that is held, and with it those that know what its inner balancers are called: they are to be told.

    All are held in the order of their ids, as everywhere; with its network no rule that leads to it can be made.
    """
    call.caller.needs(Permission.NETWORK_WRITE)
    networks.get(call.tx, call.caller.scope, id_)
    held = networks.by_ids(call.tx, [id_, *rules.callers(call.tx, id_)], lock=True)
    if rules.callers(call.tx, id_) - held.keys():
        raise Stale("a rule that leads to the network was made meanwhile; ask once more")
    network = held.pop(id_, None)
    if network is None:
        raise NotFound("there is no such network")
    for each in held.values():
        networks.save(call.tx, each.changed(attention=True))
    return network


def _own(call: Call, id_: BalancerId, *, names: bool = False) -> tuple[Balancer, Network]:
    """The balancer, and its network, which is held until the end of the transaction. `names`: it may be called otherwise."""
    call.caller.needs(Permission.NETWORK_WRITE)
    before = balancers.get(call.tx, call.caller.scope, id_)
    named = names and before.kind is BalancerKind.INNER
    network = _named_by(call, before.network) if named else own_network(call, before.network)
    belonging.check_free(call, id_)
    found = balancers.get(call.tx, call.caller.scope, id_)  # now nobody else can change it
    check_expected(call, found.generation, _WHAT)
    _check_ready(network)
    return found, network


def _check_ready(network: Network) -> None:
    if network.state is not NetworkState.READY:
        raise Conflict(f"{network.name} was deleted")


def _check_name(call: Call, account: AccountId, name: str) -> None:
    where = balancers.BalancerFilter(account=account, name=name)
    if balancers.page(call.tx, call.caller.scope, where, limit=1):
        raise Conflict(f"there is a balancer named {name} already", field="name")


def _cidr6(network: Network, kind: BalancerKind, port: int, asked: str | None) -> str:
    """Who may call it by IPv6, as it is kept."""
    if asked is None:
        return ""
    if kind is not BalancerKind.PUBLIC:
        raise BadInput("only one at a public address is called by IPv6", field="cidr6")
    if network.ipv6_cidr is None:
        raise Conflict(f"{network.name} has no IPv6", field="cidr6")
    if port == NAMES_PORT:
        raise BadInput("at this port of IPv6 a network asks for names", field="cidr6")
    return cidr6_of(asked, "cidr6")


def _check_sense(made: Balancer) -> None:
    if made.stickiness is Stickiness.COOKIE and made.traffic is not Traffic.HTTP:
        raise BadInput("cookies are HTTP's", field="stickiness")


def _check(ask: CheckIn) -> Check:
    if ask.lowest_status > ask.highest_status:
        raise BadInput("is above the highest", field="check.lowest_status")
    said = msgspec.structs.asdict(ask)
    return Check(**said | {"kind": Traffic(ask.kind)})


def _tls(call: Call, id_: BalancerId, certificate: str | None, key: str | None) -> tuple[str, str]:
    """The certificate, and its key sealed; neither without the other."""
    if certificate is None and key is None:
        return "", ""
    if certificate is None or key is None:
        missing = "certificate" if certificate is None else "private_key"
        raise BadInput("a certificate and its key come together", field=missing)
    around = call.around
    text, secret = certificates.checked(certificate, Secret(key), around.clock.now())
    return text, seal(around.authority, around.entropy, secret, id_)


def _machine(call: Call, network: Network, ask: MemberIn, field: str) -> tuple[Machine, NicId]:
    """The machine that is meant, and its port on the network."""
    if ids.kind_of(ask.machine) == "machine":
        machine = machines.get(call.tx, call.caller.scope, MachineId(ask.machine))
    else:
        named = machines.named(call.tx, network.account, network.zone, ask.machine)
        if named is None:
            raise NotFound(f"there is no machine named {ask.machine}", field=field)
        machine = named
    return machine, nic_of(call, network, machine.id, field).id


def _port(call: Call, network: Network, ask: MemberIn, field: str) -> tuple[MachineId, NicId]:
    machine, nic = _machine(call, network, ask, field)
    return machine.id, nic


def _ports(
    call: Call, network: Network, members: Sequence[MemberIn]
) -> dict[str, tuple[MachineId, NicId]]:
    """By their ids, looked up together, those that can be members; what is wrong with another is found by `_machine`."""
    named = [MachineId(ask.machine) for ask in members if ids.kind_of(ask.machine) == "machine"]
    found = machines.in_sight(call.tx, call.caller.scope, named)
    living = [id_ for id_, machine in found.items() if machine.wish in LIVING]
    return {
        id_: (id_, nic.id)
        for id_, here in nics.of_machines(call.tx, living).items()
        for nic in reversed(here)
        if nic.network == network.id
    }


def _join(call: Call, network: Network, balancer: Balancer, ask: MemberIn, where: str) -> str:
    """A machine becomes a member; its name."""
    field = f"{where}.machine".lstrip(".")
    machine, nic = _machine(call, network, ask, field)
    there = balancers.members(call.tx, [balancer.id]).get(balancer.id, [])
    if any(row.nic == nic for row in there):
        raise Conflict(f"{machine.name} is a member already", field=field)
    member = Member(
        balancer=balancer.id, machine=machine.id, nic=nic, port=ask.port, weight=ask.weight
    )
    balancers.put_members(call.tx, balancer.id, [member])
    return machine.name


def _full(balancer: Balancer) -> Conflict:
    return Conflict(f"{balancer.name} has {MOST_MEMBERS} members, and no balancer has more")


def _member(call: Call, balancer: Balancer, machine: MachineId) -> MemberRow:
    for row in balancers.members(call.tx, [balancer.id]).get(balancer.id, []):
        if row.machine == machine:
            return row
    raise NotFound(f"{balancer.name} has no such member")


def _without(
    call: Call, found: Balancer, network: Network, rows: Sequence[MemberRow]
) -> OperationOut:
    balancers.drop_members(call.tx, found.id, [row.nic for row in rows])
    names = ", ".join(row.machine_name for row in rows) or "nobody"
    return _changed(call, found, network, f"{names} left {found.name}")


def _changed(call: Call, found: Balancer, network: Network, told: str) -> OperationOut:
    balancers.save(call.tx, found.changed())
    tell(call, found.account, "balancer.changed", found.id, f"{network.name}: {told}")
    return shown(network_changed(call, network, "balancer.update", result={"balancer": found.id}))


def _next(call: Call, network: Network, found: Balancer, told: str) -> BalancerMadeOut:
    changed = found.changed()
    balancers.save(call.tx, changed)
    return _told(call, network, changed, "update", told)


def _begun(call: Call, network: Network, made: Balancer, verb: str, text: str) -> Operation:
    kind = "balancer.created" if verb == "create" else "balancer.changed"
    tell(call, made.account, kind, made.id, f"{network.name}: {text}")
    return network_changed(call, network, f"balancer.{verb}", result={"balancer": made.id})


def _told(call: Call, network: Network, made: Balancer, verb: str, text: str) -> BalancerMadeOut:
    operation = _begun(call, network, made, verb, text)
    return BalancerMadeOut(operation=operation.id, balancer=_shapes(call, [made])[0])


def _shapes(call: Call, found: Sequence[Balancer]) -> list[BalancerOut]:
    every = [each.id for each in found]
    members = balancers.members(call.tx, every)
    publics = balancers.publics(call.tx, {each.address for each in found if each.address})
    inner = {each.network for each in found if each.kind is BalancerKind.INNER}
    gateways = balancers.gateways(call.tx, inner)
    prefixes = balancers.prefixes(call.tx, {each.network for each in found if each.cidr6})
    seen = balancers.seen(call.tx, every)
    return [
        BalancerOut(
            id=each.id,
            account=each.account,
            network=each.network,
            name=each.name,
            kind=each.kind.value,
            address=each.address,
            public=publics[each.address] if each.address else None,
            called_at=_called_at(each, publics, gateways),
            port=each.port or None,
            protocol=each.traffic.value,
            algorithm=each.algorithm.value,
            stickiness=each.stickiness.value,
            cidr=each.cidr,
            public6=twin_of(prefixes[each.network], publics[each.address])
            if each.cidr6 and each.address
            else None,
            cidr6=each.cidr6 or None,
            check=CheckOut(
                kind=each.check.kind.value,
                path=each.check.path,
                lowest_status=each.check.lowest_status,
                highest_status=each.check.highest_status,
                interval=each.check.interval,
                timeout=each.check.timeout,
                rise=each.check.rise,
                fall=each.check.fall,
            ),
            members=_members(
                members.get(each.id, []),
                {one.nic: (one.up, one.told) for one in seen[each.id][1].members}
                if each.id in seen
                else {},
            ),
            tls=bool(each.certificate),
            certificate=each.certificate or None,
            certificate_until=certificates.until(each.certificate) if each.certificate else None,
            generation=each.generation,
            created_at=each.created_at,
        )
        for each in found
    ]


def _called_at(
    each: Balancer, publics: Mapping[AddressId, str], gateways: Mapping[NetworkId, str]
) -> str | None:
    if each.kind is BalancerKind.INNER:
        return gateways[each.network]
    return publics[each.address] if each.address else None


def _members(rows: Sequence[MemberRow], seen: dict[Any, tuple[bool, str]]) -> list[MemberOut]:
    return [
        MemberOut(
            machine=row.machine,
            machine_name=row.machine_name,
            nic=row.nic,
            address=row.to,
            port=row.port,
            weight=row.weight,
            draining=bool(row.draining or row.paused),
            up=seen[row.nic][0] if row.nic in seen else None,
            told=seen[row.nic][1] if row.nic in seen else "",
        )
        for row in rows
    ]
