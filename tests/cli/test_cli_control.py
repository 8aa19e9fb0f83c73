"""`arable control status`, for a person and for a program."""

from dataclasses import replace

from arable.runtime.clock import VirtualClock
from arable.store import elections, segments, troubles
from arable.store import schema as t
from cli.command_line import Arable
from serving import Served
from store.test_elections import FARM, A, B, elected, said


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


def test_a_server_is_drained_and_the_command_says_what_is_left(
    served: Served, operator: Arable
) -> None:
    now = served.around.clock.now()
    with served.database.write() as tx:
        for each in (A, B):
            segments.register(tx, replace(said(each), heartbeat_at=now))
    refused = operator("control", "drain", "server-z", status=None)
    assert "no such management server" in refused.err
    assert B in operator("control", "drain", B, "--dry-run").out
    assert operator("control", "status").out.count("draining") == 0
    assert operator.json("control", "drain", B)[0]["state"] == "draining"
    last = operator("control", "drain", A, status=None)
    assert last.status != 0
    assert "no other management server" in last.err
    with served.database.write() as tx:  # its epoch is that of a server that holds something
        elected(tx, B, 1)
        elections.renew(tx, B, 1, VirtualClock().now(), now.replace(year=9000))
    waited = operator("control", "drain", B, "--timeout", "1", status=None)
    assert "is not empty after 1 seconds; it still has: 0 farms, 0 agents, master" in waited.err
    assert operator.json("control", "undrain", B)[0]["state"] == "ready"


def test_farms_whose_work_fails_are_listed_with_what_went_wrong(
    served: Served, operator: Arable
) -> None:
    now = served.around.clock.now()
    with served.database.write() as tx:
        tx.execute(t.zone.insert().values(id="zone-a", name="a", created_at=now))
        row = {"id": FARM, "account": served.first.account, "zone": "zone-a"}
        tx.execute(t.farm.insert().values(**row, name="shop", created_at=now))
        troubles.note(tx, FARM, A, 3, "machines: KeyError", now)
    lines = operator("control", "status").out.splitlines()
    (shown,) = (line for line in lines if FARM in line)
    assert shown.split()[0] == "operators/shop"
    assert A in shown.split()
    assert shown.rstrip().endswith("machines: KeyError")
    (found,) = operator.json("control", "status")["farms"]["failing"]
    assert (found["farm"], found["tries"]) == (FARM, 3)
