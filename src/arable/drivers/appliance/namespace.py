"""Routing appliances as network namespaces: what a router is, without a machine around it.

Each network's appliance has a namespace on this host with eth0 (the gateway, an access port of the guest VLAN),
eth1 (a private line to the host, link-local, led nowhere) and eth2 (the public VLAN, the way out); dnsmasq in it
for DHCP and DNS; and a packet filter. A third of a second to start, three megabytes.

Ends on VLANs are ports of the host's network driver, trusted ones, with ids made from the network's:
`nic-<key>e0` and `nic-<key>e2`. The namespace's name and the devices' are made from it too, so after a restart of the
agent everything is found again by name; `record.py` keeps the rest.

An appliance is opened to the world last and closed first: rules are loaded before there is an interface, and its
record is written when everything is done. Everything can be said again at any point.
"""

import hashlib
import shutil
import threading
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from pathlib import Path

from arable.appliance.nftables import ruleset
from arable.appliance.router import Lease, Router, WayOut, leases, router
from arable.domain.ids import NetworkId, NicId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.drivers import namespaces
from arable.drivers.appliance import filtering, wiring
from arable.drivers.appliance.dnsmasq import Dnsmasq
from arable.drivers.appliance.record import Record, read, write
from arable.drivers.network import hostguard
from arable.drivers.network.links import LEGS, Links
from arable.drivers.network.protocol import Network, Port, PortKind
from arable.runtime.clock import Clock

HOST_END, APPLIANCE_END = "fe80::1", "fe80::2"  # of eth1, on every appliance

_RECORD, _FILES = "record.json", "dnsmasq"


