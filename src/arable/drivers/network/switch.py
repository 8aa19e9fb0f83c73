"""A private Open vSwitch: its own database and switch process in a network namespace.

What an emulated host and an emulated pod switch run on; real hosts have their distribution's. A switch opens
only devices of its own namespace, so each emulated host has one of its own: its own memory, its own crashes.
The processes outlive the object (and the process) that started them; `stop` finds them by their pid files.
"""

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.drivers import namespaces
from arable.drivers.network.links import Links
from arable.drivers.network.ovs import NATIVE, OvsNetwork
from arable.drivers.network.ovsdb import Operation, Ovsdb, to_map
from arable.runtime.clock import Clock

SCHEMA = "vswitch.ovsschema"
_DATABASE, _SWITCH = "ovsdb-server", "ovs-vswitchd"
_GRACE = 10.0  # seconds for a process to end by itself


class OvsDaemon:
    """An Open vSwitch of one's own. Everything it needs is in `directory`; `stop` leaves nothing running."""

    def __init__(self, directory: Path, clock: Clock, netns: str | None = None) -> None:
        self.directory = directory.absolute()
        self.netns = netns
        self._clock = clock

    @property
    def db(self) -> str:
        """Where its database listens."""
        return f"unix:{self.directory / 'db.sock'}"

    def start(self) -> None:
        """Both processes run and answer when this returns; one that runs already is left alone."""
        self.directory.mkdir(parents=True, exist_ok=True)
        database = self.directory / "conf.db"
        if not database.exists():
            fresh = self.directory / "conf.new"
            fresh.unlink(missing_ok=True)
            self._run(["ovsdb-tool", "create", str(fresh), str(_schema())])
            fresh.rename(database)
        if not self._running(_DATABASE):
            self._daemon([_DATABASE, str(database), f"--remote=p{self.db}"])
            with Ovsdb(self.db, self._clock) as db:
                db.transact(*_settings(db))
        if not self._running(_SWITCH):
            self._daemon([_SWITCH, self.db])

    def running(self) -> bool:
        """Whether both processes are alive."""
        return self._running(_DATABASE) and self._running(_SWITCH)

    def stop(self) -> None:
        """Both processes are gone, and with them the devices they made."""
        self._end(_SWITCH, signal.SIGTERM)
        self._end(_DATABASE, signal.SIGTERM)

    def kill_switch(self) -> None:
        """The switch dies at once, as in a crash: it forgets all rules. `start` brings it back."""
        self._end(_SWITCH, signal.SIGKILL)

    def lay_host_bridge(
        self,
        bridge: str,
        uplink: str,
        management: str = "",
        *,
        datapath: str = "netdev",
        tunnel: str = "",
    ) -> OvsNetwork:
        """The bridge of a host: `uplink` (a device that exists) as its trunk, closed but for management.

        `management` names a port that the switch makes for the host's own untagged traffic, `tunnel` is the host's
        address for VXLAN.
        """
        self._lay(bridge, datapath)
        self._plug(
            bridge, uplink, {"tag": NATIVE, "vlan_mode": "native-untagged", "trunks": NATIVE}
        )
        if management:
            self._plug(bridge, management, {"tag": NATIVE}, kind="internal")
        network = OvsNetwork(self.db, bridge, uplink, self._clock, netns=self.netns, tunnel=tunnel)
        network.prepare()
        return network

    def lay_pod_bridge(
        self, bridge: str, *, trunks: Iterable[str] = (), datapath: str = "netdev"
    ) -> None:
        """An ordinary learning switch; `trunks` are devices that lead to hosts and carry every VLAN."""
        self._lay(bridge, datapath)
        for device in trunks:
            Links(self.netns).make_quiet(device, offloads=False)
            self._plug(bridge, device, {"tag": NATIVE, "vlan_mode": "native-untagged"})

    def plug_access(self, bridge: str, device: str, vlan: int) -> None:
        """A device that exists becomes an access port of that VLAN, for emulated outside worlds."""
        Links(self.netns).make_quiet(device, offloads=False)
        self._plug(bridge, device, {"tag": vlan, "vlan_mode": "access"})

    def _lay(self, bridge: str, datapath: str) -> None:
        with Ovsdb(self.db, self._clock) as db:
            (found,) = db.transact(_by_name("Bridge", bridge))
            if found["rows"]:
                return
            db.change(
                {
                    "op": "insert",
                    "table": "Interface",
                    "row": {"name": bridge, "type": "internal"},
                    "uuid-name": "interface",
                },
                {
                    "op": "insert",
                    "table": "Port",
                    "row": {"name": bridge, "interfaces": ["named-uuid", "interface"]},
                    "uuid-name": "port",
                },
                {
                    "op": "insert",
                    "table": "Bridge",
                    "row": {
                        "name": bridge,
                        "datapath_type": datapath,
                        "ports": ["named-uuid", "port"],
                    },
                    "uuid-name": "bridge",
                },
                {
                    "op": "mutate",
                    "table": "Open_vSwitch",
                    "where": [],
                    "mutations": [["bridges", "insert", ["set", [["named-uuid", "bridge"]]]]],
                },
            )

    def _plug(self, bridge: str, device: str, settings: dict[str, object], kind: str = "") -> None:
        with Ovsdb(self.db, self._clock) as db:
            (found,) = db.transact(_by_name("Port", device))
            if found["rows"]:
                return
            db.change(
                {
                    "op": "insert",
                    "table": "Interface",
                    "row": {"name": device, "type": kind},
                    "uuid-name": "interface",
                },
                {
                    "op": "insert",
                    "table": "Port",
                    "row": {"name": device, "interfaces": ["named-uuid", "interface"], **settings},
                    "uuid-name": "port",
                },
                {
                    "op": "mutate",
                    "table": "Bridge",
                    "where": [["name", "==", bridge]],
                    "mutations": [["ports", "insert", ["set", [["named-uuid", "port"]]]]],
                },
            )

    def _daemon(self, words: Sequence[str]) -> None:
        """The program detaches itself when it is ready to answer, and not before."""
        tool = words[0]
        self._run(
            [
                *words,
                f"--unixctl={self.directory / f'{tool}.ctl'}",
                f"--pidfile={self._pidfile(tool)}",
                f"--log-file={self.directory / f'{tool}.log'}",
                "--verbose=console:off",
                "--detach",
                "--no-chdir",
            ]
        )

    def _run(self, words: Sequence[str]) -> None:
        places = dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"), str(self.directory))

        def run() -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **places},
            )

        try:
            done = namespaces.inside(self.netns, run)
        except FileNotFoundError:
            raise Unavailable(f"{words[0]} is not installed here") from None
        if done.returncode != 0:
            raise Unavailable(f"{words[0]} did not start", detail=done.stderr.strip())

    def _pidfile(self, tool: str) -> Path:
        return self.directory / f"{tool}.pid"

    def _pid(self, tool: str) -> int:
        """The process of ours, or 0. A pid file may be older than the process that now has its number."""
        try:
            pid = int(self._pidfile(tool).read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return 0
        mine = f"--pidfile={self._pidfile(tool)}".encode() in words
        return pid if mine else 0

    def _running(self, tool: str) -> bool:
        return self._pid(tool) != 0

    def _end(self, tool: str, how: signal.Signals) -> None:
        pid = self._pid(tool)
        if not pid:
            return
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            for attempt in (how, signal.SIGKILL):
                signal.pidfd_send_signal(process, attempt)
                if select.select([process], [], [], _GRACE)[0]:
                    break
            else:
                raise Unavailable(f"{tool} can't be ended")
        except ProcessLookupError:
            pass
        finally:
            os.close(process)
        self._pidfile(tool).unlink(missing_ok=True)


def _schema() -> Path:
    folder = os.environ.get("OVS_PKGDATADIR")
    if folder:
        return Path(folder) / SCHEMA
    tool = shutil.which(_SWITCH) or shutil.which("ovs-vsctl") or "/usr/bin/ovs-vsctl"
    return Path(tool).parent.parent / "share" / "openvswitch" / SCHEMA


def _settings(db: Ovsdb) -> list[Operation]:
    """One thread of each kind: an emulated host has little to switch, and there are many of them."""
    few = {"n-handler-threads": "1", "n-revalidator-threads": "1", "pmd-cpu-mask": "0"}
    (found,) = db.transact(
        {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["_uuid"]}
    )
    if found["rows"]:
        return []
    return [{"op": "insert", "table": "Open_vSwitch", "row": {"other_config": to_map(few)}}]


def _by_name(table: str, name: str) -> Operation:
    return {"op": "select", "table": table, "where": [["name", "==", name]], "columns": ["name"]}
