"""Routing appliances as virtual machines of their host: the second runtime (docs/decisions/0050).

The host makes the machine and its ends on VLANs: trusted taps with the ids that a namespace's ends have. What the router
is, the machine is told on its line (`line.py`), as one document, and does by itself with the same code
(`resident.py`). A start is not waited for, as it takes seconds to half a minute; a change to a router that runs is.

A file per network remembers how often it was made anew and whose figures it may tell; the machine itself is found by name.
"""

import json
import os
import shutil
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arable.appliance.router import leases, router
from arable.domain.balancer import BalancerSeen
from arable.domain.errors import BadInput
from arable.domain.ids import NetworkId, NicId
from arable.domain.manifest import ApplianceSeen, ApplianceWish, LeaseWish
from arable.domain.vpn import VpnSeen
from arable.drivers.appliance.asking import Answer
from arable.drivers.appliance.namespace import device, mac_of, nic
from arable.drivers.appliance.record import replace_text
from arable.drivers.appliance.vm.line import Line
from arable.drivers.appliance.vm.machines import Card, Machine, Machines
from arable.drivers.network.protocol import Network, Port, PortKind
from arable.runtime.clock import Clock

STARTS_SECONDS = 120.0
"""How long a machine may take from its start to a router that runs: a quarter of that on an emulated processor."""
SILENT_SECONDS = 45.0
"""After so long without news a router counts as failed. It tells some every two seconds, or every ten when it is busy."""

_OBEYS_SECONDS = 30.0
_FIRST_NEWS_SECONDS = 5.0
_MOST_TOLD = 500
_LONGEST_SOCKET = 107  # bytes of its path (unix(7))
_ENDS = {"e0": ("eth0", 1), "e2": ("eth2", 2), "e3": ("eth3", 3)}  # interface, and the card's place
_RECORD, _LINE, _LOG = "record.json", "line", "console.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    restarts: int = 0
    figures: tuple[str, ...] = ()  # ids of the balancers and VPNs that it was told to have


