"""Live migration of guests under libvirt, by QEMU's own means: from one QEMU to another, with TLS on both sides.

Not by libvirt's migration: there the source's libvirt commands the target's, so whoever owns one host would own every
other one. Here a host opens one port for one guest's memory and lets in one name, and what comes in is nothing but
memory. QEMU ends it with the sent guest standing still, and the received one too: neither libvirt nor we are asked by
it who may run. Nothing is kept outside of the two QEMUs, so an agent that comes back finds all there is to know: the
attempt's epoch is in the name of its TLS credentials (sender) and in the guest's metadata (receiver).

A guest on an emulated processor stands still from the beginning: there QEMU can forget that a page was written to
(docs/decisions/0008), and what arrived would not be what was sent away.
"""

import hashlib
from contextlib import suppress
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import fromstring, tostring

import libvirt

from arable.domain.errors import Conflict, Unavailable
from arable.domain.ids import HostId
from arable.drivers.hypervisor import domain_xml, qemu
from arable.drivers.hypervisor.domain_xml import Definition, Facts, Tuning
from arable.drivers.hypervisor.protocol import Gate, Journey, Passage, PassageState
from arable.runtime.clock import Clock

_CREDENTIALS = "move-e"
_PERIODS = {"initial": 50, "max": 550, "rounds": 5, "step": 100}  # milliseconds; as QEMU does it
_STATES = {
    "setup": PassageState.MOVING,
    "active": PassageState.MOVING,
    "device": PassageState.MOVING,
    "pre-switchover": PassageState.MOVING,
    "wait-unplug": PassageState.MOVING,
    "cancelling": PassageState.MOVING,
    "completed": PassageState.COMPLETE,
    "failed": PassageState.FAILED,
    "cancelled": PassageState.FAILED,
}


def kin(conn: libvirt.virConnect, tuning: Tuning) -> str:
    """QEMU's version, its machine, firmware, and the processor that guests see: a stream of memory checks none of them well."""
    accelerator = tuning.accelerator
    kind = "kvm" if accelerator == "kvm" else "qemu"
    text = conn.getDomainCapabilities(None, "x86_64", "q35", kind)
    capabilities = fromstring(text)  # noqa: S314 - from libvirt
    version, processor = conn.getVersion(), capabilities.find("cpu/mode[@name='host-model']")
    words = [accelerator, f"{version // 1_000_000}.{version // 1000 % 1000}"]
    words.append(capabilities.findtext("machine") or "q35")
    if tuning.firmware is not None:
        words.append(tuning.firmware.stem)
    if accelerator == "kvm" and processor is not None:
        words.append(hashlib.sha256(tostring(processor)).hexdigest()[:12])
    return " ".join(words)


def passage(domain: libvirt.virDomain, facts: Facts, *, still: bool, live: bool) -> Passage | None:
    """How it stands with a running domain. `still`: it does not run, and not because of a disk; `live`: as `send` has it."""
    seen = _ask(domain, "query-migrate")
    if facts.arrives:
        state = _STATES.get(seen.get("status", ""), PassageState.WAITING)
        return Passage(
            machine=facts.machine,
            epoch=facts.arrives,
            arriving=True,
            state=state,
            address=_address(seen),
            told=seen.get("error-desc", ""),
        )
    epoch = _attempt(domain)
    if not epoch:
        return None
    if "status" not in seen:
        seen = {"status": "failed", "error-desc": "it was not begun"}
    state, told = _STATES.get(seen["status"], PassageState.MOVING), seen.get("error-desc", "")
    if seen["status"] == "cancelled":
        told = "it was called off"
    if state is PassageState.COMPLETE and not still:
        state, told = PassageState.FAILED, "all had gone over, and it was kept"
    memory, total = seen.get("ram", {}), seen.get("total-time", 0)
    return Passage(
        machine=facts.machine,
        epoch=epoch,
        arriving=False,
        state=state,
        sent_bytes=memory.get("transferred", 0),
        left_bytes=memory.get("remaining", 0),
        dirty_bytes_per_second=memory.get("dirty-pages-rate", 0) * memory.get("page-size", 0),
        downtime_ms=seen.get("downtime", seen.get("expected-downtime", 0)) if live else total,
        seconds=total / 1000,
        still=still,
        told=told,
    )


