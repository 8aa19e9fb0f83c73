"""Three regions of a lab with real machines, joined by a WAN with limited links: what a start elsewhere costs.

The image is in London, the machine is asked for in San Jose and meant for New York. A copy of the same bytes over the
same links, by one TCP stream from file to file, and a start in New York of an image as large that was brought there by
hand, are what it is measured against: what an operator without a grid would do, one after the other. All of them take
turns, so that a slow hour of the machine is in each.
"""

import hashlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arable.client.arable import Arable
from arable.client.errors import NotFound
from arable.domain.chunks import CHUNK
from arable.domain.errors import Unavailable
from arable.domain.units import MIB
from arable.drivers.namespaces import inside
from arable.lab import cache, devices, guest_image, topology
from arable.lab.guest_image import MEMORY_MIB
from arable.lab.power import Site
from arable.lab.topology import WAN
from arable.processes import up
from arable.processes.up import EXAMPLES, Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.wire.accounts import AccountIn, FirstUserIn
from arable.wire.catalogue import FetchIn, WhereQuery
from arable.wire.images import FromPartsIn, ImageIn, UploadQuery
from arable.wire.machines import DeployIn, DestroyIn
from arable.wire.regions import FederationIn
from arable.wire.settings import SettingsChange
from bench.quiet import await_quiet
from bench.start_overhead import FIRST_LINE, logs

FROM, HERE, THERE = "london", "san-jose", "new-york"
CHANGED = 20
"""Of so many clusters, one is another one in the next version."""
_PORT = 5001
_WITHIN = 300.0
_LOOK = 0.002
_ACCOUNT = "bench"


@dataclass
class Found:
    """Seconds, and bytes over the WAN as a share of the image's."""

    mib: int
    mbit: int
    copied: list[float] = field(default_factory=list)  # the bytes, from file to file
    cold: list[float] = field(default_factory=list)  # from the call to the guest's first line
    fetched: list[float] = field(default_factory=list)  # of that, until the image was there
    plain: list[float] = field(default_factory=list)  # of an image that was there, the first time
    warm: list[float] = field(default_factory=list)  # asked elsewhere, the image was there
    again: list[float] = field(default_factory=list)  # asked there, the image was there
    moved: list[float] = field(default_factory=list)  # by a cold start
    shared: list[float] = field(default_factory=list)  # by the next version

    @property
    def cold_ratios(self) -> list[float]:
        """Of each turn."""
        turns = zip(self.cold, self.copied, self.plain, strict=True)
        return [cold / (copied + plain) for cold, copied, plain in turns]

    @property
    def warm_ratios(self) -> list[float]:
        """Of each turn."""
        return [warm / again for warm, again in zip(self.warm, self.again, strict=True)]


@dataclass(frozen=True)
class _Regions:
    cloud: Cloud
    site: Site
    clients: dict[str, Arable]
    asked: Arable  # here, for there

    def carried(self) -> int:
        """Bytes that the WAN brought there, ever."""

        def look() -> int:
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
            (found,) = [line.split(":")[1] for line in lines if line.strip().startswith(THERE)]
            return int(found.split()[8])

        return inside(self.site.place.namespace(WAN), look)


def measured(times: int, mib: int, mbit: int, wait: float) -> Found:
    """So many turns."""
    found, clock = Found(mib, mbit), RealClock()
    text = (EXAMPLES / "three-regions.yaml").read_text()
    plan = topology.parse(text.replace("wan_mbit: 100", f"wan_mbit: {mbit}"))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="arable-bench-")))
        up.check_machine(folder)
        wanted = Wanted(data=folder / "cloud", topology=plan, api="127.0.0.1:0")
        cloud = stack.enter_context(up.cloud(wanted, clock, lambda text: print(f"  {text}")))
        regions = _regions(cloud, stack)
        _started(regions, regions.clients[THERE], "tiny")  # the router is there from then on
        for number in range(times):
            disk = noise(mib * MIB, f"far {number}")
            _image(regions.clients[FROM], f"far-{number}", disk)
            _image(regions.clients[THERE], f"near-{number}", noise(mib * MIB, f"near {number}"))
            _known(regions.clients[THERE], f"far-{number}")
            await_quiet(wait)
            found.copied.append(_copied(regions, folder, disk))
            await_quiet(wait)
            before = regions.carried()
            found.cold.append(_started(regions, regions.asked, f"far-{number}", found.fetched))
            found.moved.append((regions.carried() - before) / len(disk))
            await_quiet(wait)
            found.plain.append(_started(regions, regions.clients[THERE], f"near-{number}"))
            await_quiet(wait)
            found.warm.append(_started(regions, regions.asked, f"far-{number}"))
            await_quiet(wait)
            found.again.append(_started(regions, regions.clients[THERE], f"near-{number}"))
            found.shared.append(_next_version(regions, f"far-{number}", disk))
            print(
                f"  {number + 1}: copy {found.copied[-1]:.2f}, cold {found.cold[-1]:.2f} (there after"
                f" {found.fetched[-1]:.2f}), plain {found.plain[-1]:.2f}, warm {found.warm[-1]:.2f},"
                f" again {found.again[-1]:.2f} s; the next version moves {found.shared[-1]:.1%}",
                flush=True,
            )
    return found


