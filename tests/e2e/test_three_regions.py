"""Three regions with machines that are real: one is asked for in one region, starts in another, of an image that only a third has.

San Jose, New York and London are clouds of their own in one lab, joined by nothing but a WAN whose links carry 100 Mbit/s,
and by a grid manager. What crosses a link is counted where the links meet.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from arable.client.arable import Arable
from arable.client.errors import StillRunning, Unavailable, Unreachable
from arable.domain.units import MIB
from arable.drivers.namespaces import inside
from arable.lab import cache, fail, guest_image
from arable.lab.guest_image import MEMORY_MIB
from arable.lab.power import Site
from arable.lab.topology import WAN
from arable.processes import up
from arable.processes.up import Cloud, Wanted
from arable.runtime.clock import RealClock
from arable.wire.catalogue import FetchIn, WhereQuery
from arable.wire.events import EventQuery
from arable.wire.images import FromPartsIn, ImageIn, UploadQuery, VersionOut
from arable.wire.machines import DeployIn
from arable.wire.operations import OperationOut
from arable.wire.regions import FederationIn
from arable.wire.settings import SettingsChange
from e2e.customers import READY, Customer, customer
from e2e.patience import until

pytestmark = pytest.mark.real

REGIONS = up.EXAMPLES / "three-regions.yaml"
SAN_JOSE, NEW_YORK, LONDON = "san-jose", "new-york", "london"
DISK = 24 * MIB
LARGE = 48 * MIB
OVERHEAD = 1.12  # TLS, TCP, IP, Ethernet, a few chunks that were asked for twice, and what regions tell meanwhile
SPARE = 2 * MIB  # what was on its way, or only half here, when a line broke: so much comes again


@dataclass
class Grid:
    """It is up. `acme` is the same customer in each region, with an account and a key in each."""

    made: Cloud
    site: Site
    manager: Arable
    operators: dict[str, Arable]
    acme: dict[str, Customer]
    stack: ExitStack

    def asked_at(self, here: str, meant: str) -> Arable:
        """Acme's client at one region's API, for another region."""
        own = self.acme[here]
        return self.stack.enter_context(Arable(own.url, own.token, region=meant))

    def carried(self, region: str) -> int:
        """Bytes that went over the WAN to that region's servers, ever."""

        def look() -> int:
            counters = Path("/proc/thread-self/net/dev").read_text().splitlines()
            (found,) = [line.split(":")[1] for line in counters if line.strip().startswith(region)]
            return int(found.split()[8])

        return inside(self.site.place.namespace(WAN), look)

    def image(self, region: str, name: str, disk: bytes) -> VersionOut:
        """The small guest with that first disk; it is in that region alone."""
        api, guest = self.acme[region].api, guest_image.build(cache.folder("guest"))
        ask = ImageIn(name=name, command_line=guest.command_line, minimum_memory_mib=MEMORY_MIB)
        made = api.images.create(ask)
        parts = [
            api.image_parts.upload([content], UploadQuery(format=form, role=role)).sha256
            for content, form, role in (
                (disk, "raw", "disk"),
                (guest.kernel.read_bytes(), "blob", "kernel"),
                (guest.initrd.read_bytes(), "blob", "initrd"),
            )
        ]
        return api.images.create_from_parts(made.id, FromPartsIn(parts=tuple(parts)))

    def holders(self, asked: str, image: str) -> set[str]:
        """Regions that hold it, as one region, or the one that is asked itself, knows."""
        told = self.acme[asked].api.images.where(WhereQuery(image=image)).versions
        return {each.region for version in told for each in version.holders} | (
            {asked} if any(version.here for version in told) else set()
        )

    def known(self, image: str, *holders: str) -> None:
        """Wait until every region knows that these have it."""
        for region in (SAN_JOSE, NEW_YORK, LONDON):
            until(
                lambda asked=region: self.holders(asked, image) == set(holders),  # type: ignore[misc]
                f"{region} knows where {image} is",
            )


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    wanted = Wanted(
        data=tmp_path_factory.mktemp("grid"), topology=up.topology_of(REGIONS), api="127.0.0.1:0"
    )
    with ExitStack() as stack:
        made = stack.enter_context(up.cloud(wanted, RealClock(), lambda _line: None))
        assert made.site
        operators, acme = {}, {}
        for region in wanted.topology.regions:
            operator = stack.enter_context(made.operator_of(region))
            operator.settings.update(SettingsChange(values={"grid_seconds": 1}))
            operators[region.name] = operator
            acme[region.name] = customer(operator, made.ready[region.name].api, "acme")
            stack.callback(acme[region.name].close)
            others = {each.name for each in wanted.topology.regions} - {region.name}
            federate = FederationIn(origins=tuple(sorted(others)))
            operator.accounts.federate(acme[region.name].account, federate)
        manager = stack.enter_context(made.manager())
        yield Grid(made, made.site, manager, operators, acme, stack)


