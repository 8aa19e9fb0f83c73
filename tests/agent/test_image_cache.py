"""Images that nothing needs go: after their time, or when their room is needed; never one that something needs."""

import hashlib
from datetime import timedelta

import pytest

from agent import make_agent as make
from agent.make_agent import POOL, Rig
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.domain.units import MIB
from arable.drivers.simhost import SimPool
from arable.wire.agent import Welcome


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.wish()  # nothing, but that is known
    return made


def disks(rig: Rig) -> SimPool:
    return rig.hardware.pools[POOL]


def told(rig: Rig) -> list[tuple[str, str]]:
    return [(one.sha256, one.why) for report in rig.server.reports for one in report.evicted]


def test_one_that_was_not_used_for_long_goes_and_is_told_once(rig) -> None:
    old = make.keep_kernel(rig, "a")
    rig.clock.wait(timedelta(days=5))
    young = make.keep_kernel(rig, "b")
    rig.settle(120)
    assert disks(rig).images.keys() == {old, young}
    rig.clock.wait(timedelta(days=2))
    rig.settle(120)
    assert disks(rig).images.keys() == {young}
    assert told(rig) == [(old, "it was not used for long")]
    assert disks(rig).used_bytes == MIB


def test_the_cloud_says_how_long(rig) -> None:
    old = make.keep_kernel(rig, "a")
    rig.agent.receive(Welcome(server="server-a", image_cache_seconds=3600))
    rig.settle(1800)
    assert old in disks(rig).images
    rig.settle(2400)
    assert old not in disks(rig).images


def test_one_that_a_volume_stands_on_or_that_is_wished_for_stays(rig) -> None:
    rig.wish(make.guest("a"))
    rig.settle(30)
    image, *_ = disks(rig).bases.values()
    kernel = make.keep_kernel(rig, "k")
    part = ImagePart(role=PartRole.KERNEL, sha256=kernel, bytes=MIB, format=PartFormat.BLOB)
    rig.wish(make.guest("a", parts=(part,)))
    everything = set(disks(rig).images)
    rig.clock.wait(timedelta(days=60))
    rig.settle(120)
    assert rig.runs("a")
    assert disks(rig).images.keys() == everything == {image, kernel}
    rig.wish(no=[make.guest("a")])
    rig.settle(120)
    rig.clock.wait(timedelta(days=60))
    rig.settle(120)
    assert image in disks(rig).images, "its disk stays"
    rig.wish(make.scrap("a"))
    rig.settle(60)
    rig.clock.wait(timedelta(days=6))
    rig.settle(120)
    assert image in disks(rig).images, "it was in use six days ago"
    rig.clock.wait(timedelta(days=1))
    rig.settle(120)
    assert not disks(rig).images
    rig.wish(make.guest("b"))
    rig.settle(60)
    assert rig.runs("b"), "what it needs was fetched anew"


def test_a_pool_that_is_nearly_full_keeps_nothing_that_is_not_needed(rig) -> None:
    rig.wish(make.guest("a"))
    rig.settle(30)
    needed = set(disks(rig).images)
    first = make.keep_kernel(rig, "a", 2)
    rig.clock.wait(timedelta(seconds=1))
    second = make.keep_kernel(rig, "b", 2)
    rig.settle(120)
    assert disks(rig).images.keys() == needed | {first, second}
    disks(rig).total_bytes = (disks(rig).used_bytes - 1 * MIB) * 100 // 85
    rig.settle(120)
    assert disks(rig).images.keys() == needed | {second}, "the one that was not used for longest"
    disks(rig).total_bytes = disks(rig).used_bytes
    rig.settle(120)
    assert disks(rig).images.keys() == needed
    assert {why for _, why in told(rig)} == {"85 % of the pool are in use"}
    assert rig.runs("a")


def test_what_is_to_be_made_makes_room_for_itself(rig) -> None:
    first = make.keep_kernel(rig, "a", 2)
    rig.clock.wait(timedelta(seconds=1))
    second = make.keep_kernel(rig, "b", 2)
    disks(rig).total_bytes = 64 * MIB
    disks(rig).others_bytes = 60 * MIB
    disks(rig).used_bytes += 60 * MIB
    rig.wish(make.guest("a"))
    rig.settle(20)
    assert rig.runs("a")
    assert told(rig) == [(first, "its room was needed")]
    assert second in disks(rig).images


def test_what_could_never_fit_costs_nobody_an_image(rig) -> None:
    first = make.keep_kernel(rig, "a", 2)
    rig.wish(make.guest("a", disks=(make.disk("a", bytes=disks(rig).total_bytes + MIB),)))
    rig.settle(20)
    assert not rig.runs("a")
    assert first in disks(rig).images


def test_it_is_the_same_wherever_it_fails_or_dies() -> None:
    def lived(fail_at: int | None) -> int:
        rig = Rig()
        old = make.keep_kernel(rig, "a")
        rig.wish(make.guest("a"))
        rig.settle(30)
        rig.clock.wait(timedelta(days=8))
        rig.faults.fail_at, rig.faults.passed = fail_at, 0
        rig.settle(90)
        rig.restart()
        rig.settle(200)
        assert old not in disks(rig).images
        assert rig.runs("a")
        assert set(disks(rig).bases.values()) <= disks(rig).images.keys()
        assert not rig.hardware.mishaps
        return rig.faults.passed

    places = lived(None)
    assert places
    for at in range(places):
        lived(at)


def test_what_is_received_for_nobody_goes_as_well(rig) -> None:
    kernel = hashlib.sha256(b"kernel").hexdigest()
    part = ImagePart(role=PartRole.KERNEL, sha256=kernel, bytes=6, format=PartFormat.BLOB)
    wish = make.guest("a", parts=(part,))
    source = wish.disks[0].source
    assert source
    rig.wish(wish)
    rig.settle(120)
    assert set(rig.received[-1]) == {source.sha256, kernel}
    rig.wish(no=[wish])
    rig.settle(120)
    assert set(rig.received[-1]) == set()
