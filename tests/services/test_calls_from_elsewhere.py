"""Whom somebody of another region may be here: nobody, unless operators said so, and never more than a customer."""

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from make_cloud import Cloud
from sqlalchemy import insert

from arable.domain.access import ROLES, Permission
from arable.domain.errors import BadInput, Conflict, Forbidden, NotFound
from arable.domain.ids import AccountId, RegionId
from arable.domain.region import Fact, FactKind, Member, MemberState
from arable.runtime.secret import Secret
from arable.services import accounts, elsewhere, regions
from arable.services.call import Call, GridRole, Prelude
from arable.services.elsewhere import Asked
from arable.store import grid_facts, grid_members
from arable.store import schema as t
from arable.wire.accounts import AccountChange
from arable.wire.grid import PassIn, PassOut
from arable.wire.regions import FederationIn, GridTokenIn, JoinGridIn, RegionQuery

ALL = tuple(map(str, Permission))
ACME = "root/acme/acme"


def ask(**but) -> PassIn:
    usual = {
        "account": ACME,
        "user": "alice",
        "permissions": ALL,
        "method": "GET",
        "path": "/v1/machines",
    }
    return PassIn(**(usual | but))


@pytest.fixture
def here(lone_cloud: Cloud) -> Cloud:
    lone_cloud.account("acme")
    lone_cloud.account("boss", role="operator")
    return lone_cloud


def federate(here: Cloud, *names: str) -> None:
    boss = here.callers["boss"]
    here.do(boss, accounts.federate, AccountId("account-acme"), FederationIn(origins=names))


def caller(here: Cloud, region: str = "eu", **but):
    with here.database.read() as tx:
        return elsewhere.caller(tx, region, ask(**but))


def test_nobody_is_anybody_here_without_a_word(here: Cloud):
    with pytest.raises(Forbidden, match="arable account federate acme --origin eu"):
        caller(here)
    federate(here, "us")
    with pytest.raises(Forbidden):
        caller(here)
    with pytest.raises(Forbidden):
        caller(here, account="root/acme/nobody")
    with pytest.raises(Forbidden):
        caller(here, account="acme")


def test_who_may_is_the_account_with_a_customers_rights_at_most(here: Cloud):
    federate(here, "eu", "us")
    found = caller(here)
    assert (found.account, found.name, found.role) == ("account-acme", "alice@eu", "customer")
    assert found.permissions == ROLES["customer"][1] - {Permission.KEY_WRITE}, (
        "users are a region's own"
    )
    assert found.scope.account == "account-acme"
    assert found.via == "region:eu"
    assert found.user == caller(here).user, "the same person is the same each time"
    others = {caller(here, "us").user, caller(here, user="bob").user}
    assert len({found.user, *others}) == 3, "and nobody else"


def test_a_narrow_credential_stays_narrow(here: Cloud):
    federate(here, "eu")
    found = caller(here, permissions=("machine:read", "infra:write", "nonsense"))
    assert found.permissions == {Permission.MACHINE_READ}


def test_who_is_let_in_no_more_is_not_let_in_from_elsewhere(here: Cloud):
    federate(here, "eu")
    here.do(
        here.callers["boss"],
        accounts.update,
        AccountId("account-acme"),
        AccountChange(enabled=False),
    )
    with pytest.raises(Forbidden):
        caller(here)


@pytest.mark.parametrize(
    "path",
    ["/v1/users", "/v1/keys", "/v1/sessions", "/v1/hosts", "/v1/accounts/account-acme", "/v1/grid",
     "/v1/settings", "/v1/machines/../users", "/v1/machines/%2e", "/metrics"],
)  # fmt: skip
def test_only_what_customers_have_can_be_asked_for(here: Cloud, path):
    federate(here, "eu")
    with pytest.raises(BadInput, match="ask that region itself"):
        caller(here, path=path)


def test_only_operators_federate_and_never_their_own_account(here: Cloud):
    acme = here.callers["acme"]
    ask = FederationIn(origins=("eu",))
    assert isinstance(here.refused(acme, accounts.federate, acme.account, ask), Forbidden)
    boss = here.callers["boss"]
    assert isinstance(here.refused(boss, accounts.federate, boss.account, ask), Conflict)


# --- on the way out, and what is shown of regions


class Door:
    """To the grid, for a region that is asked to join and to carry."""

    def __init__(self) -> None:
        self.carried: list[tuple[str, str, PassIn]] = []
        self.authorities = ("an authority",)
        self.certificate = "a certificate"
        self.key = Secret("a key")

    def join(self, grid, token, region):
        return self

    def carry(self, link, url, region, ask, waits):
        self.carried.append((url, region, ask))
        return PassOut(status=200)


@pytest.fixture
def joined(lone_infra) -> Cloud:
    cloud = lone_infra.cloud
    door = Door()
    cloud.around = replace(cloud.around, grid=door)
    join_in = JoinGridIn(grid="grid:1", token="join.x", name="eu")
    made = regions.joined(Prelude(lone_infra.o, cloud.around, lone_infra.prelude().look), join_in)
    cloud.do(lone_infra.o, regions.join, join_in, made)
    return cloud


def member(cloud: Cloud, name: str, **but) -> Member:
    now = cloud.around.clock.now()
    usual = {"id": RegionId(f"region-{name}"), "name": name, "heard_at": now, "created_at": now}
    made = Member(**(usual | but))
    with cloud.database.write() as tx:
        grid_members.add(tx, made)
        if made.url:
            tx.execute(
                insert(t.grid_peer).values(
                    name=name, url=made.url, fingerprint="", authority="", state=str(made.state)
                )
            )
    return made


