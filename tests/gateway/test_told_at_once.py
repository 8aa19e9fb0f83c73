"""What this server wrote goes to its hosts from memory."""

import msgspec
from make_gateway import rig, run
from sqlalchemy import event

from arable.runtime.clock import VirtualClock
from arable.store import incarnations
from arable.wire.agent import Change


def items(change: Change) -> dict[str, object]:
    return {
        item.id: None if item.body is None else msgspec.json.decode(item.body)
        for item in change.items
    }


def test_what_this_server_wrote_is_told_without_a_look_at_the_store(
    database, tmp_path, monkeypatch
):
    monkeypatch.setattr("arable.api.gateway.channels.LOOK_EVERY", 60)
    looks = []

    def asked(_tx, _cursor, statement, *_rest) -> None:
        if "manifest_item i" in statement:
            looks.append(statement)

    async def scenario():
        with database.write() as tx:
            incarnations.draw(tx, "one", VirtualClock().now())
        async with rig(database, tmp_path) as one:
            host = one.joined("h1")
            async with one.agent(host) as agent:
                await agent.greeted()
                event.listen(database.engine, "before_cursor_execute", asked)
                for value in (1, 2):
                    one.wish(host, "machine-a", value)
                    change = await agent.change()
                    assert (items(change), change.incarnation) == ({"machine-a": value}, "one")
                assert not looks
                committed, one.writer.committed = one.writer.committed, lambda _nudges: None
                one.wish(host, "machine-a", 3)  # somebody else's, of which nobody told us
                one.writer.committed = committed
                one.wish(host, "machine-b", 4)
                assert items(await agent.change()) == {"machine-a": 3, "machine-b": 4}
                assert looks

    run(scenario())