def receive(
    conn: libvirt.virConnect, wanted: Definition, epoch: int, source: HostId, gate: Gate
) -> str:
    """A QEMU that waits for the guest; its address. There is no other one of this guest."""
    domain = conn.createXML(wanted.xml, libvirt.VIR_DOMAIN_START_PAUSED)
    try:
        name = f"arrive-e{epoch}"
        _credentials(domain, name, "server", gate)
        # As in the server of a disk: whoever else has a certificate of this cloud is not let in.
        one = {"qom-type": "authz-simple", "id": f"source-e{epoch}", "identity": f"CN={source}"}
        qemu.tell(domain, "object-add", one)
        _can(domain, "return-path", "late-block-activate")
        # Where the guest is gets known when it runs, and not before.
        limits = {"tls-creds": name, "tls-authz": one["id"], "announce-rounds": 0}
        qemu.tell(domain, "migrate-set-parameters", limits)
        _listen(domain, gate)
        return _address(_ask(domain, "query-migrate"))
    except BaseException:
        with suppress(libvirt.libvirtError):
            domain.destroy()
        raise


def send(domain: libvirt.virDomain, journey: Journey, gate: Gate, *, live: bool) -> None:
    """Begin, unless this attempt was begun already. Unless `live`, it stands still from now on.

    Who is stopped amid this leaves an attempt that failed, and is seen as one.
    """
    if _attempt(domain) == journey.epoch:
        return
    status = _ask(domain, "query-migrate").get("status", "")
    if _STATES.get(status) is PassageState.MOVING:
        raise Conflict(f"{domain.name()} is on its way already")
    if status == "completed":  # by an attempt that was decided against: it is not this one's
        with suppress(Unavailable):
            qemu.tell(domain, "migrate", {"uri": "nowhere:"})
    name = f"{_CREDENTIALS}{journey.epoch}"
    _credentials(domain, name, "client", gate)
    _can(domain, "return-path", "auto-converge")
    limits: dict[str, Any] = {
        "tls-creds": name,
        "tls-hostname": journey.target,
        "max-bandwidth": journey.bytes_per_second or 1 << 40,
        "downtime-limit": journey.downtime_ms,
    }
    qemu.tell(domain, "migrate-set-parameters", limits)
    if not live:
        domain.suspend()
    qemu.tell(domain, "migrate", {"uri": f"tcp:{journey.address}"})


def go_on(domain: libvirt.virDomain, *, still: bool) -> None:
    """Call it off, or have it run again."""
    status = _ask(domain, "query-migrate").get("status", "")
    if _STATES.get(status) is PassageState.MOVING:
        qemu.tell(domain, "migrate_cancel")
    elif still and _attempt(domain):
        domain.resume()
        _announce(domain)


def arrive(domain: libvirt.virDomain, clock: Clock) -> None:
    """It runs. All of it has come."""
    qemu.reconnect(domain, clock)
    domain.resume()
    _announce(domain)


def settle(domain: libvirt.virDomain, facts: Facts) -> None:
    """It is not remembered any more that it came from elsewhere."""
    text = domain_xml.metadata(replace(facts, arrives=0))
    element, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    domain.setMetadata(element, text, "arable", domain_xml.NAMESPACE, live)


def _attempt(domain: libvirt.virDomain) -> int:
    """The epoch of the last one by which it was sent; 0 for none."""
    name = _ask(domain, "query-migrate-parameters").get("tls-creds", "")
    return int(name.removeprefix(_CREDENTIALS)) if name.startswith(_CREDENTIALS) else 0


def _credentials(domain: libvirt.virDomain, name: str, endpoint: str, gate: Gate) -> None:
    with suppress(Unavailable):  # left by a try that got no further
        qemu.tell(domain, "object-del", {"id": name})
    made = {"qom-type": "tls-creds-x509", "id": name, "endpoint": endpoint, "verify-peer": True}
    qemu.tell(domain, "object-add", {**made, "dir": str(gate.credentials)})


def _can(domain: libvirt.virDomain, *names: str) -> None:
    wanted = [{"capability": name, "state": True} for name in names]
    qemu.tell(domain, "migrate-set-capabilities", {"capabilities": wanted})


def _listen(domain: libvirt.virDomain, gate: Gate) -> None:
    failure: Unavailable | None = None
    for port in gate.ports:
        try:
            qemu.tell(domain, "migrate-incoming", {"uri": f"tcp:{_in_url(gate.address)}:{port}"})
        except Unavailable as error:
            if "in use" not in error.detail:
                raise
            failure = error
        else:
            return
    raise failure or Unavailable("there are no ports for guests that arrive")


def _announce(domain: libvirt.virDomain) -> None:
    """Every switch on the way learns where the guest is. It would in time anyhow."""
    with suppress(Unavailable):
        qemu.tell(domain, "announce-self", _PERIODS)


def _address(seen: dict[str, Any]) -> str:
    for one in seen.get("socket-address", []):
        if one.get("type") == "inet":
            return f"{_in_url(one['host'])}:{one['port']}"
    return ""


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _ask(domain: libvirt.virDomain, command: str) -> dict[str, Any]:
    found = qemu.tell(domain, command)
    return found if isinstance(found, dict) else {}
