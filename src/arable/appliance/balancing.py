"""Balancers as typed values, checked once, as all else of a router is (`router.py`).

What ends up in haproxy's configuration is an id, an address, a number, a word of ours, or a path of letters and few
signs. A certificate and its key go into a file of their own, which haproxy reads as PEM and never as configuration.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from arable.appliance.six import Six
from arable.appliance.values import host_in, own_public, to_address, to_network, to_network6
from arable.domain.balancer import (
    NAMES_PORT,
    Algorithm,
    BalancerWish,
    Check,
    MemberWish,
    Stickiness,
    Traffic,
)
from arable.domain.errors import BadInput
from arable.domain.ids import BalancerId, NicId, check

MOST_WEIGHT = 256
"""As haproxy has it."""
PATH = r"/[A-Za-z0-9/._~=&?:@+-]{0,254}"
"""Of health checks: nothing that is quoted, substituted or commented in a configuration."""

_path = re.compile(PATH)
_PEM = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{1,40}-----\n([A-Za-z0-9+/=]{1,76}\n)+-----END [A-Z0-9 ]{1,40}-----\n)+"
)
_LAST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A machine's port behind a balancer. Weight 0: only who was there before comes back."""

    nic: NicId
    to: IPv4Address
    port: int
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Balanced:
    """What comes to `at`:`port` from `clients` goes to one of `servers`. `pem`: certificate and key, or neither.

    An `inner` one is at the gateway. With port 0 nothing comes to it: its servers are checked. What comes by IPv6 comes
    to the same port of `at6`, from `clients6`; both are None where nothing does.
    """

    id: BalancerId
    at: IPv4Address
    inner: bool
    port: int
    clients: IPv4Network
    traffic: Traffic
    algorithm: Algorithm
    stickiness: Stickiness
    check: Check
    servers: tuple[Server, ...]
    at6: IPv6Address | None = None
    clients6: IPv6Network | None = None
    pem: str = field(default="", repr=False)


def balanced(
    wishes: Sequence[BalancerWish],
    inners: Sequence[BalancerWish],
    publics: Sequence[IPv4Address],
    cidr: IPv4Network,
    gateway: IPv4Address,
    of_six: Six | None = None,
) -> tuple[Balanced, ...]:
    """All balancers of a router, in order of id. Raises `BadInput` naming the field that can't be."""
    made = [
        _balanced(wish, publics, cidr, gateway, of_six, f"balancers.{at}")
        for at, wish in enumerate(wishes)
    ]
    made += [
        _balanced(wish, None, cidr, gateway, of_six, f"inners.{at}")
        for at, wish in enumerate(inners)
    ]
    made.sort(key=lambda each: each.id)
    _distinct((each.id for each in made), "balancers")
    _distinct(((each.at, each.port) for each in made if each.port), "balancers")
    return tuple(made)


def _balanced(
    wish: BalancerWish,
    publics: Sequence[IPv4Address] | None,
    cidr: IPv4Network,
    gateway: IPv4Address,
    of_six: Six | None,
    where: str,
) -> Balanced:
    if wish.stickiness is Stickiness.COOKIE and wish.traffic is not Traffic.HTTP:
        raise BadInput("cookies are HTTP's", field=f"{where}.stickiness")
    if publics is None:
        at, port = gateway, _inner_port(wish, f"{where}.port")
    else:
        field = f"{where}.public"
        at, port = (
            own_public(to_address(wish.public, field), publics, field),
            _port(wish.port, f"{where}.port"),
        )
    servers = [
        _server(member, cidr, gateway, f"{where}.members.{at}")
        for at, member in enumerate(wish.members)
    ]
    servers.sort(key=lambda each: each.nic)
    _distinct((each.nic for each in servers), f"{where}.members")
    clients6 = _clients6(wish, of_six, f"{where}.cidr6")
    return Balanced(
        id=BalancerId(check("balancer", wish.id, f"{where}.id")),
        at=at,
        inner=publics is None,
        port=port,
        clients=to_network(wish.cidr, f"{where}.cidr"),
        traffic=wish.traffic,
        algorithm=wish.algorithm,
        stickiness=wish.stickiness,
        check=_checked(wish.check, f"{where}.check"),
        servers=tuple(servers),
        at6=of_six.twin(at) if clients6 and of_six else None,
        clients6=clients6,
        pem=_pem(wish, where),
    )


def _clients6(wish: BalancerWish, of_six: Six | None, where: str) -> IPv6Network | None:
    if not wish.cidr6:
        return None
    if not wish.public:
        raise BadInput("by IPv6 only a public one is called", field=where)
    if of_six is None:
        raise BadInput("the network has no IPv6", field=where)
    if wish.port == NAMES_PORT:
        raise BadInput("there the router itself answers for names", field=where)
    return to_network6(wish.cidr6, where)


def _server(wish: MemberWish, cidr: IPv4Network, gateway: IPv4Address, where: str) -> Server:
    to = host_in(cidr, wish.to, f"{where}.to")
    if to == gateway:
        raise BadInput("nothing is led to the router itself", field=f"{where}.to")
    if not 0 <= wish.weight <= MOST_WEIGHT:
        raise BadInput(f"not from 0 to {MOST_WEIGHT}", field=f"{where}.weight")
    return Server(
        nic=NicId(check("nic", wish.nic, f"{where}.nic")),
        to=to,
        port=_port(wish.port, f"{where}.port"),
        weight=wish.weight,
    )


def _checked(asked: Check, where: str) -> Check:
    if not _path.fullmatch(asked.path):
        raise BadInput("no path of letters, digits and few signs", field=f"{where}.path")
    if not 100 <= asked.lowest_status <= asked.highest_status <= 599:
        raise BadInput("no range of statuses", field=f"{where}.lowest_status")
    for name, most in (("interval", 3600), ("timeout", 3600), ("rise", 100), ("fall", 100)):
        if not 1 <= getattr(asked, name) <= most:
            raise BadInput(f"not from 1 to {most}", field=f"{where}.{name}")
    return asked


def _pem(wish: BalancerWish, where: str) -> str:
    if bool(wish.certificate) != bool(wish.key):
        missing = "key" if wish.certificate else "certificate"
        raise BadInput("a certificate needs its key, and a key its certificate", field=f"{where}.{missing}")  # fmt: skip
    for name in ("certificate", "key"):
        text = getattr(wish, name)
        if text and not _PEM.fullmatch(text):
            raise BadInput("this is not PEM", field=f"{where}.{name}")
    return wish.certificate + wish.key


def _inner_port(wish: BalancerWish, where: str) -> int:
    if wish.public:
        raise BadInput("one at a public address is no inner one", field=where)
    if wish.port == NAMES_PORT:
        raise BadInput("there the router itself answers for names", field=where)
    return _port(wish.port, where) if wish.port else 0


def _port(port: int, where: str) -> int:
    if not 1 <= port <= _LAST_PORT:
        raise BadInput(f"{port} is no port", field=where)
    return port


def _distinct(values: Iterable[object], where: str) -> None:
    ranked = sorted(values, key=repr)
    if any(one == other for one, other in itertools.pairwise(ranked)):
        raise BadInput("something is named twice", field=where)
