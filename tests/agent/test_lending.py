"""What a host lends of its volumes: to whom, and only while nothing here has them."""

import pytest
from make_agent import HOST, PART, POOL, Rig, guest, make_drivers, off, volume

from arable.domain.carry import CarryWish
from arable.domain.errors import Forbidden, NotFound
from arable.domain.ids import HostId, OperationId
from arable.domain.units import MIB
from arable.drivers.storage.protocol import InUse

B, C = HostId("host-b"), HostId("host-c")


def carry() -> CarryWish:
    return CarryWish(
        operation=OperationId(make_drivers.fresh("operation")),
        volume=volume("a"),
        source=HOST,
        target=B,
        pool=POOL,
        bytes=8 * MIB,
        image=PART,
    )


def lends(rig: Rig, wish: CarryWish, asker: HostId = B) -> int:
    with rig.agent.lending.lend(asker, wish.operation) as passing:
        return len(b"".join(passing.pieces))


def test_what_a_guest_has_or_may_have_is_not_lent() -> None:
    rig, wish = Rig(), carry()
    rig.wish(guest("a"))
    rig.settle()
    for wanted in ((wish,), (off("a"),)):
        rig.wish(*wanted)
        rig.settle()
        with pytest.raises(InUse):
            lends(rig, wish)
    rig.wish(no=[guest("a")])
    rig.settle()
    assert lends(rig, wish)
    rig.wish(guest("a", generation=3))
    rig.step()
    with pytest.raises(InUse):
        lends(rig, wish)


def test_only_the_host_that_is_named_may_read_and_only_while_it_is_wished() -> None:
    rig, wish = Rig(), carry()
    rig.hardware.pools.clear()
    rig.restart()
    rig.drivers.pools[0].admit(PART, rig.depot.fetch)
    rig.drivers.pools[0].ensure(volume("a"), 8 * MIB, PART)
    rig.wish()
    rig.step()
    with pytest.raises(InUse, match="not told"):
        lends(rig, wish)
    rig.wish(wish)
    rig.step()
    with pytest.raises(Forbidden):
        lends(rig, wish, C)
    with rig.agent.lending.lend(B, wish.operation) as passing:
        rig.wish(no=[wish])
        rig.step()
        with pytest.raises(Forbidden):
            list(passing.pieces)
    with pytest.raises(InUse):
        lends(rig, wish)


def test_what_was_never_made_is_not_waited_for() -> None:
    """Its machine was stopped before its first start was through, say."""
    rig, wish = Rig(), carry()
    rig.wish(wish)
    rig.settle()
    with pytest.raises(NotFound, match="first starts"):
        lends(rig, wish)