def zone(cloud: Cloud, region: str, hosts: int) -> None:
    amount = {"installed": 10, "total": 10, "reserved": 4, "idle": 6}
    body = {
        "name": f"{region}1",
        "enabled": True,
        "hosts": hosts,
        "hosts_up": hosts - 1,
        "machines": 2,
        "used_millicpus": 500,
        "addresses": {"total": 3, "free": 2},
        **dict.fromkeys(("cpu_mhz", "memory_mib", "disk_mib"), amount),
    }
    alert = {"kind": "host-down", "severity": "critical", "name": "h", "text": "h is down",
             "since": "2030-01-01T00:00:00+00:00"}  # fmt: skip
    with cloud.database.write() as tx:
        grid_facts.put(
            tx,
            region,
            [
                Fact(kind=FactKind.ZONE, key=f"zone-{region}", version=1, body=body),
                Fact(kind=FactKind.ALERT, key=f"alert-{region}", version=2, body=alert),
            ],
        )


def test_a_call_goes_out_with_who_asks_and_without_a_credential(joined: Cloud):
    acme = joined.account("acme2")
    member(joined, "us", url="https://us:1")
    asked = Asked("POST", "/v1/machines", "", (("idempotency-key", "k"),), b"{}")
    elsewhere.carry(joined.database, joined.around, acme, "us", asked)
    ((url, region, said),) = joined.around.grid.carried
    assert (url, region) == ("https://us:1", "us")
    assert (said.account, said.user, said.headers) == (
        "root/acme2/acme2",
        "acme2",
        (("idempotency-key", "k"),),
    )
    with pytest.raises(NotFound, match="no region named"):
        elsewhere.carry(joined.database, joined.around, acme, "asia", asked)


def test_a_region_in_no_grid_has_no_others(here: Cloud):
    with pytest.raises(NotFound, match="in no grid"):
        elsewhere.carry(
            here.database,
            here.around,
            here.callers["acme"],
            "us",
            Asked("GET", "/v1/zones", "", (), b""),
        )


def test_what_is_old_says_how_old(joined: Cloud):
    boss = joined.callers["operator"]
    now = joined.around.clock.now()
    member(joined, "london", heard_at=now)
    zone(joined, "london", 4)
    with joined.database.write() as tx:
        grid_members.change_link(tx, heard_at=now)
    (shown,) = joined.do(boss, regions.page, RegionQuery()).items
    assert (shown.told, shown.as_of, shown.zones[0].hosts, shown.alerts) == ("", now, 4, 1)
    joined.around.clock.wait(timedelta(minutes=3))
    (shown,) = joined.do(boss, regions.page, RegionQuery()).items
    assert shown.told == "london was last heard 3 min ago, the grid manager 3 min ago"
    assert joined.do(boss, regions.status).told == "the grid manager was last heard 3 min ago"


def test_all_regions_are_summed_and_their_faults_in_one_list(joined: Cloud):
    boss = joined.callers["operator"]
    for name, hosts in (("london", 4), ("york", 6)):
        member(joined, name)
        zone(joined, name, hosts)
    member(joined, "gone", state=MemberState.GONE)
    status = joined.do(boss, regions.status)
    assert (status.role, status.region, status.regions) == ("region", "eu", 2)
    assert (status.hosts, status.hosts_up, status.cpu_mhz.idle) == (10, 8, 12)
    assert [each.region for each in status.alerts] == ["london", "york"]


def test_customers_see_regions_and_no_figures_of_them(joined: Cloud):
    acme = joined.account("acme2")
    made = member(joined, "london", url="https://10.0.0.1:1")
    zone(joined, "london", 4)
    shown = joined.do(acme, regions.get, made.id)
    assert (shown.name, shown.zones[0].name) == ("london", "london1")
    assert (shown.zones[0].hosts, shown.zones[0].memory_mib, shown.alerts, shown.address) == (
        None,
        None,
        0,
        "",
    )
    assert isinstance(joined.refused(acme, regions.status), Forbidden)


def test_a_region_joins_once_and_leaves_nothing_behind(joined: Cloud):
    boss = joined.callers["operator"]
    member(joined, "london", url="https://london:1")
    zone(joined, "london", 4)
    prelude = Prelude(boss, joined.around, lambda: _look(joined, boss))
    again = JoinGridIn(grid="grid:1", token="join.x", name="us")
    with pytest.raises(Conflict, match="in a grid already, as eu"):
        regions.joined(prelude, again)
    with pytest.raises(BadInput, match="HOST:PORT"):
        regions.joined(prelude, JoinGridIn(grid="grid", token="x", name="us"))
    assert joined.do(boss, regions.leave).role == "alone"
    for table in ("grid_link", "grid_member", "grid_fact", "grid_peer"):
        assert joined.rows(f"select count(*) from {table}") == [(0,)], table
    assert isinstance(joined.refused(boss, regions.leave), NotFound)


def test_what_the_grid_manager_alone_does_is_refused_by_regions(joined: Cloud):
    boss = joined.callers["operator"]
    made = member(joined, "london")
    assert isinstance(joined.refused(boss, regions.token, GridTokenIn()), Conflict)
    assert isinstance(joined.refused(boss, regions.delete, made.id), Conflict)
    joined.around = replace(joined.around, grid_role=GridRole.GRID)
    joined.do(boss, regions.delete, made.id)
    assert isinstance(joined.refused(boss, regions.delete, made.id), Conflict)
    prelude = Prelude(boss, joined.around, lambda: _look(joined, boss))
    with pytest.raises(Conflict, match="a grid manager, no region"):
        regions.joined(prelude, JoinGridIn(grid="grid:1", token="join.x", name="us"))


def _look(cloud: Cloud, caller):
    @contextmanager
    def look():
        with cloud.database.read() as tx:
            yield Call(tx, caller, cloud.around)

    return look()
