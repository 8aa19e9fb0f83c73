"""`arable control status`, for a person and for a program."""

from dataclasses import replace

from arable.runtime.clock import VirtualClock
from arable.store import elections, segments
from cli.command_line import Arable
from serving import Served
from store.test_elections import A, B, elected, said


def test_it_names_the_master_the_servers_and_the_elections(
    served: Served, operator: Arable
) -> None:
    assert "nobody acts" in operator("control", "status").out
    with served.database.write() as tx:
        for each in (A, B):
            segments.register(tx, replace(said(each), heartbeat_at=served.around.clock.now()))
        elected(tx, A, 1)
        elections.renew(
            tx, A, 1, VirtualClock().now(), served.around.clock.now().replace(year=9000)
        )
    shown = operator("control", "status").out
    assert f"master  {A}, epoch 1" in shown
    lines = shown.splitlines()
    (row,) = (line for line in lines if line.startswith(B))
    assert row.split()[:2] == [B, "ready"]
    assert any(line.split()[-3:] == [A, "first", "-"] for line in lines)
    assert operator.json("control", "status")["master"]["server"] == A
