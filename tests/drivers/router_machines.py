"""Routers' machines without virtual machines: the program that lives in them runs on a thread, on its end of a real socket."""

import socket
import threading
from contextlib import suppress
from pathlib import Path

from arable.domain.ids import NetworkId
from arable.drivers.appliance.protocol import Appliances
from arable.drivers.appliance.sim import SimAppliances
from arable.drivers.appliance.vm.machines import Machine
from arable.drivers.appliance.vm.resident import Resident
from arable.drivers.network.sim import SimNetwork
from arable.drivers.simhost import SimHost

NEWS_SECONDS = 0.01


class ThreadMachines:
    """`Machines` whose routers are simulated ones, each in a simulated host of its own."""

    def __init__(self) -> None:
        self.inside: dict[NetworkId, ThreadMachine] = {}
        self.cards: dict[NetworkId, tuple[int, ...]] = {}
        self.started: list[NetworkId] = []

    def running(self) -> frozenset[NetworkId]:
        return frozenset(self.inside)

    def ensure(self, machine: Machine) -> None:
        self.cards[machine.network] = tuple(card.place for card in machine.cards)
        if machine.network not in self.inside:
            self.started.append(machine.network)
            self.inside[machine.network] = ThreadMachine(machine.line)

    def remove(self, network: NetworkId) -> None:
        made = self.inside.pop(network, None)
        if made:
            made.end()

    def close(self) -> None:
        for network in list(self.inside):
            self.remove(network)


class ThreadMachine:
    """One of them. Its line takes one caller after the other, as QEMU's does."""

    def __init__(self, path: Path) -> None:
        self.hardware = SimHost(cpus=1, cpu_mhz=1000, memory_mib=256)
        self.routers: Appliances = SimAppliances(self.hardware, SimNetwork(self.hardware))
        self._path = path
        path.unlink(missing_ok=True)
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(path))
        self._door.listen()
        self._there = threading.Condition()
        self._caller: socket.socket | None = None
        self._ended = False
        self.resident = Resident(self, lambda _network: self.routers, news_seconds=NEWS_SECONDS)
        self.resident.start()
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._open, self._live)
        ]
        for thread in self._threads:
            thread.start()

    def read(self) -> bytes:
        caller = self._called()
        try:
            data = caller.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            with self._there:
                if self._caller is caller:
                    self._caller = None
            caller.close()
        return data

    def write(self, data: bytes) -> None:
        with suppress(OSError, EOFError):
            if self._caller:
                self._caller.sendall(data)

    def end(self) -> None:
        """Its power is cut."""
        with self._there:
            self._ended = True
            for each in (self._caller, self._door):
                if each:
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)
            self._there.notify_all()
        for thread in self._threads:
            thread.join(20)
        self._door.close()
        if self._caller:
            self._caller.close()
        self._path.unlink(missing_ok=True)

    def _called(self) -> socket.socket:
        with self._there:
            self._there.wait_for(lambda: self._caller or self._ended)
            if self._ended or self._caller is None:
                raise EOFError
            return self._caller

    def _open(self) -> None:
        with suppress(OSError):
            while not self._ended:
                caller, _ = self._door.accept()
                with self._there:
                    self._caller = caller
                    self._there.notify_all()

    def _live(self) -> None:
        while not self._ended:
            self.resident.round()
