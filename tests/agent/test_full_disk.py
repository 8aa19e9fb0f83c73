"""A disk without a free byte: an agent does what it can, says the rest, and makes room."""

import errno
import os
from dataclasses import replace
from datetime import timedelta

import pytest

from agent import make_agent as make
from agent.make_agent import POOL, Rig
from arable.drivers.appliance.sim import SimAppliances

A = make.machine("a")


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.wish(make.guest("a"), make.appliance("a"))
    rig.settle(seconds=10)
    return rig


def spare(rig: Rig, letter: str) -> str:
    """An image part that nothing needs."""
    rig.clock.wait(timedelta(seconds=1))
    return make.keep_kernel(rig, letter)


def full(*_args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_router_that_can_not_be_written_down_holds_nobody_up(rig, monkeypatch) -> None:
    rig.hardware.pools[POOL].clutter()
    with monkeypatch.context() as broken:
        broken.setattr(SimAppliances, "ensure", full)
        rig.wish(make.lease("a"))
        rig.wish(make.guest("b", disks=(), ports=(), seed=None))
        rig.step()
        assert rig.runs("b")
        assert rig.server.appliances[make.network("a")].told == "the disk is full"
        assert rig.server.appliances[make.network("a")].running
        assert A in rig.server.guests
    rig.hardware.pools[POOL].clear()
    rig.settle(seconds=10)
    assert not rig.server.appliances[make.network("a")].told
    assert make.nic("a") in rig.hardware.appliances[make.network("a")].leases


def test_routers_that_can_not_make_themselves_heard_hold_nobody_up(rig, monkeypatch) -> None:
    monkeypatch.setattr(SimAppliances, "announce", full, raising=False)
    rig.after(20)
    assert rig.server.reports[-1].generation == rig.generation


def test_a_guest_that_stands_still_has_images_go_one_with_each_try(rig) -> None:
    needed = set(rig.hardware.pools[POOL].images)
    first, second, third = (spare(rig, letter) for letter in "xyz")
    pool = rig.hardware.pools[POOL]
    pool.clutter()
    assert not rig.hardware.write(A)
    rig.step()
    assert pool.images.keys() == needed | {second, third}, "the one that was not used for longest"
    assert not rig.hardware.guests[A].short, "it goes on at once"
    rig.after(1)
    assert pool.images.keys() == needed | {second, third}, "that was enough"
    pool.clutter()
    assert not rig.hardware.write(A)
    rig.step()
    pool.clutter()
    assert not rig.hardware.write(A)
    rig.step()
    assert pool.images.keys() == needed
    assert {first, second, third} == {
        one.sha256 for report in rig.server.reports for one in report.evicted
    }


def test_one_that_stands_still_for_another_reason_costs_nobody_an_image(rig) -> None:
    kept = spare(rig, "x")
    guest = rig.hardware.guests[A]
    guest.found = replace(guest.found, stalled=True)
    rig.step()
    assert kept in rig.hardware.pools[POOL].images