def noise(count: int, seed: str) -> bytes:
    """A disk that nothing else is like, and that does not compress."""
    return hashlib.shake_256(seed.encode()).digest(count)


def ended(at: Arable, operation: str) -> OperationOut:
    """The operation when it is done; its server may have to start first, on a machine that is busy."""

    def look() -> OperationOut | None:
        with suppress(StillRunning, Unavailable, Unreachable):
            return at.operations.wait(operation, seconds=10)
        return None

    return until(look, f"{operation} ends", 300)


def steps(operation: OperationOut) -> list[str]:
    return [step.text for step in operation.steps]


def test_a_machine_elsewhere_of_an_image_that_a_third_region_has_is_one_call(grid: Grid) -> None:
    """The claim, step by step: asked of the first cluster manager, for the second, which has to get the image."""
    disk = noise(DISK, "site")
    version = grid.image(LONDON, "site", disk)
    grid.known("site", LONDON)
    there = grid.acme[NEW_YORK]
    assert not [each for each in there.api.images.all() if each.name == "site"], "it lacks it"
    before = grid.carried(NEW_YORK)

    # A user asks San Jose for a machine in New York. San Jose passes it on; New York has the operation.
    asked = grid.asked_at(SAN_JOSE, NEW_YORK)
    made = asked.machines.deploy(DeployIn(name="web", image="site", offering="tiny"))
    done = ended(asked, made.operation)

    # New York found that it lacks the image, and who has it; asked for it, and started the machine with it.
    told = steps(done)
    size = -(-version.bytes // MIB)
    assert told[0] == f"fetches image site/1 from london: 0 of {size} MiB"
    at = told.index("image site/1 is here")
    assert at < next(number for number, text in enumerate(told) if text.startswith("placed"))
    assert list(grid.acme[SAN_JOSE].api.machines.all()) == []
    assert there.machine("web").state == "running"
    # What moved is what New York did not have: not the kernel, which another image of it has, too.
    assert DISK < grid.carried(NEW_YORK) - before < OVERHEAD * DISK + SPARE

    # It is stored there, and is what its name says.
    kept = up.server_data(grid.made.wanted, grid.made.wanted.topology.regions[1]) / up.IMAGES
    sha256 = hashlib.sha256(disk).hexdigest()
    assert hashlib.sha256((kept / sha256).read_bytes()).hexdigest() == sha256
    # It is in the global database: all regions know that there are two of it now.
    grid.known("site", LONDON, NEW_YORK)

    # The machine answers, and it is that image that it runs.
    guest = there.at("web")
    guest.run(READY)
    assert sha256 in guest.run(f"head -c {DISK} /dev/vda | sha256sum")

    # Who asks again does not wait for anything.
    before = grid.carried(NEW_YORK)
    asked = grid.asked_at(LONDON, NEW_YORK)
    made = asked.machines.deploy(DeployIn(name="more", image="site", offering="tiny"))
    again = steps(ended(asked, made.operation))
    assert not [text for text in again if "fetch" in text or "is here" in text]
    assert grid.carried(NEW_YORK) - before < MIB
    grid.acme[NEW_YORK].hang_up()
    grid.acme[NEW_YORK].destroy(["web", "more"])


def test_those_who_ask_at_the_same_time_share_one_transfer(grid: Grid) -> None:
    grid.image(LONDON, "shared", noise(DISK, "shared"))
    grid.known("shared", LONDON)
    before = grid.carried(SAN_JOSE)
    own, passed = grid.acme[SAN_JOSE].api, grid.asked_at(NEW_YORK, SAN_JOSE)

    def deploy(at: Arable, name: str) -> OperationOut:
        made = at.machines.deploy(DeployIn(name=name, image="shared", offering="tiny"))
        return ended(at, made.operation)

    def fetch() -> OperationOut:
        return ended(own, own.images.fetch(FetchIn(image="shared")).id)

    asks: list[Callable[[], OperationOut]] = [
        fetch,
        lambda: deploy(own, "one"),
        lambda: deploy(passed, "two"),
    ]
    with ThreadPoolExecutor(len(asks)) as pool:
        done = list(pool.map(lambda ask: ask(), asks))
    assert all("image shared/1 is here" in steps(each) for each in done)
    assert grid.carried(SAN_JOSE) - before < OVERHEAD * DISK + SPARE
    events = grid.operators[SAN_JOSE].events.all(EventQuery(kind="image.fetched"))
    assert [event.text for event in events] == ["image shared/1 is here"]
    grid.acme[SAN_JOSE].destroy(["one", "two"])


def test_a_cut_wan_holds_up_what_needs_it_and_nothing_else(grid: Grid) -> None:
    grid.image(LONDON, "cut", noise(LARGE, "cut"))
    grid.known("cut", LONDON)
    before = grid.carried(NEW_YORK)
    api = grid.acme[NEW_YORK].api
    operation = api.images.fetch(FetchIn(image="cut")).id
    until(lambda: grid.carried(NEW_YORK) - before > LARGE / 10, "a tenth has come")
    fail.cut(grid.site, f"{LONDON}.{WAN}")
    try:
        here = grid.carried(NEW_YORK) - before
        assert here < LARGE, "it was cut in the middle"
        assert grid.acme[LONDON].api.images.page().items, "London goes on by itself"
        asked = grid.asked_at(SAN_JOSE, NEW_YORK)
        assert asked.machines.page().items == [], "so do the others, with each other"
        assert api.operations.get(operation).state == "running"
        assert grid.carried(NEW_YORK) - before < here + MIB
    finally:
        fail.mend(grid.site, f"{LONDON}.{WAN}")
    ended(api, operation)
    assert grid.carried(NEW_YORK) - before < OVERHEAD * LARGE + SPARE, "it went on, not anew"


def test_servers_that_are_killed_go_on_where_they_were(grid: Grid) -> None:
    """First the one that sends, then the one that fetches."""
    grid.image(LONDON, "killed", noise(LARGE, "killed"))
    grid.known("killed", LONDON)
    before = grid.carried(NEW_YORK)
    api = grid.acme[NEW_YORK].api
    operation = api.images.fetch(FetchIn(image="killed")).id

    def come(share: float) -> None:
        until(
            lambda: grid.carried(NEW_YORK) - before > share * LARGE, f"{share:.0%} have come", 300
        )

    come(0.1)
    fail.kill_server(grid.site, LONDON)
    waits = "image killed/1 has to wait: london"
    until(
        lambda: [t for t in steps(api.operations.get(operation)) if t.startswith(waits)],
        "it is told that London can't be reached",
        300,
    )
    assert grid.carried(NEW_YORK) - before < LARGE / 2, "it was killed in the middle"
    fail.start_server(grid.site, LONDON)
    come(0.5)
    fail.kill_server(grid.site, NEW_YORK)
    assert grid.carried(NEW_YORK) - before < LARGE, "it was killed before the end"
    fail.start_server(grid.site, NEW_YORK)
    ended(api, operation)
    assert grid.holders(NEW_YORK, "killed") == {LONDON, NEW_YORK}
    assert grid.carried(NEW_YORK) - before < OVERHEAD * LARGE + 2 * SPARE, "it went on, not anew"
