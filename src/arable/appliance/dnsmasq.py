"""Configuration of dnsmasq: DHCP and DNS of one guest network, and nothing else.

In two parts. What the process is started with stays while it runs; who is in the network is in two files that it
reads again on SIGHUP, so a new machine costs no restart. Only machines with a lease get an address, and only names
from our files are names: what a guest calls itself is ignored.
"""

import hashlib
from collections.abc import Iterable
from pathlib import PurePosixPath

from arable.appliance.router import Lease, Router

DHCP_HOSTS, HOSTS = "dhcp-hosts", "hosts"
LEASES, PID, LOG = "leases", "dnsmasq.pid", "dnsmasq.log"

_LEASE_TIME = "12h"
_EXAMPLES = 32473  # the enterprise number of RFC 5612, which is nobody's
_INNER = "inner"  # tag of those whose way out is by another network


def configuration(router: Router, folder: PurePosixPath, user: str, device: str = "eth0") -> str:
    """What dnsmasq is started with. `folder` is where it finds its files, `user` whom it becomes."""
    lines = [
        f"interface={device}",
        "except-interface=lo",
        "bind-interfaces",
        "no-resolv",
        "no-poll",
        "no-hosts",
        *(f"server={address}" for address in router.resolvers),
        "domain-needed",
        "bogus-priv",
        f"domain={router.domain}",
        f"local=/{router.domain}/",
        f"addn-hosts={folder / HOSTS}",
        f"dhcp-range={router.cidr.network_address},static,{router.cidr.netmask},{_LEASE_TIME}",
        f"dhcp-hostsfile={folder / DHCP_HOSTS}",
        "dhcp-ignore=tag:!known",
        "dhcp-ignore-names",
        "dhcp-authoritative",
        f"dhcp-lease-max={router.cidr.num_addresses * (2 if router.six else 1)}",
        *_six(router, device),
        *_options(router),
        f"dhcp-option=option:mtu,{router.mtu}",
        f"dhcp-leasefile={folder / LEASES}",
        f"pid-file={folder / PID}",
        f"log-facility={folder / LOG}",
        "quiet-dhcp",
        f"user={user}",
        "group=nogroup",
    ]
    return "\n".join([*lines, ""])


def _six(router: Router, device: str) -> list[str]:
    """The way and the /64 are advertised, and each machine is given the very address that it makes of them (EUI-64).

    Where no way leads out, the router says that it is none: a machine that believed it would wait for answers in vain.
    """
    if router.six is None:
        return []
    leads = 1800 if router.six.leads_on else 0
    return [
        "enable-ra",
        f"dhcp-range={router.six.cidr.network_address},static,slaac,64,{_LEASE_TIME}",
        f"ra-param={device},mtu:{router.mtu},60,{leads}",
        f"dhcp-duid={_EXAMPLES},{_identity(router)}",
    ]


def _identity(router: Router) -> str:
    """By which DHCPv6 clients know their server: the same of both routers of a pair, and of the one that comes after."""
    return hashlib.sha256(router.network.encode()).digest()[:8].hex(":")


def _options(router: Router) -> list[str]:
    """Router and resolver, for those who find their way out here. Without a value an option is not sent at all.

    Left unsaid, dnsmasq would name itself.
    """
    gateway = router.gateway
    return [
        f"dhcp-option=tag:{_INNER},option:router",
        f"dhcp-option=tag:{_INNER},option:dns-server",
        f"dhcp-option=tag:!{_INNER},option:router" + (f",{gateway}" if router.names_itself else ""),
        f"dhcp-option=tag:!{_INNER},option:dns-server,{gateway}",
    ]


def dhcp_hosts(leases: Iterable[Lease]) -> str:
    """Who gets which addresses: MAC, address, name; and who is told of no way out."""
    return "".join(
        f"{lease.mac},{f'set:{_INNER},' if lease.inner else ''}{lease.address},"
        f"{f'[{lease.ipv6}],' if lease.ipv6 else ''}{lease.name}\n"
        for lease in leases
    )


def has_tags(dhcp_hosts: str) -> bool:
    """Whether somebody in there is told of no way out."""
    return f",set:{_INNER}," in dhcp_hosts


def hosts(router: Router, leases: Iterable[Lease]) -> str:
    """The names that DNS knows: of machines in full and by themselves, others in full.

    Those have dots in them, and might be somebody's own as they stand.
    """
    own = (
        f"{address} {lease.name}.{router.domain} {lease.name}\n"
        for lease in leases
        for address in (lease.address, lease.ipv6)
        if address
    )
    further = (f"{each.address} {each.name}.{router.domain}\n" for each in router.names)
    return "".join((*own, *further))
