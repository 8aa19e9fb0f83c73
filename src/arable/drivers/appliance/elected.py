"""One appliance of a pair: keepalived and conntrackd in its namespace, in jails, and what mutes it while it stands by.

Who leads is asked of the kernel: keepalived holds one address for it (`LEADS`), which it gives itself before it has the
rules turned, and takes away before it has them turned back. So rules that are made anew in between are looked over once
more afterwards, and whatever happens at the same time, the last word is the right one.

It leads on when the agent is gone. When keepalived ends by accident the appliance leads on too, while the other one begins to:
then its kernel hears a higher rank and gives way (`appliance/heirs.py`).
"""

import hashlib
from pathlib import Path

from arable.appliance import pair as told
from arable.appliance.pair import GUESTS, LEADS, SHARED, Paired
from arable.domain.ids import NetworkId
from arable.drivers import namespaces
from arable.drivers.appliance import filtering, jail, wiring
from arable.drivers.appliance.jail import FOLDER
from arable.drivers.appliance.record import replace_text

ELECTS, FOLLOWS, TURNS = "keepalived", "conntrackd", "nft"

_ELECTION, _FOLLOWER, _WALLS = "keepalived.conf", "conntrackd.conf", "walls"
# conntrackd asks the C library what protocols are called. Those it can't find it would not say when it says all.
_PROTOCOLS, _NUMBERS = "protocols", "icmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n"
_CAPABILITIES = ("NET_ADMIN", "NET_RAW")


class Elected:
    """The one in namespace `netns`, with its files in `folder`."""

    def __init__(self, netns: str, folder: Path, patience: float = 20.0) -> None:
        self._netns = netns
        self._folder = folder
        self._patience = patience

    def leads(self) -> bool:
        """Whether it was elected, as far as keepalived has said."""
        there = namespaces.inode(self._netns)
        return bool(there) and LEADS[GUESTS] in wiring.addresses(self._netns, GUESTS)

    def cover(self, network: NetworkId, pair: Paired, macs: dict[str, str]) -> None:
        """Its interfaces, which may be new and have no address yet, are silent unless it leads."""
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        there = wiring.interfaces(self._netns)
        present = {name: macs[name] for name in SHARED if name in there}
        numbers = sorted((name, there[name]) for name in present)
        where = namespaces.inode(self._netns)
        made = f"{where} {numbers} {told.rules(pair, present, leads=False)}"
        digest = hashlib.sha256(made.encode()).hexdigest()
        walls = self._folder / _WALLS
        if walls.exists() and walls.read_text() == digest:
            return
        replace_text(self._folder / told.TURN_LEAD, told.turn(present, leads=True))
        replace_text(self._folder / told.TURN_STAND, told.turn(present, leads=False))
        leads = self.leads()
        filtering.apply(self._netns, network, told.rules(pair, present, leads=leads))
        if self.leads() != leads:
            filtering.apply(self._netns, network, told.turn(present, leads=not leads))
        replace_text(walls, digest)

    def ensure(self, pair: Paired) -> None:
        """It takes part in the election, and follows the other one's connections."""
        present = wiring.interfaces(self._netns)
        nft = jail.program(TURNS)
        election = told.keepalived(pair, present, FOLDER, nft)
        # Another number is another voice: it begins anew. Interfaces come and go in the running one.
        changed = replace_text(self._folder / _ELECTION, election)
        if not self.elects():
            self._elect()
        elif changed:
            jail.hang_up(self._pid(told.PARENT_PID))
        if (
            replace_text(self._folder / _FOLLOWER, told.conntrackd(pair, FOLDER))
            or not self.follows()
        ):
            self._follow()

    def elects(self) -> bool:
        """Whether it takes part in the election."""
        return bool(self._pid(told.PARENT_PID) and self._pid(told.VRRP_PID))

    def follows(self) -> bool:
        """Whether it follows connections."""
        return bool(jail.running(self._netns, FOLLOWS))

    def tell_all(self) -> None:
        """The other one hears of all connections there are: it may be new."""
        words = [FOLLOWS, "-C", str(FOLDER / _FOLLOWER), "-B"]
        self._run(words, FOLLOWS)

    def stand_by(self, network: NetworkId) -> None:
        """It is silent, and takes part in the election from its beginning."""
        self._end(ELECTS)
        present = [name for name in SHARED if name in wiring.interfaces(self._netns)]
        filtering.apply(self._netns, network, told.turn(present, leads=False))
        self._elect()

    def heard(self) -> int:
        """The highest rank that others of this network were heard to have."""
        return filtering.heard(self._netns)

    def stop(self, network: NetworkId) -> None:
        """It is one alone, and leads."""
        if not self._folder.is_dir():
            return
        self._end(ELECTS)
        self._end(FOLLOWS)
        filtering.apply(
            self._netns, network, f"table netdev {told.TABLE}\ndelete table netdev {told.TABLE}\n"
        )
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
        self._folder.rmdir()

    def _elect(self) -> None:
        self._end(ELECTS)
        words = [
            ELECTS,
            *("-P", "-l", "-D", "-f", str(FOLDER / _ELECTION)),
            *("-p", str(FOLDER / told.PARENT_PID), "-r", str(FOLDER / told.VRRP_PID)),
        ]
        self._run(words, ELECTS)

    def _follow(self) -> None:
        self._end(FOLLOWS)
        (self._folder / told.SYNC_LOCK).unlink(missing_ok=True)
        self._run([FOLLOWS, "-C", str(FOLDER / _FOLLOWER), "-d"], FOLLOWS)

    def _run(self, words: list[str], what: str) -> None:
        program, *rest = words
        protocols = self._folder / _PROTOCOLS
        replace_text(protocols, _NUMBERS)
        seen = ("--ro-bind", str(protocols), "/etc/protocols")
        walls = jail.walls(self._folder, _CAPABILITIES, seen)
        log = self._folder / f"{what}.out"
        jail.launch(
            self._netns, [*walls, jail.program(program), *rest], what, self._patience, log=log
        )

    def _end(self, name: str) -> None:
        for pid in jail.running(self._netns, name):
            jail.end(pid)

    def _pid(self, name: str) -> int:
        return jail.runs(self._netns, self._folder / name)
