"""How what the writer promised comes to the event loop: on its thread, once, and to nobody who has gone."""

import asyncio
import threading

import pytest

from arable.api.adaptor import Awaited
from arable.domain.errors import Conflict


def on_a_loop(story):
    asyncio.run(story(lambda: Awaited(asyncio.get_running_loop(), threading.get_ident())))


def elsewhere(work, *args):
    """Done on another thread, and over when this returns."""
    thread = threading.Thread(target=work, args=args)
    thread.start()
    thread.join()


def test_what_is_told_on_the_loop_is_there_at_once():
    async def story(make):
        awaited = make()
        assert awaited.set_running_or_notify_cancel()
        awaited.set_result("kept")
        assert awaited.future.result() == "kept"

    on_a_loop(story)


def test_what_is_told_on_another_thread_arrives_on_the_loops():
    async def story(make):
        kept, refused = make(), make()
        elsewhere(kept.set_result, "kept")
        elsewhere(refused.set_exception, Conflict("taken"))
        assert not kept.future.done(), "only the loop touches what belongs to it"
        assert await kept.future == "kept"
        with pytest.raises(Conflict, match="taken"):
            await refused.future

    on_a_loop(story)


def test_nobody_is_told_who_has_gone():
    async def story(make):
        gone, going = make(), make()
        gone.future.cancel()
        assert not gone.set_running_or_notify_cancel()
        gone.set_result("late")
        elsewhere(going.set_result, "on its way")
        going.future.cancel()
        await asyncio.sleep(0)
        assert gone.future.cancelled()
        assert going.future.cancelled()

    on_a_loop(story)


def test_a_loop_that_has_ended_is_left_alone():
    left = []

    async def story(make):
        left.append(make())

    on_a_loop(story)
    elsewhere(left[0].set_result, "too late")
    assert not left[0].future.done()
