"""One of everything, as rows: no controller runs here, so what is there stays as it is.

The cloud's own things are called as the examples of the API call them, so that the examples can be tried.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from arable.api.operation import Op
from arable.client.arable import Arable
from arable.store import schema as t
from arable.wire.users import KeyIn
from serving import Served

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWNED = frozenset(
    [
        "user",
        "key",
        "session",
        "account",
        "image",
        "farm",
        "blueprint",
        "tier",
        "rollout",
        "element",
        "order",
        "network",
        "machine",
        "volume",
        "storagezone",
        "snapshot",
        "nic",
        "address",
        "rule",
        "balancer",
        "vpn",
        "access",
        "vpnclient",
        "group",
        "upload",
        "sshkey",
        "secret",
        "secret",
        "operation",
    ]
)
"""Kinds of things of which a stranger must not learn whether they are there."""

_EXAMPLE = "0mh5z1x2k3q8w7e6r5t4"  # the id in the documentation's examples
_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
_ABSENT = "0000000000000000000z"
_DISK = {"role": "disk", "sha256": "a" * 64, "bytes": 1 << 20, "format": "qcow2"}
_HELD = {
    "used_machines": 1,
    "used_volumes": 1,
    "used_storage_mib": 1024,
    "used_snapshots": 1,
    "used_snapshot_mib": 1024,
    "used_networks": 1,
    "used_addresses": 1,
}
_KINDS = [
    "zone",
    "pod",
    "host",
    "pool",
    "range",
    "prefix",
    "jointoken",
    "offering",
    "diskoffering",
    "image",
    "farm",
    "network",
    "machine",
    "volume",
    "storagezone",
    "snapshot",
    "nic",
    "address",
    "rule",
    "balancer",
    "vpn",
    "access",
    "vpnclient",
    "group",
    "operation",
    "upload",
    "alert",
    "alertroute",
    "sshkey",
    "blueprint",
    "tier",
    "rollout",
    "element",
    "secret",
    "plan",
    "order",
    "region",
]


@dataclass(frozen=True)
class Belongings:
    """By kind of id."""

    ids: dict[str, str]

    @property
    def owned(self) -> dict[str, str]:
        return {kind: id_ for kind, id_ in self.ids.items() if kind in OWNED}


def absent(kinds: tuple[str, ...]) -> dict[str, str]:
    """Ids that nothing has."""
    return {kind: f"{kind}-{_ABSENT}" for kind in kinds}


def path_of(op: Op, ids: dict[str, str]) -> str:
    """The operation's path, about these things, with what its query can't do without."""
    path = op.path
    for kind in op.parameters:
        path = path.replace(f"{{{kind}}}", ids[kind])
    needed = {
        "UploadQuery": "?format=raw",
        "VersionQuery": "?number=1",
        "WhereQuery": "?image=web",
    }
    return path + needed.get(op.query.__name__ if op.query else "", "")


def body_of(op: Op, ids: dict[str, str]) -> bytes:
    """The operation's example, about these things."""
    if op.takes is None:
        return b""
    text = json.dumps({} if op.example is None else op.example)
    for kind, id_ in ids.items():
        text = text.replace(f"{kind}-{_EXAMPLE}", id_)
    return text.encode()


def belongings(cloud: Served, owner: Arable) -> Belongings:
    """Make them; what can be owned is the owner's."""
    me = owner.users.whoami()
    key = owner.keys.create(KeyIn(name="a-key"))
    ids = {kind: cloud.around.ids.new(kind) for kind in _KINDS}
    with cloud.database.write() as tx:
        for table, row in [*_of_the_cloud(cloud, ids), *_of_the_account(ids, me)]:
            dated = {"created_at": NOW} if "created_at" in table.c else {}
            tx.execute(table.insert().values(**(dated | row)))
        tx.execute(t.quota.update().where(t.quota.c.account == me.account).values(**_HELD))
    ids |= {
        "account": me.account,
        "user": me.user,
        "key": key.id,
        "session": me.via,
        "domain": me.domain,
    }
    return Belongings(ids)


