"""What a lab looks like from outside: the state of its devices, links and servers, and pages fetched in it."""

from dataclasses import dataclass
from enum import StrEnum

import httpx

from arable.domain.errors import CloudError, NotFound, Unavailable
from arable.drivers.namespaces import inside
from arable.lab import devices, servers
from arable.lab.plan import Kind
from arable.lab.power import AGENT, Site
from arable.lab.record import DeviceRecord, ServerRecord

_PATIENCE = 15.0
_LARGEST = 1 << 20


class State(StrEnum):
    """Of a device or a server."""

    ON = "on"
    OFF = "off"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSeen:
    """A device as it is. `agent` is empty where there is none to be expected."""

    name: str
    kind: Kind
    zone: str
    pod: str
    address: str
    namespace: str
    state: State
    agent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSeen:
    """A cable as it is."""

    name: str
    between: str
    cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSeen:
    """A management server; a region's only one has the region's name. Without a region: the grid manager."""

    name: str
    region: str
    address: str
    state: State
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSeen:
    """All of a lab."""

    id: str
    directory: str
    devices: tuple[DeviceSeen, ...]
    links: tuple[LinkSeen, ...]
    servers: tuple[ServerSeen, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """An HTTP answer."""

    status: int
    text: str


def lab(site: Site) -> LabSeen:
    """The lab as it is now."""
    record = site.place.read()
    places = {
        server.name: (region, str(server.address)) for region, server in servers.of(record.topology)
    }
    return LabSeen(
        id=record.id,
        directory=str(site.place.root),
        devices=tuple(
            _device(site, name, record.devices.get(name, DeviceRecord()))
            for name in site.plan.devices
        ),
        links=tuple(
            LinkSeen(
                name=wire.name,
                between=f"{wire.near.device}:{wire.near.interface} – {wire.far.device}:{wire.far.interface}",
                cut=wire.name in record.cut,
            )
            for wire in site.plan.wires.values()
        ),
        servers=tuple(
            ServerSeen(
                name=name,
                region=places[name][0],
                address=places[name][1],
                state=_server_state(server),
                pid=server.process.pid if server.process and server.process.alive else None,
            )
            for name, server in record.servers.items()
        ),
    )


def _server_state(server: ServerRecord) -> State:
    if server.process is None or not server.process.alive:
        return State.OFF
    return State.FROZEN if server.frozen else State.ON


def _device(site: Site, name: str, record: DeviceRecord) -> DeviceSeen:
    device = site.plan.devices[name]
    on = bool(record.init and record.init.alive)
    state = (State.FROZEN if record.frozen else State.ON) if on else State.OFF
    legs = device.switch.ports if device.switch else ()
    addresses = [
        *(port.address for port in legs if port.address),
        *(a for _, a in device.addresses),
    ]
    return DeviceSeen(
        name=name,
        kind=device.kind,
        zone=device.zone,
        pod=device.pod,
        address=", ".join(addresses),
        namespace=site.place.namespace(name),
        state=state,
        agent=_agent(site, name) if device.kind is Kind.HOST and state is State.ON else "",
    )


def _agent(site: Site, host: str) -> str:
    try:
        return "running" if AGENT in devices.running(site.place.namespace(host)) else "stopped"
    except CloudError:  # the power went while we asked
        return "unknown"


def fetch(site: Site, url: str, *, device: str = "internet") -> Page:
    """What an HTTP GET answers when it is asked from a device: as a rule, from the internet."""
    if device not in site.plan.devices:
        known = ", ".join(sorted(site.plan.devices))
        raise NotFound(f"no device {device!r} in this lab; there are {known}")

    def get() -> Page:
        with (
            httpx.Client(timeout=_PATIENCE, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            text = b""
            for chunk in answer.iter_bytes():
                text += chunk
                if len(text) > _LARGEST:
                    raise Unavailable(f"{url} answers more than {_LARGEST} bytes")
            return Page(answer.status_code, text.decode(errors="replace"))

    try:
        return inside(site.place.namespace(device), get)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer: {error}") from error
