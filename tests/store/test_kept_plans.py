"""A plan that PostgreSQL made while tables were small, and keeps, reads no whole table when they have grown."""

from datetime import UTC, datetime

from sqlalchemy import insert, text

from arable.domain.ids import AccountId, HostId, NetworkId, ZoneId
from arable.domain.manifest import ItemKind
from arable.store import attachments, incarnations, machines, manifests, nics, schema, wishes
from arable.store.wishes import Item

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ACCOUNT, ZONE, NETWORK = AccountId("account-a"), ZoneId("zone-z"), NetworkId("network-n")
HOST = HostId("host-1")
MANY = 3000
_READ = text(
    "select coalesce(sum(seq_tup_read), 0) from pg_stat_xact_user_tables where relname = :t"
)
_MACHINES = text("""
    insert into machine (id, account, farm, zone, name, state, wish, offering, created_at, changed_at)
    select 'machine-' || n, 'account-a', 'farm-f', 'zone-z', 'm' || n, 'running', 'running', 'offering-o', 0, 0
    from generate_series(1, :many) as n
""")
_NICS = text("""
    insert into nic (id, machine, network, account, position, mac, address, "offset")
    select 'nic-' || n, 'machine-' || n, 'network-n', 'account-a', 0, n::text, '', n
    from generate_series(1, :many) as n
""")
_ITEMS = text("""
    insert into manifest_item (host, kind, id, generation, body)
    select 'host-' || n % 100, 'guest', 'machine-' || n, 1, '{}' from generate_series(1, :many) as n
""")

_VOLUMES = text("""
    insert into volume (id, account, zone, name, created_at)
    select 'volume-' || n, 'account-a', 'zone-z', 'v' || n, 0 from generate_series(1, :many) as n
""")


def asks(tx) -> dict[str, object]:
    names = machines.names_taken_by(tx, {(ACCOUNT, ZONE): ["m7", "free"]})
    held = nics.offsets_of_many(tx, [(NETWORK, 5, 9)])
    return {
        "machine": names[ACCOUNT, ZONE],
        "nic": held.get(NETWORK),
        "manifest_item": len(manifests.changes(tx, {HOST: 1})[HOST].items),
    }


def test_what_every_deployment_asks_reads_no_whole_table(postgresql):
    with postgresql.new() as database, database.engine.connect() as tx:
        tx.execute(
            text("set local session_replication_role = replica")
        )  # these tables alone matter
        row = {"zone": ZONE, "pod": "pod-p", "state": "up", "created_at": NOW}
        hosts = [{"id": f"host-{n}", "name": f"h{n}", **row} for n in range(100)]
        tx.execute(insert(schema.host), hosts)
        for _ in range(15):  # from the eleventh on, the plan is kept
            asks(tx)
        for _ in range(2):
            wishes.put(tx, [Item(HOST, ItemKind.GUEST, "machine-of-its-own", "{}")])
        for fill in (_MACHINES, _NICS, _ITEMS):
            tx.execute(fill, {"many": MANY})
        before = {table: tx.execute(_READ, {"t": table}).scalar_one() for table in asks(tx)}
        assert asks(tx) == {"machine": {"m7"}, "nic": {5, 6, 7, 8, 9}, "manifest_item": 1}
        for table, read in before.items():
            assert tx.execute(_READ, {"t": table}).scalar_one() == read, table
        tx.rollback()


def test_what_every_report_asks_of_rare_things_reads_no_whole_table(postgresql):
    with postgresql.new() as database, database.engine.connect() as tx:
        tx.execute(text("set local session_replication_role = replica"))
        row = {"zone": ZONE, "pod": "pod-p", "state": "up", "created_at": NOW}
        tx.execute(
            insert(schema.host), [{"id": f"h-{n}", "name": f"h{n}", **row} for n in range(MANY)]
        )
        tx.execute(_VOLUMES, {"many": MANY})
        before = {
            table: tx.execute(_READ, {"t": table}).scalar_one() for table in ("host", "volume")
        }
        assert not attachments.any_pending(tx)
        assert not incarnations.taking_stock(tx)
        incarnations.trusted(tx)
        for table, read in before.items():
            assert tx.execute(_READ, {"t": table}).scalar_one() == read, table
        tx.rollback()
