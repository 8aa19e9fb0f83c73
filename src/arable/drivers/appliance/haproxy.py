"""The haproxy of one appliance: a master and its worker in the appliance's namespace, in a jail, without any power.

It never is root: the namespace lets anybody listen on any port, and only what is ours is in there. Its user is no
other's, another appliance's haproxy among them, so neither can send the other a signal or read its files: a number that
the kernel gives to the namespace. Certificates with their keys are in its own folder, which nobody else reads.

Servers come, go and change weight in the running process; when that does not work, and for all else, the worker is
replaced by another that takes over its listening sockets. Either way nothing that is under way is disturbed.

A server that comes is down until its own checks have passed: this process lets it in, and nobody has to be asked or
told. haproxy 2.6 holds a server for well that leaves maintenance (`init-state` came with 3.1), and forgets what it was
told of one that is in maintenance still. So it comes out with no weight, is said to be down, and then gets its weight.
A process that begins where none ran uses its servers at once, as nobody would be served otherwise, but for those whose
checks failed when the one before was looked at last (`_FAILED`): these are down until their checks pass.
"""

import csv
import os
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from arable.appliance import haproxy as told
from arable.appliance.balancing import Balanced, Server
from arable.domain.balancer import BalancerSeen, MemberSeen, Stickiness
from arable.domain.errors import Unavailable
from arable.domain.ids import BalancerId, NicId
from arable.drivers import namespaces
from arable.drivers.appliance import jail
from arable.drivers.appliance.jail import FOLDER
from arable.runtime.clock import Clock

PROGRAM = "haproxy"
CONFIGURATION = "haproxy.cfg"
_FAILED = "failed.state"  # servers whose checks fail, as haproxy says it and takes it

_BECOMES = ("SETUID", "SETGID", "SETPCAP")  # until it has become its user
_USERS, _EACH = 0x7000_0000, 0x0FFF_FFFF
_LOOK = timedelta(milliseconds=10)
_ANSWERS_WITHIN = 5.0
_TELLS_WITHIN = (
    1.0  # how it does: whoever is too busy to say so is asked again, and holds nobody up
)
_CHECKED = 2  # numbers of check states from here on are results; below, there was no check yet
_UNCHECKED = ("", "UNK", "INI")
_MAINTENANCE = 0x01 | 0x02 | 0x04  # by our word, another server's, or the configuration's


@dataclass(frozen=True, slots=True)
class _Live:
    """A server of the running process."""

    at: str
    weight: int
    resting: bool
    checked: bool