def _of_the_cloud(cloud: Served, ids: dict[str, str]) -> list[tuple[Any, dict[str, Any]]]:
    zone = {"zone": ids["zone"]}
    operators = {"account": cloud.first.account}
    tiny = cloud.around.ids.new("image")
    return [
        (t.zone, {"id": ids["zone"], "name": "east"}),
        *((t.vlan, {**zone, "tag": tag}) for tag in (101, 102)),
        (t.pod, {"id": ids["pod"], **zone, "name": "a", "cidr": "10.0.0.0/24"}),
        (
            t.host,
            {
                "id": ids["host"],
                **zone,
                "pod": ids["pod"],
                "name": "h1",
                "state": "silent",
                "cpus": 8,
                "cpu_mhz": 16000,
                "memory_mib": 16384,
                "disk_mib": 100_000,
            },
        ),
        (
            t.bmc,
            {
                "host": ids["host"],
                "driver": "redfish",
                "url": "https://bmc",
                "user": "u",
                "sealed": "",
            },
        ),
        (t.pool, {"id": ids["pool"], **zone, "host": ids["host"], "name": "h1", "kind": "local"}),
        (
            t.join_token,
            {
                "id": ids["jointoken"],
                "pod": ids["pod"],
                "secret_hash": "0" * 64,
                "expires_at": NOW + timedelta(days=9999),
            },
        ),
        (
            t.public_range,
            {
                "id": ids["range"],
                **zone,
                "cidr": "192.0.2.0/24",
                "gateway": "192.0.2.1",
                "first": "192.0.2.10",
                "last": "192.0.2.11",
            },
        ),
        (t.ipv6_range, {"id": ids["prefix"], **zone, "cidr": "2001:db8:200::/48"}),
        (
            t.address,
            {
                "id": cloud.around.ids.new("address"),
                **zone,
                "range": ids["range"],
                "address": "192.0.2.11",
                "number": 2,
            },
        ),
        *(
            (t.offering, {"id": id_, "name": name, "cpus": 1, "cpu_mhz": 1000, "memory_mib": 64})
            for id_, name in (
                (ids["offering"], "tiny-one"),
                (cloud.around.ids.new("offering"), "small"),
                (cloud.around.ids.new("offering"), "large"),
            )
        ),
        (
            t.alert,
            {
                "id": ids["alert"],
                "kind": "host-silent",
                "subject": ids["host"],
                "name": "h1",
                "severity": "warning",
                "text": "host h1 was not heard",
                "since": NOW,
                "opened_at": NOW,
            },
        ),
        (
            t.alert_route,
            {
                "id": ids["alertroute"],
                "name": "a-route",
                "kind": "webhook",
                "target": {"url": "https://a-route.example.org/"},
                "least": "warning",
            },
        ),
        (t.grid_member, {"id": ids["region"], "name": "eu-1", "state": "silent"}),
        (t.disk_offering, {"id": ids["diskoffering"], "name": "slow-disk"}),
        (
            t.service_plan,
            {"id": ids["plan"], "name": "a-plan", "kind": "fixed", "rules": {"tiers": [{}]}},
        ),
        (t.image, {"id": tiny, "name": "tiny", "public": True, "newest": 1, **operators}),
        (
            t.image_version,
            {"image": tiny, "number": 1, "digest": "a" * 64, "parts": [_DISK], "bytes": 1 << 20},
        ),
    ]


