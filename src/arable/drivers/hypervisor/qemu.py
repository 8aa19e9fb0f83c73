"""What libvirt has no words for, and QEMU is told itself."""

from datetime import timedelta
from typing import Any

import libvirt
import libvirt_qemu
import msgspec

from arable.domain.errors import Unavailable
from arable.runtime.clock import Clock

_POKES, _POKE = 6, timedelta(milliseconds=30)
_FAR = frozenset({"nbd", "iscsi"})


def tell(domain: libvirt.virDomain, command: str, arguments: Any = None) -> Any:
    """QEMU's answer. Raises `Unavailable` with its words when it refuses."""
    said = {"execute": command, **({"arguments": arguments} if arguments else {})}
    text = msgspec.json.encode(said).decode()
    answer = msgspec.json.decode(libvirt_qemu.qemuMonitorCommand(domain, text, 0))
    if "error" in answer:
        told = answer["error"].get("desc", "")
        raise Unavailable(f"QEMU did not take {command} for {domain.name()}", detail=told)
    return answer.get("return")


def snapshot(domain: libvirt.virDomain, path: str, name: str, *, drop: bool) -> None:
    """The qcow2 file that the guest has open keeps what is on it now under that name, or no more; already so is fine.

    QEMU does one thing after the other, so what was asked before and given up is over when it says which there are.
    """
    nodes = tell(domain, "query-named-block-nodes", {"flat": True})
    here = [n for n in nodes if n["drv"] == "qcow2" and n["file"] == path]
    if len(here) != 1:
        raise Unavailable(f"QEMU does not have {path} open for {domain.name()}")
    command = f"blockdev-snapshot-{'delete-' if drop else ''}internal-sync"
    kept = {each["name"] for each in here[0]["image"].get("snapshots", ())}
    if (name in kept) == drop:
        tell(domain, command, {"device": here[0]["node-name"], "name": name})


def reconnect(domain: libvirt.virDomain, clock: Clock) -> None:
    """Have QEMU notice that what served its disks is another process now, and connect anew, before the guest wants anything.

    It does so with each read, and not within one, so the first few fail; in vain, the guest stands still at its first
    access until it is told to go on, as it does whenever a disk was away.
    """
    nodes = tell(domain, "query-named-block-nodes", {"flat": True})
    names = [node["node-name"] for node in nodes if node["drv"] in _FAR]
    how = libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP
    for _ in range(_POKES):
        for name in names:
            libvirt_qemu.qemuMonitorCommand(domain, f'qemu-io {name} "read 0 512"', how)
        clock.wait(_POKE)
