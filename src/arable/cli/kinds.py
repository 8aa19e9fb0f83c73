"""The kinds of documents that `arable apply` knows: what each is made from, who it is, and what of it can be changed.

A document's fields are those of the API's request. A kind says besides how the thing is recognised the next time, and
how what was asked for is found again in what the API tells of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from arable.wire.accounts import AccountChange, AccountIn, DomainIn, LimitsChange
from arable.wire.addresses import AddressChange, AddressIn
from arable.wire.balancers import BalancerChange, BalancerIn
from arable.wire.blueprints import BlueprintIn, BlueprintVersionIn
from arable.wire.farms import FarmChange, FarmIn
from arable.wire.groups import GroupIn
from arable.wire.images import ImageChange, ImageIn
from arable.wire.ipv6_ranges import Ipv6RangeIn
from arable.wire.machines import DeployIn, MachineChange
from arable.wire.networks import NetworkChange, NetworkIn
from arable.wire.offerings import DiskOfferingIn, OfferingChange, OfferingIn
from arable.wire.orders import PlanChange, PlanIn
from arable.wire.pods import PodIn
from arable.wire.public_ranges import PublicRangeIn
from arable.wire.remote_accesses import RemoteAccessChange, RemoteAccessIn
from arable.wire.rules import BetweenIn, FirewallIn, ForwardIn, StaticNatIn
from arable.wire.settings import SettingsChange
from arable.wire.ssh_keys import SshKeyImport
from arable.wire.storage_zones import StorageZoneIn
from arable.wire.users import UserChange, UserIn
from arable.wire.volumes import VolumeChange, VolumeIn
from arable.wire.vpns import VpnChange, VpnIn
from arable.wire.zones import ZoneChange, ZoneIn

EVERY_PORT = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind. Kinds are made in the order of the table, so what is referred to is there before."""

    name: str
    noun: str
    struct: type[msgspec.Struct]
    call: str = "create"
    change: type[msgspec.Struct] | None = None
    refers: Mapping[str, str] = field(default_factory=dict)  # field: noun
    by_id: Mapping[str, str] = field(
        default_factory=dict
    )  # those of them that the API takes as ids
    once: frozenset[str] = frozenset()  # can't be compared: said at creation only
    extra: tuple[str, ...] = ()  # fields of the document that are not the request's
    freely: bool = (
        False  # named as one likes: a name that the API would not take is known to the files alone
    )
    secrets: tuple[tuple[str, ...], ...] = ()
    instead: str = "arable user change-password"  # what sets them
    called: Callable[[Mapping[str, Any]], str] = lambda said: str(said.get("name", ""))
    own: bool = False  # belongs to an account: one's own is meant


def _kind(name: str, struct: type[msgspec.Struct], **but: Any) -> Kind:
    but["refers"] = dict(each.split(":") if ":" in each else (each, each) for each in but.pop("refers", "").split())  # fmt: skip
    by_id = but.pop("by_id", "").split()
    but["by_id"] = {each: but["refers"][each] for each in by_id}
    but["once"] = frozenset(but.pop("once", "").split())
    return Kind(name=name, noun=but.pop("noun", name), struct=struct, **but)


def _forward(said: Mapping[str, Any]) -> str:
    return f"{said.get('address')}:{said.get('protocol', 'tcp')}:{said.get('first_port')}"


def _firewall(said: Mapping[str, Any]) -> str:
    of = said.get("address") or said.get("network")
    first = said.get("first_port", EVERY_PORT)
    ports = f"{first}-{said['last_port']}" if said.get("last_port") else first
    parts = (
        said.get("direction", "in"),
        said.get("protocol", "tcp"),
        ports,
        said.get("cidr", "0.0.0.0/0"),
    )
    return ":".join(str(each) for each in (of, *parts))  # fmt: skip


def _between(said: Mapping[str, Any]) -> str:
    first = said.get("first_port", EVERY_PORT)
    ports = f"{first}-{said['last_port']}" if said.get("last_port") else first
    ends = f"{said.get('source')}>{said.get('network')}"
    part = f":{said['cidr']}" if said.get("cidr") else ""
    return f"{ends}:{said.get('protocol', 'tcp')}:{ports}{part}"


_ROWS = (
    _kind("settings", SettingsChange, noun="setting", called=lambda _said: "all"),
    _kind("zone", ZoneIn, change=ZoneChange, once="region vlans vnis"),
    _kind("pod", PodIn, refers="zone"),
    _kind("public-range", PublicRangeIn, refers="zone", called=lambda said: str(said.get("cidr"))),
    _kind("ipv6-range", Ipv6RangeIn, refers="zone", called=lambda said: str(said.get("cidr"))),
    _kind("offering", OfferingIn, change=OfferingChange),
    _kind("disk-offering", DiskOfferingIn),
    _kind("plan", PlanIn, change=PlanChange),
    _kind("domain", DomainIn, refers="parent:domain", by_id="parent"),
    _kind("account", AccountIn, change=AccountChange, refers="domain", by_id="domain", once="limits user",
          secrets=(("user", "password"),)),
    _kind("user", UserIn, change=UserChange, refers="account", by_id="account", secrets=(("password",),)),
    _kind("limits", LimitsChange, noun="limit", refers="account", extra=("account",),
          called=lambda said: str(said.get("account", ""))),
    _kind("image", ImageIn, change=ImageChange, own=True, refers="snapshot", once="snapshot"),
    _kind("ssh-key", SshKeyImport, call="import_key", own=True),
    _kind("blueprint", BlueprintIn, change=BlueprintVersionIn, own=True, refers="image offering"),
    _kind("storage-zone", StorageZoneIn, own=True, refers="zone"),
    _kind("farm", FarmIn, change=FarmChange, own=True, refers="zone storage_zone:storage-zone"),
    _kind("network", NetworkIn, change=NetworkChange, refers="zone farm", own=True),
    _kind("group", GroupIn, own=True),
    _kind("machine", DeployIn, call="deploy", change=MachineChange, own=True,
          refers="zone offering image farm group", once="ssh_keys user_data password disks count"),
    _kind("volume", VolumeIn, change=VolumeChange, own=True, refers="zone offering:disk-offering image snapshot machine storage_zone:storage-zone",
          extra=("machine",), once="offering image version snapshot"),
    _kind("address", AddressIn, call="acquire", change=AddressChange, own=True, refers="zone network",
          extra=("name", "network"), freely=True),
    _kind("forward", ForwardIn, noun="rule", call="forward", own=True,
          refers="address machine", by_id="address machine", called=_forward),
    _kind("static-nat", StaticNatIn, noun="rule", call="static_nat", own=True,
          refers="address machine", by_id="address machine", called=lambda said: str(said.get("address"))),
    _kind("balancer", BalancerIn, change=BalancerChange, own=True, refers="address network", by_id="address network",
          secrets=(("private_key",), ("certificate",)), instead="arable balancer update --certificate --private-key"),
    _kind("vpn", VpnIn, change=VpnChange, own=True, refers="address", by_id="address",
          secrets=(("preshared_key",),), instead="arable vpn update --preshared-key"),
    _kind("remote-access", RemoteAccessIn, change=RemoteAccessChange, own=True, refers="address", by_id="address"),
    _kind("firewall", FirewallIn, noun="rule", call="firewall", own=True,
          refers="address network", by_id="address network", called=_firewall),
    _kind("between", BetweenIn, noun="rule", call="between", own=True,
          refers="source:network network", by_id="source network", called=_between),
)  # fmt: skip

KINDS = {row.name: row for row in _ROWS}
RANK = {row.name: at for at, row in enumerate(_ROWS)}