def _of_the_account(ids: dict[str, str], me: Any) -> list[tuple[Any, dict[str, Any]]]:
    own = {"account": me.account}
    zone = {"zone": ids["zone"]}
    laid_out, used = f"farm-{_EXAMPLE}", f"blueprint-{_EXAMPLE}"
    return [
        (t.image, {"id": ids["image"], "name": "mine", "newest": 1, **own}),
        (
            t.image_version,
            {
                "image": ids["image"],
                "number": 1,
                "digest": "a" * 64,
                "parts": [_DISK],
                "bytes": 1 << 20,
            },
        ),
        (
            t.image_upload,
            {
                "id": ids["upload"],
                "role": "disk",
                "format": "qcow2",
                "sha256": "a" * 64,
                "bytes": 1 << 20,
                "complete": True,
                "touched_at": NOW,
                **own,
            },
        ),
        (t.farm, {"id": ids["farm"], **zone, "name": "default", **own}),
        (t.farm, {"id": laid_out, **zone, "name": "laid-out", **own}),
        (
            t.farm_spec,
            {
                "farm": laid_out,
                "spec": {
                    "networks": [{"name": "web"}],
                    "tiers": [{"name": "web", "blueprint": "used", "networks": ["web"]}],
                },
                "state": "ready",
                "changed_at": NOW,
            },
        ),
        *(
            row
            for id_, name in ((ids["blueprint"], "a-blueprint"), (used, "used"))
            for row in (
                (t.blueprint, {"id": id_, "name": name, "newest": 1, **own}),
                (
                    t.blueprint_version,
                    {
                        "blueprint": id_,
                        "number": 1,
                        "body": {"image": ids["image"], "offering": ids["offering"]},
                    },
                ),
            )
        ),
        (
            t.tier,
            {
                "id": ids["tier"],
                "farm": laid_out,
                "blueprint": used,
                "blueprint_number": 1,
                "image": ids["image"],
                "image_version": 1,
                **zone,
                "name": "web",
                "most": 5,
                "body": {"networks": []},
                **own,
            },
        ),
        (
            t.rollout,
            {
                "id": ids["rollout"],
                "tier": ids["tier"],
                "farm": laid_out,
                "state": "paused",
                "before": {"blueprint": 1, "image": 1},
                "goal": {"blueprint": 1, "image": 1},
                "policy": {},
                **own,
            },
        ),
        (
            t.element,
            {
                "id": ids["element"],
                "tier": ids["tier"],
                "farm": laid_out,
                "account": own["account"],
                "number": 1,
                "state": "serving",
                "machine": "machine-of-it",
                "since": NOW,
            },
        ),
        (
            t.network,
            {
                "id": ids["network"],
                "farm": ids["farm"],
                **zone,
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
                **zone,
                "name": "web",
                "state": "stopped",
                "wish": "stopped",
                "offering": ids["offering"],
                "changed_at": NOW,
                "placement": {},
                "why": {},
                **own,
            },
        ),
        (
            t.machine_boot,
            {
                "machine": ids["machine"],
                "boot": {"kernel": None, "initrd": None, "command_line": ""},
                "seed": {"meta_data": "", "user_data": ""},
            },
        ),
        (
            t.volume,
            {
                "id": ids["volume"],
                **zone,
                "machine": ids["machine"],
                "name": "root",
                "mib": 1024,
                **own,
            },
        ),
        (
            t.snapshot,
            {
                "id": ids["snapshot"],
                **zone,
                "volume": ids["volume"],
                "name": "a-snapshot",
                "mib": 1024,
                "state": "available",
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
                "is_default": True,
                **own,
            },
        ),
        (
            t.address,
            {
                "id": ids["address"],
                **zone,
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
        (
            t.farm_secret,
            {"id": ids["secret"], "farm": ids["farm"], "name": "kept", **own, "changed_at": NOW},
        ),
        (
            t.ssh_key,
            {
                "id": ids["sshkey"],
                "name": "kept",
                "kind": "ssh-ed25519",
                "bits": 256,
                "fingerprint": "SHA256:x",
                "line": "ssh-ed25519 AAAA",
                **own,
            },
        ),
        (
            t.balancer,
            {
                "id": ids["balancer"],
                "network": ids["network"],
                "address": ids["address"],
                "name": "a-balancer",
                "port": 443,
                "traffic": "http",
                "algorithm": "round-robin",
                "stickiness": "none",
                "health": {},
                **own,
            },
        ),
        (t.balancer_member, {"balancer": ids["balancer"], "nic": ids["nic"], "port": 80}),
        (
            t.balancer_seen,
            {"balancer": ids["balancer"], "at": NOW, "seen": {"id": ids["balancer"]}},
        ),
        (
            t.vpn,
            {
                "id": ids["vpn"],
                "network": ids["network"],
                "address": ids["address"],
                "kind": "site",
                "name": "a-vpn",
                "port": 51900,
                "public_key": _KEY,
                "sealed": "x",
                **own,
            },
        ),
        (
            t.vpn_peer,
            {
                "id": ids["vpn"],
                "vpn": ids["vpn"],
                "name": "",
                "public_key": "",
                "cidrs": ["172.31.0.0/24"],
                **own,
            },
        ),
        (
            t.vpn_seen,
            {"peer": ids["vpn"], "at": NOW, "since": NOW, "seen": {"id": ids["vpn"], "up": False}},
        ),
        (
            t.vpn,
            {
                "id": ids["access"],
                "network": ids["network"],
                "address": ids["address"],
                "kind": "access",
                "name": "an-access",
                "port": 51901,
                "cidr": "172.28.0.0/24",
                "public_key": _KEY,
                "sealed": "x",
                **own,
            },
        ),
        (
            t.vpn_peer,
            {
                "id": ids["vpnclient"],
                "vpn": ids["access"],
                "name": "a-client",
                "public_key": _KEY,
                "cidrs": ["172.28.0.2/32"],
                **own,
            },
        ),
        (
            t.farm_order,
            {
                "id": ids["order"],
                "user": me.user,
                "name": "to-come",
                "state": "reviewing",
                "document": {"name": "to-come"},
                "operation": ids["operation"],
                **own,
            },
        ),
        (
            t.storage_zone,
            {"id": ids["storagezone"], "name": "shared-books", "zone": ids["zone"], **own},
        ),
        (t.placement_group, {"id": ids["group"], "name": "apart", "rule": "apart", **own}),
        (
            t.operation,
            {
                "id": ids["operation"],
                "user": me.user,
                "kind": "machine.start",
                "target": ids["machine"],
                "state": "done",
                "pending": 0,
                "changed_at": NOW,
                **own,
            },
        ),
    ]
