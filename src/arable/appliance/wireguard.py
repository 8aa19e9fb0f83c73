"""How WireGuard is told what a tunnel is, in the words of its socket (https://www.wireguard.com/xplatform/).

Everything that is said is a number, or bytes as hexadecimal digits. Peers that stay keep their sessions: nothing is
replaced but what is theirs.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from arable.appliance.tunnels import Peer, Tunnel
from arable.domain.ids import VpnPeerId
from arable.domain.vpn import SILENT_SECONDS, VpnPeerSeen

MTU = 1420
"""What fits into a packet of 1500 bytes, whatever its outer header is."""

ASKED = "get=1\n\n"

_NEVER = 1 << 33  # seconds since 1970: in some two hundred years
_MOST = (1 << 63) - 1

_KEEPALIVE = 25  # seconds: less than the half minute after which translators forget who asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A peer of the running process."""

    heard_at: int = 0
    endpoint: str = ""
    received_bytes: int = 0
    sent_bytes: int = 0
    leads: bool = False  # something is led to it

    def seen(self, peer: VpnPeerId, now: float) -> VpnPeerSeen:
        """As it is reported."""
        return VpnPeerSeen(
            id=peer,
            up=0 < self.heard_at > now - SILENT_SECONDS,
            heard_at=self.heard_at,
            endpoint=self.endpoint,
            received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes,
        )

    @classmethod
    def of(cls, told: dict[str, str]) -> Self:
        """From the words of one peer."""
        return cls(
            heard_at=_time(told.get("last_handshake_time_sec", "0")),
            endpoint=told.get("endpoint", ""),
            received_bytes=_count(told.get("rx_bytes", "0")),
            sent_bytes=_count(told.get("tx_bytes", "0")),
            leads="allowed_ip" in told,
        )


def _time(text: str) -> int:
    """Seconds since 1970. What can't be a time is none: the process that says it is not believed everything."""
    said = _count(text)
    return said if said < _NEVER else 0


def _count(text: str) -> int:
    return min(max(int(text[:20]), 0), _MOST)


def newest(keys: Sequence[str], held: Mapping[str, Held]) -> str:
    """By which of its keys a peer was heard last; the first while it was by none."""
    return max(keys, key=lambda key: held[key].heard_at if key in held else 0)


def turn(key: str, cidrs: Iterable[str]) -> str:
    """What has these subnets led to who has that key, and to no other."""
    lines = ["set=1", f"public_key={key}", "replace_allowed_ips=true"]
    return "\n".join([*lines, *(f"allowed_ip={cidr}" for cidr in cidrs), "", ""])


def orders(tunnel: Tunnel, held: Mapping[str, Held]) -> str:
    """What makes the running process so. `held` are the peers that it has, by their public keys."""
    return "".join(f"{line}\n" for line in _orders(tunnel, held)) + "\n"


def _orders(tunnel: Tunnel, held: Mapping[str, Held]) -> Iterator[str]:
    yield "set=1"
    yield f"private_key={tunnel.key.hex()}"
    yield f"listen_port={tunnel.port}"
    wanted = {key for peer in tunnel.peers for key in peer.keys}
    for key in sorted(set(held) - wanted):
        yield f"public_key={key}"
        yield "remove=true"
    for peer in tunnel.peers:
        leads = newest(peer.keys, held)
        for key in peer.keys:
            yield from _peer(peer, key, leads=key == leads)


def _peer(peer: Peer, key: str, *, leads: bool) -> Iterator[str]:
    yield f"public_key={key}"
    yield f"preshared_key={peer.preshared.hex()}"
    if peer.endpoint:
        address, port = peer.endpoint
        yield f"endpoint={address}:{port}"
        yield f"persistent_keepalive_interval={_KEEPALIVE}"
    else:
        yield "persistent_keepalive_interval=0"
    yield "replace_allowed_ips=true"
    for cidr in peer.cidrs if leads else ():
        yield f"allowed_ip={cidr}"


def held(answer: str) -> dict[str, Held]:
    """The peers that an answer to `ASKED` names, by public key in hexadecimal digits."""
    told: dict[str, dict[str, str]] = {}
    of: dict[str, str] = {}
    for line in answer.splitlines():
        name, _, value = line.partition("=")
        if name == "public_key":
            of = told.setdefault(value, {})
        else:
            of[name] = value
    return {key: Held.of(words) for key, words in told.items()}