class VmAppliances:
    """`Appliances`, `Balances`, `Tunnels` and `Relays` of this host, one machine for each."""

    name = "vm"

    def __init__(self, directory: Path, network: Network, machines: Machines, clock: Clock) -> None:
        self._directory = directory.absolute()
        if (
            len(os.fsencode(self._folder(NetworkId("network-" + 20 * "0")) / _LINE))
            > _LONGEST_SOCKET
        ):
            told = f"{self._directory} is too long a path: sockets below it may have {_LONGEST_SOCKET} bytes in all"
            raise BadInput(told, field="directory")
        self._network = network
        self._machines = machines
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[NetworkId, Line] = {}
        self._answer: Answer | None = None
        self._met = False  # whether those that ran before us were looked for

    def close(self) -> None:
        """Let go of all lines; routers run on."""
        with self._lock:
            for line in self._lines.values():
                line.close()
            self._lines.clear()

    def settles_seconds(self, network: NetworkId) -> float:  # noqa: ARG002 - the same for all
        """How long one may take from being ensured to running."""
        return STARTS_SECONDS

    def relay(self, answer: Answer) -> None:
        with self._lock:
            self._answer = answer
            for line in self._lines.values():
                line.answer = answer

    def appliances(self) -> Mapping[NetworkId, ApplianceSeen]:
        with self._lock:
            running = self._meet()
            known = self._known(running)
            ports = self._network.ports() if known else {}
            return {
                network: self._seen(network, ports, runs=network in running) for network in known
            }

    def ensure(self, wish: ApplianceWish, leases_wished: Sequence[LeaseWish]) -> None:
        made = router(wish)
        leases(made, leases_wished)
        network = made.network
        with self._lock:
            if network not in self._lines:
                self._meet()  # one that runs already is waited for
            before = self._record(network)
            if before and before.restarts != wish.restarts:
                self._end(network)
            ends = {"e0": made.vlan}
            ends |= {"e2": made.out.vlan} if made.out else {}
            ends |= {"e3": made.link.vlan} if made.link else {}
            folder = self._folder(network)
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            balancers = [each.id for each in (*wish.balancers, *wish.inners)]
            figures = (*balancers, *(each.id for each in wish.vpns))
            record = _Record(restarts=wish.restarts, figures=tuple(map(str, figures)))
            self._keep(network, record)
            for end, vlan in ends.items():
                self._network.ensure(_port(network, end, vlan))
            self._machines.ensure(self._machine(network, ends))
            for end in _ENDS.keys() - ends.keys():
                self._network.remove(nic(network, end))
            line = self._line(network)
            number = line.order(wish, leases_wished)
        line.obeyed(number, _OBEYS_SECONDS)

    def remove(self, network: NetworkId) -> None:
        with self._lock:
            self._end(network)
            shutil.rmtree(self._folder(network), ignore_errors=True)

    def balancers(self, of: Collection[NetworkId] | None = None) -> Sequence[BalancerSeen]:
        with self._lock:
            self._meet_once()
            return [
                each
                for network, line in self._lines.items()
                if (of is None or network in of) and (news := line.news())
                for each in news[0].balancers
                if each.id in self._figures(network)
            ]

    def vpns(self) -> Sequence[VpnSeen]:
        with self._lock:
            self._meet_once()
            return [
                each
                for network, line in self._lines.items()
                if (news := line.news())
                for each in news[0].vpns
                if each.id in self._figures(network)
            ]

    # -- making ---------------------------------------------------------------------------------

    def _end(self, network: NetworkId) -> None:
        """All but its folder goes; the machine first, so that nothing speaks through a port that goes."""
        line = self._lines.pop(network, None)
        if line:
            line.close()
        self._machines.remove(network)
        for end in _ENDS:
            self._network.remove(nic(network, end))

    def _machine(self, network: NetworkId, ends: Collection[str]) -> Machine:
        folder = self._folder(network)
        return Machine(
            network=network,
            cards=tuple(
                Card(device=device(f"r{end[1]}", network), mac=mac_of(network, eth), place=place)
                for end, (eth, place) in _ENDS.items()
                if end in ends
            ),
            line=folder / _LINE,
            log=folder / _LOG,
        )

    def _line(self, network: NetworkId) -> Line:
        line = self._lines.get(network)
        if line is None:
            line = Line(network, self._folder(network) / _LINE, self._clock)
            line.answer = self._answer
            self._lines[network] = line
        return line

    def _meet(self) -> frozenset[NetworkId]:
        """The machines that run; those that were not known, as after a restart of the agent, had time to say something."""
        running = self._machines.running()
        until = self._clock.monotonic() + _FIRST_NEWS_SECONDS
        for line in [self._line(network) for network in running if network not in self._lines]:
            line.await_news(max(0.0, until - self._clock.monotonic()))
        self._met = True
        return running

    def _meet_once(self) -> None:
        if not self._met:
            self._meet()

    # -- looking --------------------------------------------------------------------------------

    def _known(self, running: Collection[NetworkId]) -> list[NetworkId]:
        """Whatever has a machine or a folder: nothing is lost from sight by losing the other."""
        folders = self._directory.iterdir() if self._directory.is_dir() else ()
        return sorted({*running, *(NetworkId(path.name) for path in folders)})

    def _seen(
        self, network: NetworkId, ports: Mapping[NicId, Port], *, runs: bool
    ) -> ApplianceSeen:
        line = self._lines.get(network)
        heard = line.news() if line else None
        generation = heard[0].seen.generation if heard and heard[0].seen else 0
        told = ""
        if not runs:
            told = "its virtual machine does not run"
        elif nic(network, "e0") not in ports:
            told = "its port on the guest network is not complete"
        elif heard is None:
            told = "its virtual machine is starting"
        elif heard[1] > SILENT_SECONDS:
            told = "its virtual machine does not answer"
        elif heard[0].failed:
            told = heard[0].failed
        elif heard[0].seen is None:
            told = "its virtual machine is starting"
        else:
            seen = replace(heard[0].seen, network=network, told=heard[0].seen.told[:_MOST_TOLD])
            return replace(seen, running=not seen.told, tries=0)
        return ApplianceSeen(
            network=network, generation=generation, running=False, told=told[:_MOST_TOLD]
        )

    def _figures(self, network: NetworkId) -> Collection[str]:
        record = self._record(network)
        return record.figures if record else ()

    def _record(self, network: NetworkId) -> _Record | None:
        try:
            told = json.loads((self._folder(network) / _RECORD).read_text())
            return _Record(restarts=int(told["restarts"]), figures=tuple(told["figures"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def _keep(self, network: NetworkId, record: _Record) -> None:
        text = json.dumps({"restarts": record.restarts, "figures": record.figures})
        replace_text(self._folder(network) / _RECORD, text)

    def _folder(self, network: NetworkId) -> Path:
        return self._directory / network


def _port(network: NetworkId, end: str, vlan: int) -> Port:
    return Port(
        nic=nic(network, end),
        kind=PortKind.ROUTER,
        vlan=vlan,
        device=device(f"r{end[1]}", network),
        mac=mac_of(network, _ENDS[end][0]),
    )
