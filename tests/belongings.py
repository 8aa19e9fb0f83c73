"""One of everything that an account can own, as rows: no controller runs here, so what is there stays as it is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from serving import Served

from arable.client.arable import Arable
from arable.store import schema as t
from arable.wire.users import KeyIn

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Belongings:
    """By kind of id."""

    ids: dict[str, str]
    without_generation = frozenset({"key", "session", "operation", "group", "farm", "jointoken"})


def belongings(cloud: Served, owner: Arable) -> Belongings:
    me = owner.users.whoami()
    key = owner.keys.create(KeyIn(name="a key"))
    new = cloud.around.ids.new
    names = (
        "zone pod host range offering image farm network machine volume nic address rule group "
        "operation pool"
    ).split()
    ids = {kind: new(kind) for kind in names}
    own = {"account": me.account}
    rows: list[tuple[Any, dict[str, Any]]] = [
        (t.zone, {"id": ids["zone"], "name": "east"}),
        (
            t.pod,
            {"id": ids["pod"], "zone": ids["zone"], "name": "a", "cidr": "10.0.0.0/24"},
        ),
        (
            t.host,
            {
                "id": ids["host"],
                "zone": ids["zone"],
                "pod": ids["pod"],
                "name": "h1",
                "state": "up",
                "cpus": 8,
                "cpu_mhz": 16000,
                "memory_mib": 16384,
                "disk_mib": 100_000,
            },
        ),
        (
            t.pool,
            {
                "id": ids["pool"],
                "zone": ids["zone"],
                "host": ids["host"],
                "name": "h1",
                "kind": "local",
            },
        ),
        (
            t.public_range,
            {
                "id": ids["range"],
                "zone": ids["zone"],
                "cidr": "192.0.2.0/24",
                "gateway": "192.0.2.1",
                "first": "192.0.2.10",
                "last": "192.0.2.20",
            },
        ),
        (t.offering, {"id": ids["offering"], "name": "small", "cpus": 1, "cpu_mhz": 1000}),
        (t.image, {"id": ids["image"], "name": "mine", **own}),
        (t.farm, {"id": ids["farm"], "zone": ids["zone"], "name": "default", **own}),
        (
            t.network,
            {
                "id": ids["network"],
                "farm": ids["farm"],
                "zone": ids["zone"],
                "name": "default",
                "cidr": "10.1.1.0/24",
                "gateway": "10.1.1.1",
                "dns_domain": "internal",
                "vlan": 100,
                "state": "ready",
                **own,
            },
        ),
        (
            t.machine,
            {
                "id": ids["machine"],
                "farm": ids["farm"],
                "zone": ids["zone"],
                "name": "web",
                "state": "stopped",
                "wish": "stopped",
                "offering": ids["offering"],
                "changed_at": NOW,
                "boot": {"kernel": None, "initrd": None, "command_line": ""},
                "placement": {},
                "seed": {},
                "why": {},
                **own,
            },
        ),
        (
            t.volume,
            {
                "id": ids["volume"],
                "zone": ids["zone"],
                "machine": ids["machine"],
                "name": "root",
                "mib": 1024,
                **own,
            },
        ),
        (
            t.nic,
            {
                "id": ids["nic"],
                "machine": ids["machine"],
                "network": ids["network"],
                "mac": "02:00:00:00:00:01",
                "address": "10.1.1.2",
                "offset": 2,
                **own,
            },
        ),
        (
            t.address,
            {
                "id": ids["address"],
                "zone": ids["zone"],
                "range": ids["range"],
                "address": "192.0.2.10",
                "number": 1,
                "network": ids["network"],
                **own,
            },
        ),
        (
            t.rule,
            {
                "id": ids["rule"],
                "network": ids["network"],
                "address": ids["address"],
                "kind": "forward",
                "protocol": "tcp",
                "nic": ids["nic"],
                "first_port": 80,
                "last_port": 80,
                "to_port": 80,
                **own,
            },
        ),
        (t.placement_group, {"id": ids["group"], "name": "apart", "rule": "apart", **own}),
        (
            t.operation,
            {
                "id": ids["operation"],
                "user": me.user,
                "kind": "machine.start",
                "target": ids["machine"],
                "state": "running",
                "changed_at": NOW,
                **own,
            },
        ),
    ]
    with cloud.database.write() as tx:
        for table, row in rows:
            dated = {"created_at": NOW} if "created_at" in table.c else {}
            tx.execute(table.insert().values(**(dated | row)))
    ids |= {
        "account": me.account,
        "user": me.user,
        "key": key.id,
        "session": me.via,
        "domain": me.domain,
    }
    for of_the_cloud in ("zone", "pod", "host", "range", "offering", "pool", "nic", "domain"):
        del ids[of_the_cloud]
    return Belongings(ids)
