"""What hosts say is kept, and controllers decide, while a long commit of accepted work goes on, where the store lets several
write."""

import asyncio
import threading

import pytest

from gateway.make_gateway import run
from processes.test_cluster import blank
from processes.test_membership import server


@pytest.mark.real
def test_what_hosts_say_does_not_wait_for_what_is_being_accepted(postgresql, tmp_path):
    async def story(url: str) -> None:
        async with server(tmp_path / "one", database=url) as made:
            begun, end = threading.Event(), threading.Event()

            def accept(_tx) -> None:
                begun.set()
                assert end.wait(60)

            accepted = made.writer.submit(accept)
            assert begun.wait(60)
            made.channels._desk.report([], []).result(30)
            assert made.loop.writer.submit(lambda _tx: "decided").result(30) == "decided"
            assert not accepted.done()
            end.set()
            await asyncio.wrap_future(accepted)
            assert len(made.writers) == 3

    with blank(postgresql) as url:
        run(story(url))


def test_a_store_with_one_writer_has_one(tmp_path):
    async def story() -> None:
        async with server(tmp_path / "one") as made:
            assert made.writers == [made.writer]

    run(story())