class NamespaceAppliances:
    """`Appliances` of this host. `netns` is the host's own namespace; None: the one we are in.

    `prefix` keeps the namespaces of several (emulated) hosts on one machine apart; without one it is made from
    the directory, which no two hosts share.
    """

    name = "namespace"

    def __init__(
        self,
        directory: Path,
        network: Network,
        clock: Clock,
        *,
        netns: str | None = None,
        prefix: str = "",
    ) -> None:
        self._directory = directory.absolute()
        self._network = network
        self._clock = clock
        self._netns = netns
        self._links = Links(netns)
        digest = hashlib.sha256(str(self._directory).encode()).hexdigest()
        self._prefix = prefix or f"router-{digest[:8]}-"
        self._lock = threading.Lock()

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        with self._lock:
            known = self._known()
            ports = self._network.ports() if known else {}
            return {network: self._seen(network, ports) for network in known}

    def ensure(self, wish: ApplianceWish, leases_wished: Sequence[LeaseWish]) -> None:
        made = router(wish)
        held = leases(made, leases_wished)
        with self._lock:
            self._ensure(made, held, wish.generation)

    def remove(self, network: NetworkId) -> None:
        with self._lock:
            self._dnsmasq(network).stop()
            for end in ("e0", "e2"):
                self._network.remove(nic(network, end))
            self._links.remove(_device("r1", network))
            namespaces.remove(self.namespace(network))
            shutil.rmtree(self._folder(network), ignore_errors=True)

    def namespace(self, network: NetworkId) -> str:
        """The name of an appliance's namespace, for those who want to look inside."""
        return f"{self._prefix}{_key(network)}"

    # -- making ---------------------------------------------------------------------------------

    def _ensure(self, made: Router, held: Sequence[Lease], generation: int) -> None:
        network, netns = made.network, self.namespace(made.network)
        folder = self._folder(network)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        before = read(folder / _RECORD)
        namespaces.create(netns)
        wiring.settle(netns)
        filtering.load(netns, made)
        self._join_guests(made)
        self._join_host(made)
        self._join_public(made)
        rules = _digest(ruleset(made))
        if rules != before.rules:
            filtering.cut(netns, made)
        process = self._serve(made, held, before.process)
        record = Record(
            generation=generation,
            public=made.out is not None,
            rules=rules,
            process=process,
            made_at=self._clock.now().isoformat(),
        )
        write(folder / _RECORD, record)

    def _join_guests(self, made: Router) -> None:
        address = IPv4Interface(f"{made.gateway}/{made.cidr.prefixlen}")
        self._join(made, "eth0", "e0", made.vlan, (address,), made.mtu)

    def _join_public(self, made: Router) -> None:
        if made.out is None:
            self._network.remove(nic(made.network, "e2"))
            return
        self._join(made, "eth2", "e2", made.out.vlan, _public(made.out), 1500)
        wiring.lead_out(self.namespace(made.network), made.out)

    def _join(
        self,
        made: Router,
        interface: str,
        end: str,
        vlan: int,
        addresses: tuple[IPv4Interface, ...],
        mtu: int,
    ) -> None:
        """An end on a VLAN. A port that was lost and made anew has another peer, which takes the old one's place."""
        network, netns = made.network, self.namespace(made.network)
        port = Port(
            nic=nic(network, end),
            kind=PortKind.VETH,
            vlan=vlan,
            device=_device(f"r{end[1]}", network),
            peer=_device(f"q{end[1]}", network),
        )
        self._network.ensure(port)
        if self._links.find(port.peer):
            wiring.drop(netns, interface)
            wiring.take_in(self._netns, port.peer, netns, interface)
        elif interface not in wiring.interfaces(netns):
            # Both ends of the pair are elsewhere, or its namespace went and came back: begin again.
            self._network.remove(port.nic)
            self._network.ensure(port)
            wiring.take_in(self._netns, port.peer, netns, interface)
        mac = mac_of(network, interface)
        wiring.configure(
            netns, wiring.Interface(name=interface, mac=mac, mtu=mtu, addresses=addresses)
        )

    def _join_host(self, made: Router) -> None:
        """eth1. The host asks, the appliance answers; neither leads the other's packets on."""
        network, netns = made.network, self.namespace(made.network)
        here, there = _device("r1", network), _device("q1", network)
        if not hostguard.stands(self._netns):
            hostguard.raise_up(self._netns)
        if "eth1" not in wiring.interfaces(netns):
            self._links.remove(here)
            self._links.make_veth(here, there)
            self._links.set_group(here, LEGS)
            wiring.take_in(self._netns, there, netns, "eth1")
        wiring.address_leg(netns, "eth1", APPLIANCE_END)
        wiring.address_leg(self._netns, here, HOST_END)

    def _serve(self, made: Router, held: Sequence[Lease], before: str) -> str:
        """DHCP and DNS run as configured. Dnsmasq listens on one very interface, so another eth0 is a reason to restart."""
        dnsmasq = self._dnsmasq(made.network)
        netns = self.namespace(made.network)
        changed = dnsmasq.write_files(made, held)
        interface = wiring.interfaces(netns)["eth0"]
        process = _digest(f"{interface} {dnsmasq.configuration(made)}")
        if process != before or not dnsmasq.pid():
            dnsmasq.start()
        elif changed:
            dnsmasq.reload()
        dnsmasq.release(made, held)
        return process

    # -- looking --------------------------------------------------------------------------------

    def _known(self) -> list[NetworkId]:
        """Whatever has a namespace or a folder: nothing is lost from sight by losing the other."""
        spaces = {name.removeprefix(self._prefix) for name in namespaces.names(self._prefix)}
        folders = set()
        if self._directory.is_dir():
            folders = {_key(NetworkId(path.name)) for path in self._directory.iterdir()}
        return [NetworkId(f"network-{key}") for key in sorted(spaces | folders)]

    def _seen(self, network: NetworkId, ports: Mapping[NicId, Port]) -> ApplianceSeen:
        record = read(self._folder(network) / _RECORD)
        told = self._trouble(network, record, ports)
        return ApplianceSeen(
            network=network, generation=record.generation, running=not told, told=told
        )

    def _trouble(self, network: NetworkId, record: Record, ports: Mapping[NicId, Port]) -> str:
        if not namespaces.inode(self.namespace(network)):
            return "its namespace is gone"
        if not record.generation:
            return "it was never completely made"
        if nic(network, "e0") not in ports:
            return "its port on the guest network is not complete"
        if record.public and nic(network, "e2") not in ports:
            return "its port on the public network is not complete"
        if not self._dnsmasq(network).pid():
            return "its DHCP and DNS server does not run"
        return ""

    def _folder(self, network: NetworkId) -> Path:
        return self._directory / network

    def _dnsmasq(self, network: NetworkId) -> Dnsmasq:
        return Dnsmasq(self.namespace(network), self._folder(network) / _FILES)


def nic(network: NetworkId, end: str) -> NicId:
    """The id of an appliance's own port: end `e0` on the guest network, `e2` on the public one."""
    return NicId(f"nic-{_key(network)}{end}")


def mac_of(network: NetworkId, interface: str) -> str:
    """Always the same for the same network, so nobody has to learn it anew when the appliance moves."""
    digest = hashlib.sha256(f"{network}/{interface}".encode()).digest()
    return f"0a:{digest[:5].hex(':')}"


def _public(out: WayOut) -> tuple[IPv4Interface, ...]:
    return (
        IPv4Interface(f"{out.address}/{out.prefix}"),
        *(IPv4Interface(f"{address}/32") for address in out.further),
    )


def _device(kind: str, network: NetworkId) -> str:
    """An id's last eleven letters are chance; a device's name has room for fifteen."""
    return f"{kind}{_key(network)[-11:]}"


def _key(network: NetworkId) -> str:
    return network.partition("-")[2]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