def _regions(cloud: Cloud, stack: ExitStack) -> _Regions:
    assert cloud.site, "a real lab"
    clients, tokens = {}, {}
    password = Entropy.system().secret(24)
    names = [region.name for region in cloud.wanted.topology.regions]
    for region in cloud.wanted.topology.regions:
        operator = stack.enter_context(cloud.operator_of(region))
        operator.settings.update(SettingsChange(values={"grid_seconds": 1}))
        user = FirstUserIn(name=_ACCOUNT, password=password)
        made = operator.accounts.create(AccountIn(name=_ACCOUNT, user=user))
        others = tuple(sorted(set(names) - {region.name}))
        operator.accounts.federate(made.id, FederationIn(origins=others))
        client = stack.enter_context(Arable(cloud.ready[region.name].api))
        tokens[region.name] = client.sign_in(_ACCOUNT, password).token
        clients[region.name] = client
    asked = stack.enter_context(Arable(cloud.ready[HERE].api, tokens[HERE], region=THERE))
    return _Regions(cloud, cloud.site, clients, asked)


def noise(count: int, seed: str) -> bytes:
    """Bytes that don't compress, and that nothing else has."""
    return hashlib.shake_256(seed.encode()).digest(count)


def _image(at: Arable, name: str, disk: bytes) -> None:
    guest = guest_image.build(cache.folder("guest"))
    ask = ImageIn(name=name, command_line=guest.command_line, minimum_memory_mib=MEMORY_MIB)
    made = at.images.create(ask)
    parts = [
        at.image_parts.upload([content], UploadQuery(format=form, role=role)).sha256
        for content, form, role in (
            (disk, "raw", "disk"),
            (guest.kernel.read_bytes(), "blob", "kernel"),
            (guest.initrd.read_bytes(), "blob", "initrd"),
        )
    ]
    at.images.create_from_parts(made.id, FromPartsIn(parts=tuple(parts)))


def _known(at: Arable, image: str, versions: int = 1) -> None:
    _until(
        lambda: (
            sum(1 for each in at.images.where(WhereQuery(image=image)).versions if each.holders)
            >= versions
        ),
        f"{image} is not heard of",
    )


def _started(
    regions: _Regions, client: Arable, image: str, fetched: list[float] | None = None
) -> float:
    """Seconds from the call to the guest's first line. The machine is gone when this returns."""
    name = f"m-{Entropy.system().letters(8)}"
    began, moment = time.perf_counter(), time.time()
    made = client.machines.deploy(DeployIn(name=name, offering="small", image=image))
    (one,) = made.machines
    places = logs(regions.site, one.id)
    _until(lambda: any(FIRST_LINE in _read(log) for log in places), f"{name} does not start")
    took = time.perf_counter() - began
    done = client.operations.wait(made.operation)
    if fetched is not None:
        here = next(step.at for step in done.steps if step.text.endswith("is here"))
        fetched.append(here.timestamp() - moment)
    client.machines.destroy(one.id, DestroyIn(force=True, expunge=True))
    _until(lambda: _gone(client, one.id), f"{name} does not go", 0.1)
    return took


def _gone(client: Arable, machine: str) -> bool:
    try:
        client.machines.get(machine)
    except NotFound:
        return True
    return False


def _next_version(regions: _Regions, image: str, disk: bytes) -> float:
    """What goes over the WAN for a version whose clusters but one in twenty are those of the one before."""
    changed = bytearray(disk)
    for number in range(0, len(disk) // CHUNK, CHANGED):
        changed[number * CHUNK : (number + 1) * CHUNK] = noise(CHUNK, f"{image} {number}")
    london = regions.clients[FROM]
    (there,) = [each for each in london.images.all() if each.name == image]
    query = UploadQuery(format="raw")
    version = london.images.upload_version(there.id, [bytes(changed)], query)
    _known(regions.clients[THERE], image, 2)
    before = regions.carried()
    client = regions.clients[THERE]
    client.operations.wait(client.images.fetch(FetchIn(image=image, version=version.number)).id)
    return (regions.carried() - before) / len(disk)


def _copied(regions: _Regions, folder: Path, content: bytes) -> float:
    """Seconds of the plainest way: one stream, sent from a file by the kernel, and written to a file."""
    source, target = folder / "raw.from", folder / "raw.to"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    place = regions.site.place
    address = next(r.server for r in regions.cloud.wanted.topology.regions if r.name == FROM)
    with (
        _let_in(regions.site),
        inside(place.namespace(FROM), lambda: socket.create_server((address, _PORT))) as door,
    ):

        def send() -> None:
            line, _ = door.accept()
            with line, source.open("rb") as file:
                line.sendfile(file)

        sender = threading.Thread(target=send)
        sender.start()
        began = time.perf_counter()
        line = inside(
            place.namespace(THERE), lambda: socket.create_connection((address, _PORT), 30)
        )
        with line, target.open("wb") as file:
            while piece := line.recv(1 << 20):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        took = time.perf_counter() - began
        sender.join()
    if target.stat().st_size != len(content):
        raise Unavailable("the copy is not whole")
    return took


@contextmanager
def _let_in(site: Site) -> Iterator[None]:
    """The copy's port is open at the region that sends."""
    init = site.init(FROM)
    assert init, "it has power"
    rule = f"insert rule inet wan from_wan tcp dport {_PORT} accept"
    devices.run(site.place.id, init, ["nft", rule])
    try:
        yield
    finally:
        _take_back(site)


def _take_back(site: Site) -> None:
    init = site.init(FROM)
    firewall = site.plan.devices[FROM].firewall
    if init:
        devices.run(site.place.id, init, ["nft", "delete table inet wan"])
        devices.run(site.place.id, init, ["nft", "-f", "-"], text=firewall)


def _until(look: Callable[[], bool], told: str, step: float = _LOOK) -> None:
    end = time.monotonic() + _WITHIN
    while not look():
        if time.monotonic() > end:
            raise Unavailable(told)
        time.sleep(step)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
