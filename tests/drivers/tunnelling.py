"""VPNs of routers in tests: keys, wishes, what is heard on a wire, and a computer that has a standard client."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arable.domain.ids import VpnId, VpnPeerId
from arable.domain.vpn import VpnPeerWish, VpnWish
from arable.drivers import namespaces
from arable.runtime.entropy import Entropy
from arable.runtime.vpn_keys import new_pair
from drivers import make_drivers as make
from drivers.emulated_hosts import run

_ALL = 3  # every protocol, in the order of the wire


@dataclass(frozen=True)
class End:
    """One end of a tunnel."""

    public: str
    cidr: str
    private: str
    key: str
    id: VpnId
    port: int = 51820

    def wish(self, other: "End", **but) -> VpnWish:
        """A VPN from here to there."""
        peer = VpnPeerWish(
            id=VpnPeerId(self.id),
            public_key=other.key,
            cidrs=(other.cidr,),
            endpoint=f"{other.public}:{other.port}",
            preshared=but.pop("preshared", ""),
        )
        usual = {"id": self.id, "public": self.public, "port": self.port, "key": self.private}
        return VpnWish(**usual | {"peers": (peer,)} | but)


def keys() -> tuple[str, str]:
    """A private key and its public one."""
    private, public = new_pair(Entropy.system())
    return private.reveal(), public


def end(public: str, cidr: str, kind: str = "vpn") -> End:
    return End(public, cidr, *keys(), VpnId(make.fresh(kind)))


@dataclass
class Wire:
    """What passed."""

    frames: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)  # those that went out

    def said(self, words: bytes) -> bool:
        """Whether somebody who listens there could have read it."""
        return any(words in frame for frame in self.frames)

    def to_port(self, port: int) -> int:
        """How many UDP packets went to that port."""
        wanted = port.to_bytes(2, "big")
        return sum(f[12:14] == b"\x08\x00" and f[23] == 17 and f[36:38] == wanted for f in self.frames)  # fmt: skip


@contextmanager
def listening(netns: str, device: str) -> Iterator[Wire]:
    """Everything that passes a device, both ways."""

    def act() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
        made.bind((device, _ALL))
        return made

    ear, wire = namespaces.inside(netns, act), Wire()
    done = threading.Event()
    ear.settimeout(0.1)

    def listen() -> None:
        while not done.is_set():
            try:
                frame, where = ear.recvfrom(1 << 16)
                wire.frames.append(frame)
                if where[2] == socket.PACKET_OUTGOING:
                    wire.sent.append(frame)
            except TimeoutError:
                continue

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield wire
    finally:
        done.set()
        thread.join()
        ear.close()


@contextmanager
def client(netns: str, configuration: str, folder: Path) -> Iterator[str]:
    """A computer there that has the configuration, by the programs that people have. The name of its interface."""
    device = f"wg{make.fresh('nic')[-8:]}"
    path = folder / f"{device}.conf"
    path.write_text(configuration)
    path.chmod(0o600)
    plain = folder / f"{device}.stripped"
    plain.write_text(_done(netns, "wg-quick", "strip", str(path)))
    said = dict(line.split(" = ", 1) for line in configuration.splitlines() if " = " in line)
    control = Path(f"/var/run/wireguard/{device}.sock")
    daemon = namespaces.inside(
        netns,
        lambda: subprocess.Popen(
            ["wireguard-go", "-f", device], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ),
    )
    try:
        make.wait_until(control.exists, "the client's WireGuard")
        _done(netns, "wg", "setconf", device, str(plain))
        _done(netns, "ip", "address", "add", said["Address"], "dev", device)
        _done(netns, "ip", "link", "set", device, "up")
        for cidr in said["AllowedIPs"].split(", "):
            _done(netns, "ip", "route", "add", cidr, "dev", device)
        yield device
    finally:
        daemon.kill()
        daemon.wait()
        control.unlink(missing_ok=True)


def _done(netns: str, *words: str) -> str:
    done = run(netns, words)
    assert done.returncode == 0, done.stderr
    return done.stdout
