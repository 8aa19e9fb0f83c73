"""A host with one small disk, for its agent, its images and its thin disks: images come and go by themselves, and a pool that is
full says so and harms nobody, also when a guest has taken the last byte.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.client.errors import OperationFailed
from arable.domain.units import MIB
from arable.lab import fail
from arable.lab.power import AGENT_HOME
from arable.processes import up
from arable.processes.up import Wanted
from arable.runtime.entropy import Entropy
from arable.wire.alerts import AlertQuery
from arable.wire.events import EventQuery
from arable.wire.images import FromPartsIn, ImageIn, UploadQuery
from arable.wire.machines import StopIn
from arable.wire.offerings import OfferingIn
from arable.wire.pools import PoolOut
from arable.wire.settings import SettingsChange
from e2e.belief_and_truth import qemus, said
from e2e.conftest import OF_THIS_DIRECTORY, lab_cloud
from e2e.customers import READY, Customer, customer
from e2e.lab_cloud import LabCloud
from e2e.patience import settled, until

pytestmark = pytest.mark.real
WITHIN = 300.0  # seconds; a fifth of that on a machine that has nothing else to do
DISK_MIB, IMAGE_MIB, HOG_MIB = 280, 59, 80
IMAGES = "abcd"
"""Three of them fit, with a kernel: four don't."""
MOUNT = (
    "mkdir /run/small; mount -t tmpfs -o size={mib}m,mode=0700 none /run/small;"
    " cp -a {home}/. /run/small/; mount --bind /run/small {home}"
)
COUNT = (
    "(i=0; while [ ! -e /tmp/stop ]; do i=$((i+1));"
    " echo $i | dd of=/dev/vda bs=64k conv=notrunc,fsync,sync 2>/dev/null && echo $i > /tmp/next && mv /tmp/next /tmp/now; done) > /dev/null 2>&1 & true"
)
MUCH = "dd if=/dev/urandom of=/tmp/much bs=1M count=1 2>/dev/null"
FILL = (
    "rm -f /tmp/done; (i={first}; while [ $i -lt {end} ]; do"
    " dd if=/tmp/much of=/dev/vda bs=1M seek=$i conv=notrunc,fsync 2> /tmp/said"
    " || {{ mv /tmp/said /tmp/done; exit; }}; i=$((i+1)); done; echo well > /tmp/done)"
    " > /dev/null 2>&1 & true"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCloud]:
    OF_THIS_DIRECTORY.close()  # two labs at once would be slow
    topology = up.topology_of(Path(__file__).with_name("small-disk.yaml"))
    wanted = Wanted(data=tmp_path_factory.mktemp("small"), topology=topology, api="127.0.0.1:0")
    with lab_cloud(wanted) as made:
        fail.kill_agent(made.site, "a1")  # its disk is another one now, which goes with its power
        said(made, "a1", "sh", "-ec", MOUNT.format(mib=DISK_MIB, home=AGENT_HOME))
        made.operator.settings.update(SettingsChange(values={"report_seconds": 2}))
        fail.start_agent(made.site, "a1")
        settled(lambda: pool(made).total_mib, DISK_MIB, WITHIN)
        yield made


@pytest.fixture(scope="module")
def contents(small: LabCloud) -> dict[str, str]:
    """SHA-256 of the disks of images that differ in these alone, by the images' names."""
    made, tiny = {}, next(small.operator.images.all())
    parts = tuple(part.sha256 for part in tiny.versions[0].parts)
    for name in IMAGES:
        content = Entropy(name).random.randbytes(IMAGE_MIB * MIB)
        raw = UploadQuery(format="raw", role="disk")
        disk = small.operator.image_parts.upload([content], raw).sha256
        made[name] = hashlib.sha256(content).hexdigest()
        assert disk == made[name]
        ask = ImageIn(name=name, public=True, command_line=tiny.command_line)
        image = small.operator.images.create(ask).id
        small.operator.images.create_from_parts(image, FromPartsIn(parts=(*parts, disk)))
    return made


@pytest.fixture(scope="module")
def red(small: LabCloud) -> Iterator[Customer]:
    """With a machine that writes all the time where it wrote before, and one that will take all the room there is."""
    hog = OfferingIn(name="hog", cpus=1, cpu_mhz=500, memory_mib=128, root_mib=HOG_MIB)
    small.operator.offerings.create(hog)
    made = customer(small.operator, small.url, "red")
    made.wait(made.deploy("keeper"), made.deploy("hog", offering="hog"))
    for name in ("keeper", "hog"):
        made.at(name).run(READY)
    made.at("keeper").run(COUNT)
    made.at("hog").run(MUCH)
    yield made
    made.close()


def pool(small: LabCloud) -> PoolOut:
    (found,) = small.operator.pools.all()
    return found


def used_mib(small: LabCloud) -> int:
    """Of the small disk, now: the pool tells what was measured a while ago."""
    figures = said(small, "a1", "df", "--block-size=1M", "--output=used", AGENT_HOME)
    return int(figures.split()[-1])


def evicted(small: LabCloud) -> list[str]:
    """The names of images that went, in order."""
    found = [e for e in small.operator.events.all(EventQuery()) if e.kind == "pool.image-evicted"]
    found.sort(key=lambda event: event.number)
    return [event.text.partition("(")[2].partition(")")[0] for event in found]


