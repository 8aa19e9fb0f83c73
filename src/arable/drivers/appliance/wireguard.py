"""The VPNs of one appliance: a wireguard-go for each, in the appliance's namespace, in a jail.

It has a user of its own and one power, over the interfaces of that namespace, which making its own one takes. It sees a
device node for that, and the folder of its socket; by this it is told its key and its peers, and asked how they do. So
no key is in an argument or in a file of the jail's. It outlives the agent; when it ends, its interface goes with it.
"""

import json
import os
import shutil
import socket
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from arable.appliance import wireguard as told
from arable.appliance.tunnels import Tunnel
from arable.domain.errors import Unavailable
from arable.domain.ids import VpnId, VpnPeerId
from arable.domain.vpn import VpnSeen
from arable.drivers import namespaces
from arable.drivers.appliance import jail, wiring
from arable.drivers.appliance.record import replace_text
from arable.runtime.clock import Clock

PROGRAM = "wireguard-go"

_FORKS = "setsid"  # it does not go to the background by itself where there is no /proc

_STARTS_WITH = ("SETUID", "SETGID", "SETPCAP", "NET_ADMIN")
_KEEPS = "-all,+net_admin"
_USERS, _EACH = 0x6000_0000, 0x0FFF_FFFF
_TUN = os.makedev(10, 200)
_SOCKETS = "/var/run/wireguard"  # where it has them, and there is no other place
_LOOK = timedelta(milliseconds=10)
_ANSWERS_WITHIN = 5.0
_LONGEST_LOG = 64 << 10
_TOLD = 500  # characters of it, when something is wrong
_MOST = 1 << 22  # bytes of an answer
_CREDENTIALS = struct.Struct("3i")  # SO_PEERCRED: process, user, group


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one of them has what. The folder is its user's; all else is root's."""

    folder: Path
    known: Path  # which VPN and peers it is told of, with their public keys
    log: Path
    node: Path

    @property
    def name(self) -> str:
        """Of the interface."""
        return self.folder.name


class Wireguard:
    """The VPNs in namespace `netns`, with their files in `folder`."""

    def __init__(self, netns: str, folder: Path, clock: Clock, patience: float = 20.0) -> None:
        self._netns = netns
        self._folder = folder
        self._clock = clock
        self._patience = patience

    def ensure(self, tunnels: Sequence[Tunnel]) -> None:
        """Each has its interface, and knows its peers, when this returns; others are gone."""
        wanted = {tunnel.interface for tunnel in tunnels}
        for name in self._known() - wanted:
            self._drop(name)
        for tunnel in tunnels:
            place = self._place(tunnel.interface)
            if not self._pids(place.name):
                self._start(place)
            peers = [
                {"id": peer.id, "keys": peer.keys, "cidrs": [str(cidr) for cidr in peer.cidrs]}
                for peer in tunnel.peers
            ]
            replace_text(place.known, json.dumps({"vpn": tunnel.id, "peers": peers}))
            held = told.held(self._say(place, told.ASKED))
            answer = self._say(place, told.orders(tunnel, held))
            if "errno=0\n" not in answer:
                raise Unavailable("WireGuard did not take what it was told", detail=answer.strip())

    def missing(self) -> bool:
        """Whether one of them does not run: its interface would be gone."""
        known = self._known()
        return bool(known) and not known <= wiring.interfaces(self._netns).keys()

    def stop(self) -> None:
        """None runs in there, and nothing of it is kept. Costs nothing where there was none."""
        if not self._folder.is_dir():
            return
        for name in self._known():
            self._drop(name)
        for pid in jail.running(self._netns, PROGRAM):
            jail.end(pid)
        shutil.rmtree(self._folder, ignore_errors=True)

    def seen(self) -> list[VpnSeen]:
        """How they do. Those that can't be asked now are left out."""
        found = []
        for name in sorted(self._known()):
            with suppress(Unavailable, OSError, ValueError, KeyError, TypeError):
                found.append(self._one(self._place(name)))
        return found

    def _one(self, place: _Place) -> VpnSeen:
        known = json.loads(place.known.read_text())
        held = told.held(self._say(place, told.ASKED))
        now = self._clock.now().timestamp()
        if place.log.stat().st_size > _LONGEST_LOG:
            os.truncate(place.log, 0)
        peers = []
        for each in known["peers"]:
            key = told.newest(each["keys"], held)
            if key not in held:
                continue
            if len(each["keys"]) > 1 and not held[key].leads:  # it has turned to its next key
                self._say(place, told.turn(key, each["cidrs"]))
            peers.append(held[key].seen(VpnPeerId(each["id"]), now))
        return VpnSeen(id=VpnId(known["vpn"]), peers=tuple(sorted(peers, key=lambda each: each.id)))

    # -- making ---------------------------------------------------------------------------------

    def _user(self) -> int:
        """As whom all of this appliance run, and nobody else."""
        return _USERS | namespaces.inode(self._netns) & _EACH

    def _check_whose(self, mouth: socket.socket) -> None:
        """The folder is the jail's: what is there under the socket's name may lead to somebody else's."""
        told = mouth.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _pid, uid, _gid = _CREDENTIALS.unpack(told)
        if uid != self._user():
            raise OSError("this is another's socket")

    def _whole(self, mouth: socket.socket) -> bytes:
        """All of an answer, which ends with an empty line."""
        heard, end = b"", self._clock.monotonic() + _ANSWERS_WITHIN
        while not heard.endswith(b"\n\n"):
            left = end - self._clock.monotonic()
            if left <= 0 or len(heard) > _MOST:
                raise OSError("it says too much, or too slowly")
            mouth.settimeout(left)
            part = mouth.recv(1 << 16)
            if not part:
                raise OSError("it hung up")
            heard += part
        return heard

    def _start(self, place: _Place) -> None:
        user = self._user()
        try:
            self._make(place, user)
        except OSError as error:
            raise Unavailable("the files of a VPN can't be made", detail=str(error)) from error
        become = ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
        become += ["--bounding-set", _KEEPS, "--inh-caps", _KEEPS, "--ambient-caps", _KEEPS]
        words = [
            *jail.walls(place.folder, _STARTS_WITH, _sees(place)),
            *(jail.program("setpriv"), *become, "--no-new-privs", "--"),
            *(jail.program(_FORKS), "--fork", jail.program(PROGRAM), "-f", place.name),
        ]
        jail.launch(self._netns, words, PROGRAM, self._patience, place.log)
        end = self._clock.monotonic() + self._patience
        while True:
            with suppress(Unavailable):
                self._say(place, told.ASKED)
                return
            starts = any(jail.running(self._netns, each) for each in (_FORKS, PROGRAM))
            if not starts or self._clock.monotonic() > end:
                told_last = place.log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise Unavailable("wireguard-go did not start", detail=told_last[-_TOLD:])
            self._clock.wait(_LOOK)

    def _make(self, place: _Place, user: int) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.rmtree(place.folder, ignore_errors=True)
        place.folder.mkdir(mode=0o700)
        os.chown(place.folder, user, user)
        place.log.unlink(missing_ok=True)
        place.node.unlink(missing_ok=True)
        os.mknod(place.node, stat.S_IFCHR | 0o600, _TUN)
        os.chown(place.node, user, user)

    def _drop(self, name: str) -> None:
        place = self._place(name)
        for pid in self._pids(name):
            jail.end(pid)
        shutil.rmtree(place.folder, ignore_errors=True)
        for path in (place.log, place.node, place.known):
            path.unlink(missing_ok=True)

    # -- looking --------------------------------------------------------------------------------

    def _known(self) -> set[str]:
        """The interfaces that were made, whether they are still there or not."""
        if not self._folder.is_dir():
            return set()
        return {path.stem for path in self._folder.glob("*.json")} | {
            path.name for path in self._folder.iterdir() if path.is_dir()
        }

    def _place(self, name: str) -> _Place:
        here = self._folder
        return _Place(
            here / name, here / f"{name}.json", here / f"{name}.log", here / f"{name}.tun"
        )

    def _pids(self, name: str) -> list[int]:
        found = []
        for pid in jail.running(self._netns, PROGRAM):
            with suppress(OSError):  # processes end at any time
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if name.encode() in words:
                    found.append(pid)
        return found

    def _say(self, place: _Place, words: str) -> str:
        """The answer. The socket's path may be too long for a socket, so it is reached by its folder."""
        try:
            folder = os.open(place.folder, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise Unavailable("WireGuard does not run") from error
        try:
            with socket.socket(socket.AF_UNIX) as mouth:
                mouth.settimeout(_ANSWERS_WITHIN)
                mouth.connect(f"/proc/self/fd/{folder}/{place.name}.sock")
                self._check_whose(mouth)
                mouth.sendall(words.encode())
                return self._whole(mouth).decode(errors="replace")
        except OSError as error:
            raise Unavailable("WireGuard does not answer", detail=str(error)) from error
        finally:
            os.close(folder)


def _sees(place: _Place) -> list[str]:
    """Its socket's folder and its device. What leads there is open to it; bubblewrap would close it."""
    made: list[str] = []
    for folder in ("/var", "/var/run", "/dev/net"):
        made += ["--perms", "0755", "--dir", folder]
    made += ["--bind", str(place.folder), _SOCKETS]
    return [*made, "--dev-bind", str(place.node), "/dev/net/tun"]