class Haproxy:
    """The balancers in namespace `netns`, with their files in `folder`."""

    def __init__(self, netns: str, folder: Path, clock: Clock, patience: float = 20.0) -> None:
        self._netns = netns
        self._folder = folder
        self._clock = clock
        self._patience = patience

    def frame(self, balancers: tuple[Balanced, ...]) -> str:
        """What needs another worker when it changes."""
        pems = "".join(each.pem for each in balancers)
        return told.frame(balancers, FOLDER) + pems

    def pid(self) -> int:
        """The master's, while it runs; or 0."""
        return jail.runs(self._netns, self._folder / told.PID)

    def ensure(self, balancers: tuple[Balanced, ...], *, same_frame: bool) -> None:
        """They serve when this returns. With `same_frame` only servers may have changed since the last time."""
        try:
            self._write_files(balancers)
        except OSError as error:
            raise Unavailable("the files of haproxy can't be written", detail=str(error)) from error
        pid = self.pid()
        if not pid or _owner(pid) != self._user():
            self._start(balancers)
        elif not (same_frame and self._adapt(balancers)):
            self._replace(balancers)

    def stop(self) -> None:
        """None runs in there, and nothing of it is kept."""
        for pid in jail.running(self._netns, PROGRAM):
            jail.end(pid)
        shutil.rmtree(self._folder, ignore_errors=True)

    def seen(self) -> list[BalancerSeen]:
        """How the balancers do. Servers that go and still serve somebody are not told of.

        Who drains is not drained before those are gone, too, whom a process serves that was replaced.
        """
        rows = _table(self._say("show stat", _TELLS_WITHIN))
        with suppress(Unavailable, OSError):
            self._remember(rows)
        servers = [row for row in rows if _is_server(row) and row["status"] != "MAINT"]
        drains = any(row["uweight"] == "0" for row in servers)
        before = self._served_before() if drains else Counter[tuple[str, str]]()
        members: dict[str, list[MemberSeen]] = {}
        for row in servers:
            still = before[row["pxname"], row["svname"]]
            members.setdefault(row["pxname"], []).append(_member(row, still))
        fronts = {row["pxname"]: row for row in rows if row["svname"] == "FRONTEND"}
        return [
            _balancer(row, fronts.get(row["pxname"], {}), members.get(row["pxname"], []))
            for row in rows
            if row["svname"] == "BACKEND" and row["pxname"].startswith("balancer-")
        ]

    def _remember(self, rows: Iterable[Mapping[str, str]]) -> None:
        """Who fails now is known to the process that comes after this one, however this one ends."""
        failed = {
            f"{row['pxname']}/{row['svname']}"
            for row in rows
            if _is_server(row) and row["status"].startswith("DOWN") and _checked(row)
        }
        path = self._folder / _FAILED
        if failed == {_name(line) for line in _servers(_read(path))}:
            return
        said = self._say("show servers state", _TELLS_WITHIN)
        kept = [line for line in _servers(said) if _name(line) in failed]
        _write(path, "\n".join([*said.splitlines()[:2], *kept, ""]), self._user())

    def _served_before(self) -> Counter[tuple[str, str]]:
        """How many sessions each server of each balancer has in processes that were replaced and go on to serve."""
        told_of = self._say("show proc", _TELLS_WITHIN, told.MASTER).partition("# old workers\n")[2]
        found = Counter[tuple[str, str]]()
        for line in told_of.partition("#")[0].splitlines():
            pid = line.split()[0]
            rows = _table(self._say(f"@!{pid} show stat", _TELLS_WITHIN, told.MASTER))
            for row in filter(_is_server, rows):
                found[row["pxname"], row["svname"]] += _number(row["scur"])
        return found

    # -- making ---------------------------------------------------------------------------------

    def _write_files(self, balancers: tuple[Balanced, ...]) -> None:
        user = self._user()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(self._folder, user, user)
        wanted = {told.certificate(each): each.pem for each in balancers if each.pem}
        for path in self._folder.glob("*.pem"):
            if path.name not in wanted:
                path.unlink()
        for name, pem in wanted.items():
            _write(self._folder / name, pem, user)
        self._configure(balancers)

    def _configure(self, balancers: tuple[Balanced, ...]) -> None:
        _write(self._folder / CONFIGURATION, told.configuration(balancers, FOLDER), self._user())

    def _start(self, balancers: tuple[Balanced, ...]) -> None:
        for pid in jail.running(self._netns, PROGRAM):  # a worker whose master is gone
            jail.end(pid)
        (self._folder / told.STATE).unlink(missing_ok=True)
        if known := _known(_read(self._folder / _FAILED), balancers):
            _write(self._folder / told.STATE, known, self._user())
        words = self._words("-W", "-D", "-p", str(FOLDER / told.PID))
        words += ["-S", f"{FOLDER / told.MASTER},mode,600"]
        jail.launch(self._netns, words, PROGRAM, self._patience)
        self._await(lambda: self._worker() != 0, "haproxy did not start in time")

    def _replace(self, balancers: tuple[Balanced, ...]) -> None:
        """Another worker, of the configuration as it is now; refused, and without effect, when that is wrong.

        It begins with the servers that the one before has, in their state. Those that it lacks are added to it.
        """
        with suppress(Unavailable):  # it can't say what it has: as when none ran before
            self._configure(_only(balancers, self._live()))
        jail.launch(
            self._netns, self._words("-c"), "the new configuration of haproxy", self._patience
        )
        before = self._worker()
        with suppress(Unavailable):
            _write(self._folder / told.STATE, self._say("show servers state"), self._user())
        master = self.pid()
        if not master:
            raise Unavailable("haproxy ended while it was changed")
        with suppress(ProcessLookupError):
            os.kill(master, signal.SIGUSR2)
        self._await(lambda: self._worker() not in (0, before), "haproxy did not change in time")
        if not self._adapt(balancers):
            raise Unavailable("haproxy did not take its servers")

    def _words(self, *options: str) -> list[str]:
        user = self._user()
        become = ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
        become += ["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"]
        return [
            *jail.walls(self._folder, _BECOMES),
            *(jail.program("setpriv"), *become, "--"),
            *(jail.program(PROGRAM), "-f", str(FOLDER / CONFIGURATION), *options),
        ]

    def _user(self) -> int:
        """Of this namespace and of no other that is there. No user of the machine has a number as high."""
        return _USERS | namespaces.inode(self._netns) & _EACH

    def _worker(self) -> int:
        """The process that takes new connections; 0 when none answers."""
        try:
            lines = self._say("show info").splitlines()
        except Unavailable:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), 0)

    def _await(self, condition: Callable[[], bool], otherwise: str) -> None:
        end = self._clock.monotonic() + self._patience
        while not condition():
            if self._clock.monotonic() > end:
                raise Unavailable(otherwise)
            self._clock.wait(_LOOK)

    # -- servers of the running process ---------------------------------------------------------

    def _adapt(self, balancers: tuple[Balanced, ...]) -> bool:
        """The process has these servers, without another worker; False when it can't."""
        try:
            live = self._live()
            return all(self._adapt_one(each, live.get(each.id, {})) for each in balancers)
        except Unavailable:
            return False

    def _adapt_one(self, balanced: Balanced, live: Mapping[str, _Live]) -> bool:
        wanted = {str(one.nic): one for one in balanced.servers}
        added = False
        for name in live.keys() - wanted.keys():
            self._order(f"set server {balanced.id}/{name} state maint")
            self._say(f"del server {balanced.id}/{name}")  # later, while somebody is served by it
        for name, one in wanted.items():
            path, held = f"{balanced.id}/{name}", live.get(name)
            if held is None:
                words = f"add server {path} {told.server(balanced, replace(one, weight=0))}"
                if "registered" not in self._say(words):
                    return False
                self._admit(path, one.weight)
                added = True
            elif held.at != _at(one):
                return False
            elif held.resting or (not held.weight and not held.checked):
                self._admit(path, one.weight)
            elif held.weight != one.weight:
                self._order(f"set server {path} weight {one.weight}")
        if added and balanced.stickiness is Stickiness.COOKIE:
            self._order(f"enable dynamic-cookie backend {balanced.id}")
        return True

    def _admit(self, path: str, weight: int) -> None:
        """It gets its share as soon as its checks have passed, and nothing before. Said at once, and safe to repeat."""
        self._order(
            f"set server {path} weight 0; enable health {path}; enable server {path};"
            f" set server {path} health down; set server {path} weight {weight}"
        )

    def _live(self) -> dict[str, dict[str, _Live]]:
        """By balancer, by name."""
        lines = self._say("show servers state").splitlines()
        names = lines[1].removeprefix("# ").split()
        found: dict[str, dict[str, _Live]] = {}
        for line in lines[2:]:
            row = dict(zip(names, line.split(), strict=False))
            if "be_name" in row and len(row) == len(names):
                found.setdefault(row["be_name"], {})[row["srv_name"]] = _Live(
                    at=f"{row['srv_addr']}:{row['srv_port']}",
                    weight=int(row["srv_uweight"]),
                    resting=bool(int(row["srv_admin_state"]) & _MAINTENANCE),
                    checked=int(row["srv_check_status"]) >= _CHECKED,
                )
        return found

    def _order(self, words: str) -> None:
        """Say what is answered by nothing when it is done."""
        answer = self._say(words).strip()
        if answer:
            raise Unavailable("haproxy did not do as it was told", detail=f"{words}: {answer}")

    def _say(self, words: str, within: float = _ANSWERS_WITHIN, to: str = told.ADMIN) -> str:
        """The worker's answer, or the master's. The socket's path may be too long for a socket, so it is reached by its folder."""
        try:
            folder = os.open(self._folder, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise Unavailable("haproxy does not run") from error
        try:
            with socket.socket(socket.AF_UNIX) as mouth:
                mouth.settimeout(within)
                mouth.connect(f"/proc/self/fd/{folder}/{to}")
                mouth.sendall(f"{words}\n".encode())
                mouth.shutdown(socket.SHUT_WR)  # a master waits for more words otherwise
                return b"".join(_all(mouth)).decode(errors="replace")
        except OSError as error:
            raise Unavailable("haproxy does not answer", detail=str(error)) from error
        finally:
            os.close(folder)


def _all(mouth: socket.socket) -> Iterator[bytes]:
    while part := mouth.recv(1 << 16):
        yield part


def _servers(said: str) -> list[str]:
    """The rows of `show servers state`."""
    return [line for line in said.splitlines()[2:] if line]


def _name(line: str) -> str:
    _, balancer, _, server, *_ = line.split()
    return f"{balancer}/{server}"


def _known(said: str, balancers: Iterable[Balanced]) -> str:
    """Of what is said of failing servers, what a new process is to begin with; empty: nothing.

    A balancer all of whose servers failed uses them: one of them may be well by now, and nobody would be served till it is seen.
    """
    lines = {_name(line): line for line in _servers(said)}
    kept: list[str] = []
    for each in balancers:
        failed = [lines.get(f"{each.id}/{one.nic}") for one in each.servers]
        if None in failed:
            kept += [line for line in failed if line]
    return "\n".join([*said.splitlines()[:2], *kept, ""]) if kept else ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _only(
    balancers: tuple[Balanced, ...], live: Mapping[str, Mapping[str, _Live]]
) -> tuple[Balanced, ...]:
    """The balancers with those of their servers that are there already, at the same place."""
    return tuple(
        replace(
            each,
            servers=tuple(
                one
                for one in each.servers
                if (held := live.get(each.id, {}).get(one.nic)) and held.at == _at(one)
            ),
        )
        for each in balancers
    )


def _at(server: Server) -> str:
    return f"{server.to}:{server.port}"


def _table(answer: str) -> list[dict[str, str]]:
    """Rows of `show stat`; none when it was not understood: its process has just ended."""
    return list(csv.DictReader(answer[2:].splitlines())) if answer.startswith("# ") else []


def _is_server(row: Mapping[str, str]) -> bool:
    return row["svname"] not in ("FRONTEND", "BACKEND")


def _balancer(
    back: Mapping[str, str], front: Mapping[str, str], members: Iterable[MemberSeen]
) -> BalancerSeen:
    """From its two rows. One that only checks its members has none in front."""
    return BalancerSeen(
        id=BalancerId(back["pxname"]),
        sessions=_number(front.get("scur", "")),
        all_sessions=_number(front.get("stot", "")),
        requests=_number(front.get("req_tot", "")),
        session_rate=_number(front.get("rate", "")),
        request_rate=_number(front.get("req_rate", "")),
        response_ms=_number(back["ttime"]),
        received_bytes=_number(front.get("bin", "")),
        sent_bytes=_number(front.get("bout", "")),
        members=tuple(sorted(members, key=lambda each: each.nic)),
    )


def _member(row: Mapping[str, str], still: int) -> MemberSeen:
    """`still`: sessions that it has beside those of this process."""
    up = row["status"].startswith(("UP", "DRAIN", "no check"))
    return MemberSeen(
        nic=NicId(row["svname"]),
        up=up,
        told=row["last_chk"] or row["check_desc"],
        weight=_number(row["uweight"]),
        well=up if _checked(row) else None,
        sessions=_number(row["scur"]) + still,
        all_sessions=_number(row["stot"]),
        errors=_number(row["hrsp_5xx"]),
        received_bytes=_number(row["bin"]),
        sent_bytes=_number(row["bout"]),
    )


def _checked(row: Mapping[str, str]) -> bool:
    """Whether it was looked at; a star says that the next check is under way."""
    return row["check_status"].removeprefix("* ") not in _UNCHECKED


def _owner(pid: int) -> int:
    """Whose process it is; -1 when it has just ended."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        return -1


def _number(text: str) -> int:
    return int(text or 0)


def _write(path: Path, text: str, user: int) -> None:
    """Wholly or not at all, and for that user's eyes only from its first byte on."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(fresh, "w", opener=lambda name, _flags: os.open(name, flags, 0o600)) as file:
        os.fchown(file.fileno(), user, user)
        file.write(text)
    fresh.rename(path)
