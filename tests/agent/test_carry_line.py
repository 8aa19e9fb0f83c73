"""A volume from host to host: real TLS on the loopback, and who gets it when."""

import asyncio
import threading
from contextlib import contextmanager

import pytest
from test_peer_port import ANSWER, A, B, Hall, in_hall

from arable.agent.carry_line import Borrowing, lent
from arable.agent.patience import Waiting
from arable.agent.peer_port import PeerPort
from arable.domain.carry import CarryWish
from arable.domain.errors import CloudError, Forbidden, NotFound, Unavailable
from arable.domain.ids import HostId, OperationId, PoolId, VolumeId
from arable.drivers.storage.protocol import InUse, Passing
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy, Ids

IDS = Ids(RealClock(), Entropy.system())
OPERATION = OperationId(IDS.new("operation"))
CONTENT = b"0123456789abcdef" * 100_000
DIGEST = "d" * 64


class Lends:
    """What the port asks: one volume, for host `b`."""

    def __init__(self) -> None:
        self.error: CloudError | None = None
        self.breaks_at: int | None = None
        self.closed = threading.Semaphore(0)

    @contextmanager
    def lend(self, asker: HostId, operation: OperationId):
        if asker != B or operation != OPERATION:
            raise Forbidden("nothing is lent by that name, or not to this host")
        if self.error:
            raise self.error
        passing = Passing(len(CONTENT), 4096, iter(()))
        passing.pieces = self._pieces(passing)
        try:
            yield passing
        finally:
            self.closed.release()

    def _pieces(self, passing: Passing):
        for at in range(0, len(CONTENT), 1 << 17):
            if self.breaks_at is not None and at >= self.breaks_at:
                raise Unavailable("it was erased while it was read")
            yield CONTENT[at : at + (1 << 17)]
        passing.sha256 = DIGEST


def wish(hall: Hall, **but) -> CarryWish:
    usual = {
        "operation": OPERATION,
        "volume": VolumeId(IDS.new("volume")),
        "source": A,
        "target": B,
        "pool": PoolId("pool-b"),
        "bytes": len(CONTENT),
        "address": hall.port.address,
    }
    return CarryWish(**{**usual, **but})


def borrowed(hall: Hall, who: str = B, **but) -> tuple[bytes, Passing]:
    with Borrowing(lambda: hall.context(who)).borrow(wish(hall, **but)) as passing:
        return b"".join(passing.pieces), passing


def at_the_port(folder, lends: Lends, story, speed: int = 0) -> None:
    async def play(hall: Hall) -> None:
        await hall.port.close()
        hall.port = PeerPort(
            hall.authority.pem,
            folder / "disks/current",
            lambda asker, operation: lent(lends, asker, operation),
            lambda _operation: speed,
        )
        await hall.port.open("127.0.0.1", 0)
        await asyncio.to_thread(story, hall)
        assert await hall.ask(hall.context()) == ANSWER, "it answers its peers as ever"

    in_hall(folder, play)


def test_the_host_that_is_named_reads_all_of_it_and_nobody_else_any(tmp_path):
    lends = Lends()

    def story(hall: Hall) -> None:
        got, passing = borrowed(hall)
        assert (got, passing.sha256, passing.room) == (CONTENT, DIGEST, 4096)
        assert lends.closed.acquire(timeout=30), "it is let go of once all was said"
        assert not lends.closed.acquire(blocking=False), "and once only"
        for who, but in (("host-c", {}), (B, {"operation": IDS.new("operation")})):
            with pytest.raises(NotFound, match="not to this host"):
                borrowed(hall, who, **but)
        with pytest.raises(Unavailable, match="is not host-c"):
            borrowed(hall, source=HostId("host-c"))

    at_the_port(tmp_path, lends, story)


def test_what_may_be_otherwise_in_a_moment_is_waited_for(tmp_path):
    lends = Lends()

    def story(hall: Hall) -> None:
        lends.error = InUse("it is in use")
        with pytest.raises(Waiting, match="it is in use"):
            borrowed(hall)
        lends.error = NotFound("it is not here")
        with pytest.raises(NotFound, match="not here"):
            borrowed(hall)
        for address in ("", "127.0.0.1:1"):
            with pytest.raises(Waiting):
                borrowed(hall, address=address)

    at_the_port(tmp_path, lends, story)


def test_one_that_breaks_off_is_not_taken_for_whole(tmp_path):
    lends = Lends()
    lends.breaks_at = 1 << 19

    def story(hall: Hall) -> None:
        with pytest.raises(Waiting, match="hung up"):
            borrowed(hall)
        assert lends.closed.acquire(timeout=30), "it is let go of once all was said"
        assert not lends.closed.acquire(blocking=False), "and once only"

    at_the_port(tmp_path, lends, story)
