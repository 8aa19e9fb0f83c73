"""Routing appliances as network namespaces: what a router is, without a machine around it.

Each network's appliance has a namespace on this host with eth0 (the gateway, an access port of the guest VLAN),
eth1 (a private line to the host, link-local, led nowhere), eth2 (the public VLAN, the way out) and eth3 (the VLAN where
the farm's routers meet), those that it needs; dnsmasq in it for DHCP and DNS; haproxy where there are balancers; and a packet filter. A third of a second to start, three megabytes.

Ends on VLANs are ports of the host's network driver, trusted ones, with ids made from the network's:
`nic-<key>e0`, `e2` and `e3`. The namespace's name and the devices' are made from it too, so after a restart of the
agent everything is found again by name; `record.py` keeps the rest.

An appliance is opened to the world last and closed first: rules are loaded before there is an interface, and its
record is written when everything is done. Everything can be said again at any point.
"""

import hashlib
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Interface
from math import inf
from pathlib import Path

from arable.appliance.heirs import guard, name_of, rank, term_after
from arable.appliance.metadata import ADDRESS as METADATA
from arable.appliance.nftables import ruleset
from arable.appliance.pair import GUESTS, LINK, PUBLIC, SHARED, Paired
from arable.appliance.router import Lease, Router, WayOut, leases, router
from arable.domain.balancer import BalancerSeen
from arable.domain.errors import Unavailable
from arable.domain.guest_cidr import LINKS
from arable.domain.ids import NetworkId, NicId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.pair import PAIRS
from arable.domain.vpn import VpnSeen
from arable.drivers import namespaces
from arable.drivers.appliance import filtering, jail, six, wiring
from arable.drivers.appliance.asking import Answer
from arable.drivers.appliance.dnsmasq import Dnsmasq
from arable.drivers.appliance.elected import Elected
from arable.drivers.appliance.haproxy import Haproxy
from arable.drivers.appliance.metadata import MetadataService, Serving
from arable.drivers.appliance.record import Record, read, write
from arable.drivers.appliance.wireguard import Wireguard
from arable.drivers.network import hostguard
from arable.drivers.network.links import LEGS, Links
from arable.drivers.network.protocol import Network, Port, PortKind
from arable.runtime.clock import Clock

HOST_END, APPLIANCE_END = "fe80::1", "fe80::2"  # of eth1, on every appliance

