"""What a device does by itself when it gets power: its switch starts, and on a host its hypervisor.

Runs on the device (`python -m arable.lab.boot ORDER`, in JSON), so daemons see one world, as on a real machine:
their process ids, files, sockets and control groups are where they think they are, and `ovs-vsctl` or `virsh` typed
by somebody on the device just work. Ends when everything answers.
"""

import subprocess
import sys
from pathlib import Path

import msgspec

from arable.domain.errors import CloudError, Unavailable
from arable.drivers.network.switch import OvsDaemon
from arable.runtime.clock import Clock, RealClock

SWITCH_RUN = "/run/openvswitch"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to start. `switch` are arguments of `ovs-vsctl`; a host has a bridge with an uplink and a leg instead."""

    switch: list[str] = []
    bridge: str = ""
    uplink: str = ""
    management: str = ""
    hypervisor: str = ""  # a name unlike any other host's, if there is to be one
    capabilities: str = ""  # where what is known of QEMU is shared between hosts
    disks: str = ""  # where the agent puts certificates for shared disks


def boot(order: Order, clock: Clock) -> None:
    """Start it all."""
    if order.switch or order.bridge:
        daemon = OvsDaemon(Path(SWITCH_RUN), clock)
        daemon.start()
        if order.bridge:
            daemon.lay_host_bridge(order.bridge, order.uplink, order.management)
        else:
            _configure(daemon.db, order.switch)
    if order.hypervisor:
        from arable.drivers.hypervisor.daemon import LibvirtDaemon

        known = Path(order.capabilities)
        disks = Path(order.disks) if order.disks else None
        LibvirtDaemon.in_place(order.hypervisor, clock, capabilities=known, disks=disks).start()


def _configure(db: str, words: list[str]) -> None:
    done = subprocess.run(
        ["ovs-vsctl", f"--db={db}", "--timeout=60", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Unavailable(f"the switch refused its ports: {done.stderr.strip()}")


def main() -> None:
    """Follow the order, and say on standard error what went wrong."""
    try:
        boot(msgspec.json.decode(sys.argv[1], type=Order), RealClock())
    except CloudError as error:
        sys.exit(f"{error.public} {error.detail}".strip())


if __name__ == "__main__":
    main()
