"""`arable`, but an agent's simulated hardware can be looked at past it: who connects to a socket is told all of it.

The agent, its configuration and its ledger are those of production. The socket is beside the ledger.
"""

import json
import socket
import threading
from pathlib import Path

from arable.agent.config import AgentConfig
from arable.drivers.network.protocol import PortKind
from arable.drivers.simhost import SimHost
from arable.processes import agent, main
from arable.runtime.clock import Clock

SOCKET = "hardware.sock"
_build = agent.simulated


def account(hardware: SimHost) -> dict[str, object]:
    """What is there: machines that run with how often they were started, ports of guests, disks, routers, mishaps."""
    return {
        "runs": {str(m): one.starts for m, one in hardware.guests.items() if one.awake},
        "defined": sorted(map(str, hardware.guests)),
        "ports": {
            str(nic): port.vlan for nic, port in hardware.ports.items() if port.kind is PortKind.TAP
        },
        "volumes": sorted(str(v) for pool in hardware.pools.values() for v in pool.volumes),
        "routers": sorted(map(str, hardware.appliances)),
        "mishaps": list(hardware.mishaps),
    }


def told(config: AgentConfig, clock: Clock) -> SimHost:
    hardware = _build(config, clock)
    place = config.directory / SOCKET
    Path(place).unlink(missing_ok=True)
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(place))
    door.listen()

    def tell() -> None:
        while True:
            come, _ = door.accept()
            with come:
                come.sendall(json.dumps(_whole(hardware)).encode())

    threading.Thread(target=tell, daemon=True).start()
    return hardware


def _whole(hardware: SimHost) -> dict[str, object]:
    """The agent may be at work: then once more."""
    while True:
        try:
            return account(hardware)
        except RuntimeError:
            continue


if __name__ == "__main__":
    agent.simulated = told
    main.main()
