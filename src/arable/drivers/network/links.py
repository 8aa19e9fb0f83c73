"""Makes the devices behind ports: persistent taps for guests, veth pairs for appliances.

The devices of a userspace switch need care: the kernel of the host sees their frames too, and would answer a guest
that asks for the host's own addresses. So they carry no address of any kind, and stand in one group of links whose
frames the host itself never takes (`hostguard.py`).
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from arable.domain.errors import Conflict, Unavailable
from arable.drivers import namespaces

T = TypeVar("T")

# Groups of links, told apart by number alone; the kernel knows no names for them.
GROUP = 0xA7AB  # ends of ports: the switch's, never the host's
LEGS = 0xA7AC  # the host's ends of private lines to appliances

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_IFF_UP = 1
_SIOCETHTOOL = 0x8946
# ethtool's legacy switches: rx and tx checksums, scatter-gather, tso, gso, gro
_OFFLOADS = (0x15, 0x17, 0x19, 0x1F, 0x24, 0x2C)


@dataclass(frozen=True, slots=True)
class Link:
    """A network device as the kernel has it."""

    index: int
    name: str
    up: bool
    kind: str  # "tun", "veth", ...
    group: int


class Links:
    """The network devices of one namespace; None is the one we are in."""

    def __init__(self, netns: str | None = None) -> None:
        self.netns = netns

    def all(self) -> Mapping[str, Link]:
        """Every device here, by name."""
        with failing("list the network devices"):
            return self._inside(lambda ip: {link.name: link for link in map(_link, ip.get_links())})

    def find(self, name: str) -> Link | None:
        """The device of that name."""
        with failing(f"look for {name}"):
            return self._inside(lambda ip: _find(ip, name))

    def make_tap(self, name: str) -> None:
        """A persistent tap, down. It stays when the process that uses it ends, and is free for the next one."""

        def make() -> None:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(tun, _TUNSETIFF, request)
                fcntl.ioctl(tun, _TUNSETPERSIST, 1)
            finally:
                os.close(tun)

        with failing(f"make the tap {name}"):
            namespaces.inside(self.netns, make)

    def make_veth(self, name: str, peer: str) -> None:
        """Both ends of a pair, down."""
        with failing(f"make the veth {name}"):
            self._inside(lambda ip: ip.link("add", ifname=name, kind="veth", peer=peer))

    def make_quiet(self, name: str, *, offloads: bool) -> None:
        """Nobody's own voice: no addresses, in our group. Without offloads a userspace switch sees whole frames."""

        def quiet(ip: Any) -> None:
            set_sysctl(f"net/ipv6/conf/{name}/disable_ipv6", "1")
            set_sysctl(f"net/ipv4/conf/{name}/arp_ignore", "8")
            if not offloads:
                switch_offloads_off(name)
            ip.link("set", index=_index(name), group=GROUP)

        with failing(f"prepare {name}"):
            self._inside(quiet)

    def set_group(self, name: str, group: int) -> None:
        """The device is in that group of links."""
        with failing(f"group {name}"):
            self._inside(lambda ip: ip.link("set", index=_index(name), group=group))

    def raise_up(self, name: str) -> None:
        """The device is up."""
        with failing(f"raise {name}"):
            self._inside(lambda ip: ip.link("set", index=_index(name), state="up"))

    def remove(self, name: str) -> None:
        """No such device; one that is still open somewhere goes all the same, and a pair goes with either end."""

        def remove(ip: Any) -> None:
            link = _find(ip, name)
            if link is None:
                return
            try:
                ip.link("del", index=link.index)
            except NetlinkError as error:
                if error.code != errno.ENODEV:  # it may go between looking and acting
                    raise

        with failing(f"remove {name}"):
            self._inside(remove)

    def _inside(self, act: Callable[[Any], T]) -> T:
        def run() -> T:
            with IPRoute() as ip:
                return act(ip)

        return namespaces.inside(self.netns, run)


@contextmanager
def failing(what: str) -> Iterator[None]:
    """The kernel's refusals as ours."""
    try:
        yield
    except (OSError, NetlinkError) as error:
        code = getattr(error, "code", None) or getattr(error, "errno", None) or 0
        told = f"could not {what}: {os.strerror(code)}"
        raise (Conflict(told) if code == errno.EEXIST else Unavailable(told)) from error


def set_sysctl(path: str, value: str) -> None:
    """Set a value of the namespace we are in; a protocol that the kernel lacks has nothing to set."""
    with suppress(FileNotFoundError):
        (Path("/proc/sys") / path).write_text(value)


def get_sysctl(path: str) -> str:
    """What that value is; empty where the kernel has no such thing."""
    with suppress(FileNotFoundError):
        return (Path("/proc/sys") / path).read_text().strip()
    return ""


def switch_offloads_off(name: str) -> None:
    """Checksums and segments are made by the kernel, not left to a device that isn't there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in _OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", name.encode(), ctypes.addressof(value))
            with suppress(OSError):  # a device without this offload has none to switch off
                fcntl.ioctl(control, _SIOCETHTOOL, request)


def _find(ip: Any, name: str) -> Link | None:
    try:
        return _link(ip.get_links(socket.if_nametoindex(name))[0])
    except (OSError, NetlinkError):
        return None


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise Unavailable(f"there is no network device {name}") from None


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        up=bool(message["flags"] & _IFF_UP),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        group=message.get_attr("IFLA_GROUP") or 0,
    )