_RECORD, _FILES, _BALANCERS, _VPNS = "record.json", "dnsmasq", "haproxy", "wireguard"
_PAIR = "pair"
# All connections are told to the other one of a pair, often as long as the pair is new: it may have come, or come again, since.
_NEW_SECONDS, _OFTEN_SECONDS, _AGAIN_SECONDS = 20.0, 2.0, 60.0


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
        self._paired: dict[NetworkId, Router] = {}  # as they were made last by this process
        self._told: dict[
            NetworkId, tuple[Paired | None, float, float]
        ] = {}  # as whom since when; when last
        self._metadata = MetadataService(
            self._directory.with_name(f"{self._directory.name}-metadata")
        )

    def relay(self, answer: Answer) -> None:
        with self._lock:
            self._metadata.relay(answer)

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        with self._lock:
            known = self._known()
            ports = self._network.ports() if known else {}
            told = self._metadata.serving() if known else {}
            return {network: self._seen(network, ports, told) for network in known}

    def ensure(self, wish: ApplianceWish, leases_wished: Sequence[LeaseWish]) -> None:
        made = router(wish)
        held = leases(made, leases_wished)
        with self._lock:
            self._ensure(made, held, wish.generation)

    def remove(self, network: NetworkId) -> None:
        with self._lock:
            self._take_apart(network)
            shutil.rmtree(self._folder(network), ignore_errors=True)

    def balancers(self, of: Collection[NetworkId] | None = None) -> Sequence[BalancerSeen]:
        with self._lock:
            seen: list[BalancerSeen] = []
            for network in self._known() if of is None else sorted(of):
                record = read(self._folder(network) / _RECORD)
                if record.balancers and not self._stands_by(network, record):
                    with suppress(Unavailable):
                        seen += self._haproxy(network).seen()
            return seen

    def vpns(self) -> Sequence[VpnSeen]:
        with self._lock:
            return [
                one
                for network in self._known()
                if not self._stands_by(network, read(self._folder(network) / _RECORD))
                for one in self._wireguard(network).seen()
            ]

    def _take_apart(self, network: NetworkId) -> None:
        """All but its folder goes."""
        self._paired.pop(network, None)
        self._told.pop(network, None)
        self._metadata.drop(network)
        for pid in namespaces.inhabitants(self.namespace(network)):
            jail.end(pid)
        for end in ("e0", "e2", "e3"):
            self._network.remove(nic(network, end))
        self._links.remove(device("r1", network))
        namespaces.remove(self.namespace(network))

    def announce(self) -> None:
        """Have earlier ones of the same networks, which may still run on hosts that were lost, give way: again and again.

        Not those that were given way to themselves, nor those of a pair that stand by.
        """
        with self._lock:
            for network in self._known():
                self._speak(network)

    def _speak(self, network: NetworkId) -> None:
        record = read(self._folder(network) / _RECORD)
        netns = self.namespace(network)
        if not namespaces.inode(netns):
            return
        if record.pair and network in self._paired:
            record = self._tend(self._paired[network], record)
        own = rank(record.epoch, record.term)
        if not own or record.pair > record.leads or filtering.yielded(netns):
            return
        there = {GUESTS: True, PUBLIC: record.public, LINK: record.link}
        for interface in (name for name, is_there in there.items() if is_there):
            wiring.announce(netns, interface, mac_of(network, interface), name_of(own))
        if record.pair and network in self._paired:
            self._hand_over(network, self._paired[network].pair)

    def _hand_over(self, network: NetworkId, pair: Paired | None) -> None:
        """One that is new to the pair has not heard of what began before, so all is said again in its first moments."""
        now = self._clock.monotonic()
        known, since, last = self._told.get(network, (None, now, -inf))
        if known != pair:
            since = now
        if now >= last + (_OFTEN_SECONDS if now < since + _NEW_SECONDS else _AGAIN_SECONDS):
            last = now
            self._elected(network).tell_all()
        self._told[network] = (pair, since, last)

    def _tend(self, made: Router, record: Record) -> Record:
        """Who has begun to lead gets a term above all before; who gave way within its pair stands by from now on.

        Who gave way to a later epoch stays so, as it is not told any more what to be.
        """
        network, before = made.network, record
        elected = self._elected(network)
        if filtering.yielded(self.namespace(network)):
            if elected.heard() > rank(made.epoch + 1) - 1:
                return replace(record, leads=False)
            elected.stand_by(network)
            record = replace(record, leads=False, guard=self._guard(made, "", record.term))
        leads = elected.leads()
        if leads and not record.leads:
            term = term_after(made.epoch, record.term, elected.heard())
            guarded = self._guard(made, "", term)
            record = replace(record, leads=True, term=term, guard=guarded)
        elif record.leads and not leads:
            record = replace(record, leads=False)
        if record != before:
            write(self._folder(network) / _RECORD, record)
        return record

    def _stands_by(self, network: NetworkId, record: Record) -> bool:
        return record.pair and not self._elected(network).leads()

    def namespace(self, network: NetworkId) -> str:
        """The name of an appliance's namespace, for those who want to look inside."""
        return f"{self._prefix}{_key(network)}"

    # -- making ---------------------------------------------------------------------------------

    def _ensure(self, made: Router, held: Sequence[Lease], generation: int) -> None:
        network, netns = made.network, self.namespace(made.network)
        folder = self._folder(network)
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        before = read(folder / _RECORD)
        if before.generation and before.restarts != made.restarts:
            self._take_apart(network)  # but for its folder: who holds which lease is in there
            before = Record()
        namespaces.create(netns)
        wiring.settle(netns)
        filtering.load(netns, made)
        self._join_guests(made)
        self._join_host(made)
        self._join_public(made)
        self._join_link(made)
        six.settle(netns, made, mac_of(network, GUESTS), mac_of(network, PUBLIC))
        six.answer_for(netns, made, [each.ipv6 for each in held if each.ipv6])
        guarded = self._guard(made, before.guard, before.term)
        self._pair(made)
        # The rules name ranges; who may speak from them are the tunnels' peers.
        peers = [(p.id, p.public_key, p.cidrs) for each in made.tunnels for p in each.peers]
        rules = _digest(f"{ruleset(made)} {peers}")
        if rules != before.rules:
            filtering.cut(netns, made)
        process = self._serve(made, held, before.process)
        self._metadata.ensure(netns, made, held)
        balancers = self._balance(made, before.balancers)
        self._tunnel(made)
        if rules != before.rules and made.tunnels:
            filtering.cut(
                netns, made
            )  # whoever has just ceased to be a peer may have begun something meanwhile
        record = Record(
            generation=generation,
            public=made.out is not None,
            link=made.link is not None,
            rules=rules,
            process=process,
            balancers=balancers,
            epoch=made.epoch,
            guard=guarded,
            restarts=made.restarts,
            pair=made.pair is not None,
            leads=before.leads and made.pair is not None,
            term=before.term if made.pair else 0,
            made_at=self._clock.now().isoformat(),
        )
        write(folder / _RECORD, record)
        if made.pair:
            self._paired[network] = made
            self._speak(network)
        else:
            self._paired.pop(network, None)

    def _join_guests(self, made: Router) -> None:
        address = IPv4Interface(f"{made.gateway}/{made.cidr.prefixlen}")
        told = IPv4Interface(f"{METADATA}/32")
        addresses: tuple[IPv4Interface, ...] = (address, told)
        if made.pair:
            addresses += (IPv4Interface(f"{made.pair.own}/{PAIRS.prefixlen}"),)
        self._join(made, "eth0", "e0", made.vlan, addresses, made.mtu)

    def _pair(self, made: Router) -> None:
        """It is one of two, or it leads alone."""
        elected = self._elected(made.network)
        if made.pair is None:
            elected.stop(made.network)
            return
        self._cover(made)
        elected.ensure(made.pair)

    def _cover(self, made: Router) -> None:
        if made.pair:
            macs = {name: mac_of(made.network, name) for name in SHARED}
            self._elected(made.network).cover(made.network, made.pair, macs)

    def _guard(self, made: Router, before: str, term: int) -> str:
        """It gives way to a later one. What has given way does so no longer only when it is made anew for another wish."""
        netns = self.namespace(made.network)
        there = wiring.interfaces(netns)
        present = {name: there[name] for name in SHARED if name in there}
        rules = guard(made, term if made.pair else 0)
        wanted = _digest(f"{rules} {sorted(present.items())}")
        if wanted != before:
            filtering.apply(netns, made.network, rules)
        return wanted

    def _join_public(self, made: Router) -> None:
        if made.out is None:
            self._network.remove(nic(made.network, "e2"))
            return
        self._join(made, "eth2", "e2", made.out.vlan, _public(made.out), 1500)
        wiring.lead_out(self.namespace(made.network), made.out)

    def _join_link(self, made: Router) -> None:
        if made.link is None:
            self._network.remove(nic(made.network, "e3"))
            return
        address = IPv4Interface(f"{made.link.address}/{LINKS.prefixlen}")
        self._join(made, LINK, "e3", made.link.vlan, (address,), made.mtu)
        wiring.lead_between(self.namespace(made.network), LINK, made.link)

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
            device=device(f"r{end[1]}", network),
            peer=device(f"q{end[1]}", network),
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
        self._cover(made)  # before it has an address
        mac = mac_of(network, interface)
        wiring.configure(
            netns,
            wiring.Interface(
                name=interface,
                mac=mac,
                mtu=mtu,
                addresses=addresses,
                said_to=name_of(rank(made.epoch)),
            ),
        )

    def _join_host(self, made: Router) -> None:
        """eth1. The host asks, the appliance answers; neither leads the other's packets on."""
        network, netns = made.network, self.namespace(made.network)
        here, there = device("r1", network), device("q1", network)
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

    def _balance(self, made: Router, before: str) -> str:
        """The balancers serve, if there are any. Addresses that they listen on are there by now."""
        haproxy = self._haproxy(made.network)
        if not made.balancers:
            if before or haproxy.pid():
                haproxy.stop()
            return ""
        wanted = _digest(haproxy.frame(made.balancers))
        haproxy.ensure(made.balancers, same_frame=wanted == before)
        return wanted

    def _tunnel(self, made: Router) -> None:
        """Its VPNs have their interfaces, and lead to what is behind them."""
        netns, wireguard = self.namespace(made.network), self._wireguard(made.network)
        if not made.tunnels:
            wireguard.stop()
            return
        wireguard.ensure(made.tunnels)
        for tunnel in made.tunnels:
            wiring.lead_into(netns, tunnel, made.gateway)

    # -- looking --------------------------------------------------------------------------------

    def _known(self) -> list[NetworkId]:
        """Whatever has a namespace or a folder: nothing is lost from sight by losing the other."""
        spaces = {name.removeprefix(self._prefix) for name in namespaces.names(self._prefix)}
        folders = set()
        if self._directory.is_dir():
            folders = {_key(NetworkId(path.name)) for path in self._directory.iterdir()}
        return [NetworkId(f"network-{key}") for key in sorted(spaces | folders)]

    def _seen(
        self, network: NetworkId, ports: Mapping[NicId, Port], served: Serving
    ) -> ApplianceSeen:
        record = read(self._folder(network) / _RECORD)
        told = self._trouble(network, record, ports, served)
        return ApplianceSeen(
            network=network,
            generation=record.generation,
            running=not told,
            told=told,
            standby=self._stands_by(network, record),
        )

    def _trouble(
        self,
        network: NetworkId,
        record: Record,
        ports: Mapping[NicId, Port],
        served: Serving,
    ) -> str:
        inode = namespaces.inode(self.namespace(network))
        if not inode:
            return "its namespace is gone"
        if not record.generation:
            return "it was never completely made"
        if nic(network, "e0") not in ports:
            return "its port on the guest network is not complete"
        if record.public and nic(network, "e2") not in ports:
            return "its port on the public network is not complete"
        if record.link and nic(network, "e3") not in ports:
            return "its port to the farm's other networks is not complete"
        if not self._dnsmasq(network).pid():
            return "its DHCP and DNS server does not run"
        if record.balancers and not self._haproxy(network).pid():
            return "its load balancer does not run"
        if self._wireguard(network).missing():
            return "one of its VPNs does not run"
        if record.pair and not self._elected(network).elects():
            return "its part of the pair's election does not run"
        if record.pair and not self._elected(network).follows():
            return "it does not follow the connections of its pair"
        if network not in served or served[network][0] != inode:
            return "its metadata service does not run"
        return ""

    def _folder(self, network: NetworkId) -> Path:
        return self._directory / network

    def _dnsmasq(self, network: NetworkId) -> Dnsmasq:
        return Dnsmasq(self.namespace(network), self._folder(network) / _FILES)

    def _elected(self, network: NetworkId) -> Elected:
        return Elected(self.namespace(network), self._folder(network) / _PAIR)

    def _haproxy(self, network: NetworkId) -> Haproxy:
        return Haproxy(self.namespace(network), self._folder(network) / _BALANCERS, self._clock)

    def _wireguard(self, network: NetworkId) -> Wireguard:
        return Wireguard(self.namespace(network), self._folder(network) / _VPNS, self._clock)


def nic(network: NetworkId, end: str) -> NicId:
    """The id of an appliance's own port: end `e0` on the guest network, `e2` on the public one, `e3` on the link."""
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


def device(kind: str, network: NetworkId) -> str:
    """The name of one of its devices on the host. An id's last eleven letters are chance; a device's name has room for fifteen."""
    return f"{kind}{_key(network)[-11:]}"


def _key(network: NetworkId) -> str:
    return network.partition("-")[2]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