def alerts(small: LabCloud) -> list[str]:
    """How severe it is that a pool fills."""
    asked = AlertQuery(state="open", kind="pool-filling")
    return [alert.severity for alert in small.operator.alerts.all(asked)]


def count(red: Customer) -> int:
    return int(red.at("keeper").run("cat /tmp/now"))


def stalled(red: Customer, machine: str) -> bool:
    return any("stands still" in said for said in red.api.machines.explain(machine).says)


def runs_on(red: Customer) -> None:
    """The neighbour writes, and is the one that it was."""
    now = count(red)
    until(lambda: count(red) > now, "it writes on", WITHIN)


def deployed(red: Customer, image: str, *, stays: bool = False) -> None:
    """A machine of the image that was there: off again, or gone."""
    red.wait(red.deploy(f"of-{image}", image=image))
    if stays:
        red.wait(red.api.machines.stop(red.machine(f"of-{image}").id, StopIn(force=True)).id)
    else:
        red.destroy([f"of-{image}"])


def test_images_that_nothing_needs_go_when_others_need_their_room(
    small: LabCloud, red: Customer, contents: dict[str, str]
) -> None:
    before = qemus(small, "a1")
    deployed(red, "a", stays=True)
    for name in "bc":
        deployed(red, name)
    settled(lambda: pool(small).images, 5, WITHIN)
    assert evicted(small) == [], "there was room for each of them"
    deployed(red, "d")
    settled(lambda: evicted(small), ["b"], WITHIN)
    red.wait(red.deploy("of-b", image="b"))  # fetched anew
    settled(lambda: evicted(small), ["b", "c"], WITHIN)
    read = f"{READY}; dd if=/dev/vda bs=1M count={IMAGE_MIB} 2>/dev/null | sha256sum"
    assert red.at("of-b").run(read).split()[0] == contents["b"]
    red.hang_up()
    red.wait(red.api.machines.stop(red.machine("of-b").id, StopIn(force=True)).id)
    deployed(red, "c", stays=True)
    settled(lambda: evicted(small), ["b", "c", "d"], WITHIN)

    with pytest.raises(OperationFailed, match="not enough room"):
        red.wait(red.deploy("of-d", image="d"))
    waiting = red.machine("of-d")
    assert waiting.state == "stopped"
    runs_on(red)
    assert qemus(small, "a1") == before, "nobody was harmed"
    red.destroy(["of-c"])
    red.wait(red.api.machines.start(waiting.id).id)
    settled(lambda: evicted(small), ["b", "c", "d", "c"], WITHIN)
    red.wait(red.api.machines.stop(waiting.id, StopIn(force=True)).id)
    assert qemus(small, "a1") == before


@pytest.fixture
def images_that_stay(small: LabCloud, red: Customer, contents: dict[str, str]) -> list[str]:
    """Machines that are off and whose images take most of the disk: those that the test before this one left, or new ones."""
    del contents
    names = "abd"
    for name in names:
        if f"of-{name}" not in red.machines():
            deployed(red, name, stays=True)
    settled(lambda: used_mib(small) > len(names) * IMAGE_MIB, True, WITHIN)
    return [f"of-{name}" for name in names]


def test_a_pool_that_a_guest_fills_is_told_of_and_harms_nobody_else(
    small: LabCloud, red: Customer, images_that_stay: list[str]
) -> None:
    before, at = qemus(small, "a1"), red.at("hog")

    def written() -> None:
        until(lambda: at.outcome("test -e /tmp/done")[0] == 0, "it has written", WITHIN)
        assert at.run("cat /tmp/done").split() == ["well"]

    def fill(until_percent: int, first: int) -> int:
        end = first + DISK_MIB * until_percent // 100 - used_mib(small) + 1
        assert first <= end <= HOG_MIB, "of its disk"
        at.run(FILL.format(first=first, end=end))
        written()
        until(lambda: pool(small).used_percent >= until_percent, "it is measured", WITHIN)
        return end

    end = fill(80, 0)
    settled(lambda: alerts(small), ["warning"], WITHIN)
    end = fill(90, end)
    settled(lambda: alerts(small), ["critical"], WITHIN)
    end = fill(95, end)
    until(lambda: pool(small).fill == "full" and not pool(small).takes_disks, "it is full", WITHIN)
    with pytest.raises(OperationFailed, match="full pool"):
        red.wait(red.deploy("one-more"))
    assert "one-more" not in red.machines()
    runs_on(red)

    at.run(FILL.format(first=end, end=HOG_MIB))
    hog = red.machine("hog").id
    until(lambda: stalled(red, hog), "it stands still", WITHIN)
    assert pool(small).used_percent >= 99, "in whole MiB"
    runs_on(red)
    red.destroy(images_that_stay[:1])  # its router, too, finds no room for what it is told then
    settled(lambda: evicted(small)[-1:], ["a"], WITHIN)
    until(lambda: not stalled(red, hog), "it goes on by itself", WITHIN)
    written()
    runs_on(red)
    assert qemus(small, "a1") == before
