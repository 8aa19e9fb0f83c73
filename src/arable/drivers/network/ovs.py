"""Guest networks on Open vSwitch: 802.1Q or VXLAN between hosts, port security and limits by OpenFlow.

The same code drives the userspace datapath (emulated hosts) and the kernel's (real ones); it asks which one the
bridge has. The bridge and its uplink are there already: an operator, or `switch.py` for an emulated host, makes
them. This driver closes the bridge (`fail_mode=secure`), so that what no rule lets in does not pass.

The order of a port's making is its safety. Its row goes into the switch's database first, with all facts and a
number we choose: from then on whatever a crash leaves behind is known, and is finished by `ensure` or taken away by
`remove`. Then the device (down), then the rules for that number, then the device goes up. A port without rules has
no traffic, so a guest never has an unguarded instant. Removal goes the other way round, the row last.

When `ovs-vswitchd` restarts it has lost all rules. The host's own are given back by whoever looks (`ports`), since
the agent's way to its server may go through them; ports without rules are not listed, so the agent ensures them.

A VNI has one port more than those that were asked for: its tunnel (`tunnels.py`), made with the first and removed after
the last. It is in the database before its device, too; one that has no port any more is taken away by whoever looks.

A device that exists already is used: a tap counts as ours and goes with its port; anything else under a guest's
port (one end of somebody's veth) is adopted, plugged in and guarded like a tap, and left where it is at the end.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import TypeVar

from arable.domain.errors import BadInput, Conflict, Stale, Unavailable
from arable.domain.ids import NicId
from arable.domain.layer2 import is_vlan, is_vni
from arable.drivers.network import bridge as b
from arable.drivers.network import flows, hostguard, tunnels
from arable.drivers.network.bridge import Bridge, Held, Origin, Plug
from arable.drivers.network.links import GROUP, Link, Links
from arable.drivers.network.openflow import OpenFlow
from arable.drivers.network.ovsdb import Operation, Ovsdb, first
from arable.drivers.network.protocol import Port, PortKind, Reach
from arable.drivers.network.tunnels import Tunnels
from arable.runtime.clock import Clock

T = TypeVar("T")

NATIVE = 1  # the VLAN of untagged frames on the uplink: management

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")
_MAC = re.compile(r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}")  # of one device, not of a group
_TRIES = 5


class OvsNetwork:
    """`Network` on one Open vSwitch bridge. `netns` is where its devices live; None: where we are."""

    def __init__(
        self,
        db: str,
        bridge: str,
        uplink: str,
        clock: Clock,
        *,
        rundir: Path | None = None,
        netns: str | None = None,
        native: int = NATIVE,
        patience: float = 20.0,
        tunnel: str = "",
    ) -> None:
        """`tunnel` is the host's own address on the network that VXLAN goes over; without one it has no VNIs."""
        self._db = db
        self._bridge = bridge
        self._uplink = uplink
        self._clock = clock
        self._netns = netns
        self._native = native
        self._patience = patience
        rundir = rundir or Path(db.removeprefix("unix:")).parent
        self._openflow = OpenFlow(rundir, bridge, patience)
        self._links = Links(netns)
        self._tunnels = Tunnels(netns, tunnel) if tunnel else None
        self._apart = False
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        with self._conversation() as db:
            userspace = b.read(db, self._bridge).userspace
        return "ovs (netdev)" if userspace else "ovs (kernel)"

    def prepare(self) -> None:
        """The bridge is closed and carries management; what every other verb begins with."""
        self._agreeing(lambda db: self._lay(db) and None)

    def ports(self) -> Mapping[NicId, Port]:
        return self._agreeing(self._ports)

    def ensure(self, port: Port) -> None:
        self._check(port)
        self._agreeing(lambda db: self._ensure(db, port))

    def remove(self, nic: NicId) -> None:
        self._agreeing(lambda db: self._remove(db, nic))

    def vlans(self) -> frozenset[int]:
        with self._conversation() as db:
            bridge = b.read(db, self._bridge)
        uplink = self._uplink_of(bridge)
        own = {plug.tag for plug, _ in bridge.ours.values() if plug.tag is not None} - {b.NOWHERE}
        own |= {held.port.vlan for _, held in bridge.ours.values() if is_vni(held.port.vlan)}
        others = {plug.tag for plug in bridge.plugs.values() if not plug.ours}
        return frozenset(own | bridge.tunnels.keys() | (uplink.trunks - others - {self._native}))

    def reaches(self) -> Mapping[int, Reach]:
        return self._agreeing(self._reaches)

    def reach(self, reach: Reach) -> None:
        self._check_reach(reach)
        self._agreeing(lambda db: self._reach(db, reach))

    def unreach(self, vni: int) -> None:
        self._agreeing(lambda db: self._unreach(db, vni))

    # -- the verbs ------------------------------------------------------------------------------

    def _ports(self, db: Ovsdb) -> dict[NicId, Port]:
        bridge, rules, links = self._lay(db)
        return {
            nic: held.port
            for nic, (plug, held) in bridge.ours.items()
            if self._complete(plug, held, bridge, rules, links)
        }

    def _ensure(self, db: Ovsdb, port: Port) -> None:
        bridge, rules, links = self._lay(db)
        self._check_device(bridge, port)
        plug, held = bridge.ours.get(port.nic, (None, None))
        if plug and held:
            if held.port == port and self._complete(plug, held, bridge, rules, links):
                return
            if not self._can_stay(plug, held, port, links):
                self._unplug(db, bridge, plug, held, keep_device=held.port.device == port.device)
                bridge = b.read(db, self._bridge)
                plug = held = None
        limited = bool(held and held.port.rate_kbps)
        if plug and held:
            held = replace(held, port=port)
            db.change(bridge.unchanged(), *b.changing(plug, held))
        else:
            held = self._new(bridge, port, links)
            more = self._way(bridge, held)
            db.transact(bridge.unchanged(), *b.adding(bridge, held), *more)
        self._make_device(port, userspace=bridge.userspace)
        if is_vni(port.vlan):
            self._dig(db, port.vlan)
        self._openflow.install(flows.of_port(held.number, port))
        number = held.number
        if limited and not port.rate_kbps:
            self._openflow.remove_meters(number)
        self._connected(db, port.device, number)
        self._links.raise_up(port.device)

    def _connected(self, db: Ovsdb, device: str, number: int) -> None:
        """The switch has the device by that number when this returns."""
        db.until(
            "Interface",
            [["name", "==", device]],
            ["ofport"],
            lambda row: bool(first(row["ofport"]) == number),
        )

    def _remove(self, db: Ovsdb, nic: NicId) -> None:
        bridge = b.read(db, self._bridge)
        if nic in bridge.ours:
            self._unplug(db, bridge, *bridge.ours[nic], keep_device=False)

    def _reaches(self, db: Ovsdb) -> dict[int, Reach]:
        bridge = b.read(db, self._bridge)
        if self._tunnels is None:
            return {}
        self._let_in(bridge)
        there = {vni: self._tunnels.leads(vni) for vni in bridge.reaches}
        return {
            vni: reach
            for vni, reach in bridge.reaches.items()
            if there[vni] in (None, (reach.hosts, reach.mtu))
        }

    def _reach(self, db: Ovsdb, reach: Reach) -> None:
        bridge = b.read(db, self._bridge)
        if bridge.reaches.get(reach.vni) != reach:
            db.change(bridge.unchanged(), *b.reaching(bridge, reach))
            bridge = b.read(db, self._bridge)
        self._let_in(bridge)
        self._lead(bridge, reach.vni)

    def _unreach(self, db: Ovsdb, vni: int) -> None:
        bridge = b.read(db, self._bridge)
        if vni in bridge.reaches:
            db.change(bridge.unchanged(), *b.leaving(bridge, vni))
            bridge = b.read(db, self._bridge)
        if self._tunnels is not None:
            self._lead(bridge, vni)
            self._let_in(bridge)

    # -- their steps ----------------------------------------------------------------------------

    def _lay(self, db: Ovsdb) -> tuple[Bridge, Counter[int], Mapping[str, Link]]:
        """The bridge as it should be, with the rules it holds and the devices of the host."""
        bridge = b.read(db, self._bridge)
        changes = self._corrections(bridge)
        if changes:
            db.change(bridge.unchanged(), *changes)
            bridge = b.read(db, self._bridge)
        for vni in bridge.tunnels.keys() - {held.port.vlan for _, held in bridge.ours.values()}:
            bridge = self._fill(db, bridge, vni)
        links = self._links.all()
        if bridge.userspace:
            self._keep_host_apart(links)
        if self._tunnels is not None:
            self._let_in(bridge)
        rules = self._openflow.held()
        uplink = self._uplink_of(bridge)
        others = [
            plug.number
            for plug in bridge.plugs.values()
            if plug.number > 0 and not plug.ours and plug.name != uplink.name
        ]
        wanted = flows.of_bridge(uplink.number, others, self._native)
        if rules[wanted.cookie] != len(wanted.flows):
            self._openflow.install(wanted)
        self._sweep(bridge, rules)
        return bridge, rules, links

    def _corrections(self, bridge: Bridge) -> list[Operation]:
        uplink = self._uplink_of(bridge)
        changes: list[Operation] = []
        if bridge.fail_mode != "secure":
            changes += b.closing(bridge)
        trunks = frozenset({self._native, *self._tags(bridge)})
        if (uplink.vlan_mode, uplink.tag, uplink.trunks) != (
            "native-untagged",
            self._native,
            trunks,
        ):
            changes += b.trunking(uplink, self._native, trunks)
        for plug in bridge.plugs.values():
            if plug.name != uplink.name and plug.tag is None and not plug.trunks:
                changes += b.tagging(plug, self._native)
        return changes

    def _keep_host_apart(self, links: Mapping[str, Link]) -> None:
        if not self._apart or not hostguard.stands(self._netns):
            hostguard.raise_up(
                self._netns
            )  # once in any case: its rules may be newer than those loaded
            self._apart = True
        uplink = links.get(self._uplink)
        if uplink and uplink.group != GROUP:
            self._links.make_quiet(self._uplink, offloads=False)

    def _sweep(self, bridge: Bridge, rules: Counter[int]) -> None:
        """Rules of ports that are no more: a crash came between them and their row."""
        known = {0, *(held.number for _, held in bridge.ours.values())}
        known |= {plug.promised for plug in bridge.tunnels.values()}
        for number in {flows.number_in(cookie) for cookie in rules} - known:
            self._openflow.remove(number)

    def _new(self, bridge: Bridge, port: Port, links: Mapping[str, Link]) -> Held:
        there = links.get(port.device)
        adopted = there is not None and port.kind is not PortKind.VETH and there.kind != "tun"
        return Held(port, bridge.free_number(), Origin.ADOPTED if adopted else Origin.MADE)

    def _make_device(self, port: Port, *, userspace: bool) -> None:
        if self._links.find(port.device) is None:
            if port.kind is not PortKind.VETH:
                self._links.make_tap(port.device)
            else:
                self._links.make_veth(port.device, port.peer)
                if userspace:
                    self._links.make_quiet(port.peer, offloads=False)
        self._links.make_quiet(port.device, offloads=not userspace)

    def _can_stay(self, plug: Plug, held: Held, port: Port, links: Mapping[str, Link]) -> bool:
        """Whether the port becomes what is wanted without being taken out of the switch first.

        The switch does not notice when a device is replaced by another one of the same name.
        """
        was = held.port
        lasting = (was.kind, was.vlan, was.device, was.peer)
        lost = plug.name not in links and (plug.number > 0 or held.origin is Origin.ADOPTED)
        return (
            lasting == (port.kind, port.vlan, port.device, port.peer)
            and plug.tag == b.tag_of(port)
            and plug.number in (held.number, 0, -1)
            and not lost
        )

    def _complete(
        self,
        plug: Plug,
        held: Held,
        bridge: Bridge,
        rules: Counter[int],
        links: Mapping[str, Link],
    ) -> bool:
        wanted = flows.of_port(held.number, held.port)
        link = links.get(plug.name)
        vlan = held.port.vlan
        return (
            plug.tag == b.tag_of(held.port)
            and plug.number == held.number
            and not plug.error
            and (
                self._dug(bridge, vlan, rules, links)
                if is_vni(vlan)
                else vlan in self._uplink_of(bridge).trunks
            )
            and rules[wanted.cookie] == len(wanted.flows)
            and link is not None
            and link.up
            and link.group == GROUP
        )

    def _unplug(
        self, db: Ovsdb, bridge: Bridge, plug: Plug, held: Held, *, keep_device: bool
    ) -> None:
        """Silence first, the row last: it is what a crash in between is remembered by."""
        if held.origin is Origin.MADE and not keep_device:
            self._links.remove(plug.name)
        self._openflow.remove(
            held.number, meters=bool(held.port.rate_kbps), learned=is_vni(held.port.vlan)
        )
        vlan = held.port.vlan
        others = {*bridge.numbers_in(vlan)} - {held.number}
        if vlan in bridge.tunnels:
            self._openflow.install(flows.of_vni(bridge.tunnels[vlan].promised, vlan, others))
        trunk = self._trunk(bridge, without=plug.name)
        db.change(bridge.unchanged(), *b.dropping(bridge, plug), *trunk)
        if vlan in bridge.tunnels and not others:
            self._fill(db, b.read(db, self._bridge), vlan)

    # -- tunnels ----------------------------------------------------------------------------------

    def _way(self, bridge: Bridge, held: Held) -> list[Operation]:
        """What a new port needs to have a way to other hosts: its VLAN on the uplink, or a tunnel."""
        vlan = held.port.vlan
        if not is_vni(vlan):
            return self._trunk(bridge, further={vlan})
        if vlan in bridge.tunnels:
            return []
        return b.digging(bridge, vlan, tunnels.device(vlan), bridge.free_number({held.number}))

    def _dig(self, db: Ovsdb, vni: int) -> None:
        """The tunnel is made, with the rules of the VNI as its ports are now."""
        bridge, name = b.read(db, self._bridge), tunnels.device(vni)
        plug = bridge.tunnels.get(vni)
        missing = self._links.find(name) is None
        if plug and missing and plug.number > 0:  # the switch has one that is no more
            db.change(bridge.unchanged(), *b.dropping(bridge, plug))
            bridge, plug = b.read(db, self._bridge), None
        if plug is None:
            db.change(bridge.unchanged(), *b.digging(bridge, vni, name, bridge.free_number()))
            bridge = b.read(db, self._bridge)
        number = bridge.tunnels[vni].promised
        if missing:
            self._our_tunnels().make(vni)
        self._links.make_quiet(name, offloads=not bridge.userspace)
        self._lead(bridge, vni)
        self._openflow.install(flows.of_vni(number, vni, bridge.numbers_in(vni)))
        self._connected(db, name, number)
        self._links.raise_up(name)

    def _dug(
        self, bridge: Bridge, vni: int, rules: Counter[int], links: Mapping[str, Link]
    ) -> bool:
        """Whether the tunnel is complete."""
        plug = bridge.tunnels.get(vni)
        if plug is None:
            return False
        wanted = flows.of_vni(plug.promised, vni, bridge.numbers_in(vni))
        link = links.get(plug.name)
        return (
            plug.number == plug.promised
            and not plug.error
            and rules[wanted.cookie] == len(wanted.flows)
            and link is not None
            and link.up
            and link.group == GROUP
        )

    def _fill(self, db: Ovsdb, bridge: Bridge, vni: int) -> Bridge:
        """The tunnel of a VNI that has no ports here goes, its row last."""
        plug = bridge.tunnels[vni]
        self._links.remove(plug.name)
        self._openflow.remove(plug.promised, meters=False)
        db.change(bridge.unchanged(), *b.dropping(bridge, plug))
        return b.read(db, self._bridge)

    def _lead(self, bridge: Bridge, vni: int) -> None:
        """The tunnel leads where it was told to; nowhere, if it was not."""
        reach = bridge.reaches.get(vni, Reach(vni))
        ours = self._our_tunnels()
        if ours.leads(vni) not in (None, (reach.hosts, reach.mtu)):
            ours.lead(vni, reach.hosts, reach.mtu)

    def _let_in(self, bridge: Bridge) -> None:
        hosts = {host for reach in bridge.reaches.values() for host in reach.hosts}
        self._our_tunnels().let_in(hosts)

    def _our_tunnels(self) -> Tunnels:
        if self._tunnels is None:
            raise Unavailable(
                "this host has no address for tunnels, so it has no VNIs: its agent's configuration "
                "names it (network.tunnel)"
            )
        return self._tunnels

    def _check_reach(self, reach: Reach) -> None:
        ours = self._our_tunnels()
        if not is_vni(reach.vni):
            raise BadInput(f"there is no VNI {reach.vni}", field="vni")
        try:
            hosts = {str(IPv4Address(host)) for host in reach.hosts}
        except AddressValueError as error:
            raise BadInput(f"{error}", field="hosts") from None
        if ours.local in hosts:
            raise BadInput(f"{ours.local} is this host", field="hosts")
        if not 576 <= reach.mtu <= 9216:
            raise BadInput(f"{reach.mtu} is no MTU", field="mtu")

    # -- the uplink -------------------------------------------------------------------------------

    def _trunk(
        self, bridge: Bridge, *, further: Iterable[int] = (), without: str = ""
    ) -> list[Operation]:
        tags = {*self._tags(bridge, without), *further}
        return b.trunking(self._uplink_of(bridge), self._native, tags)

    def _tags(self, bridge: Bridge, without: str = "") -> set[int]:
        """What the uplink has to carry: the VLANs of all other ports, an operator's own among them."""
        return {
            plug.tag
            for plug in bridge.plugs.values()
            if plug.tag not in (None, b.NOWHERE) and plug.name not in (self._uplink, without)
        }

    def _uplink_of(self, bridge: Bridge) -> Plug:
        uplink = bridge.plugs.get(self._uplink)
        if uplink is None:
            raise Unavailable(
                f"the bridge {self._bridge} has no port {self._uplink} to the outside"
            )
        return uplink

    # -- refusals, and speaking with the switch -------------------------------------------------

    def _check(self, port: Port) -> None:
        if is_vni(port.vlan):
            self._our_tunnels()
        elif not is_vlan(port.vlan) or port.vlan == self._native:
            raise BadInput(f"{port.nic}: {port.vlan} is no VLAN for guests", field="vlan")
        if not _DEVICE.fullmatch(port.device) or port.device == self._uplink:
            raise BadInput(f"{port.nic}: {port.device!r} is no name for a device", field="device")
        if port.rate_kbps < 0:
            raise BadInput(f"{port.nic}: a rate can't be negative", field="rate_kbps")
        if port.kind is PortKind.VETH and not _DEVICE.fullmatch(port.peer):
            raise BadInput(f"{port.nic}: {port.peer!r} is no name for a device", field="peer")
        if (port.kind is PortKind.TAP or port.mac) and not _MAC.fullmatch(port.mac):
            raise BadInput(f"{port.nic}: {port.mac!r} is no MAC of a device", field="mac")
        if port.kind is PortKind.TAP or port.address:
            try:
                IPv4Address(port.address)
            except AddressValueError:
                raise BadInput(
                    f"{port.nic}: {port.address!r} is no IPv4 address", field="address"
                ) from None
        if port.ipv6 and port.kind is PortKind.TAP:
            try:
                usual = str(IPv6Address(port.ipv6)) == port.ipv6 and "%" not in port.ipv6
            except AddressValueError:
                usual = False
            if not usual:
                raise BadInput(f"{port.nic}: {port.ipv6!r} is no IPv6 address", field="ipv6")

    def _check_device(self, bridge: Bridge, port: Port) -> None:
        plug = bridge.plugs.get(port.device)
        if plug and (not plug.held or plug.held.port.nic != port.nic):
            owner = plug.held.port.nic if plug.held else "the host"
            raise Conflict(f"{port.nic}: device {port.device} belongs to {owner}")

    def _agreeing(self, act: Callable[[Ovsdb], T]) -> T:
        """One at a time here; when somebody else changed the bridge meanwhile, decide anew."""
        with self._lock, self._conversation() as db:
            for _ in range(_TRIES - 1):
                try:
                    return act(db)
                except Stale:
                    continue
            return act(db)

    def _conversation(self) -> Ovsdb:
        return Ovsdb(self._db, self._clock, self._patience)
