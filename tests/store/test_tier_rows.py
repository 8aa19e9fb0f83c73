"""Tiers and blueprints are kept as they are, and counts are changed by nobody who is late."""

from dataclasses import replace
from datetime import time, timedelta

import pytest
from sqlalchemy import insert

from arable.domain.access import EVERYTHING, Scope
from arable.domain.balancer import Check, Traffic
from arable.domain.blueprint import (
    Blueprint,
    BlueprintVersion,
    Body,
    DiskPart,
    Keeps,
    PortPart,
    Update,
)
from arable.domain.errors import Conflict, NotFound, Stale
from arable.domain.ids import (
    AccountId,
    BalancerId,
    BlueprintId,
    DiskOfferingId,
    FarmId,
    ImageId,
    NetworkId,
    OfferingId,
    TierId,
    ZoneId,
)
from arable.domain.scaling import Metric, Policy, Step, Target, Window
from arable.domain.tier import Body as TierBody
from arable.domain.tier import Door, Follows, Release, Tier
from arable.runtime.clock import VirtualClock
from arable.store import blueprints, nudges, schema, tiers
from arable.store.blueprints import BlueprintFilter
from arable.store.tiers import TierFilter

AT = VirtualClock().now()
OURS, THEIRS = AccountId("account-a"), AccountId("account-b")
WEB = Blueprint(id=BlueprintId("blueprint-a"), account=OURS, name="web", newest=1, created_at=AT)
VERSION = BlueprintVersion(
    blueprint=WEB.id,
    number=1,
    body=Body(
        image=ImageId("image-a"),
        offering=OfferingId("offering-a"),
        user_data="#!/bin/sh\n",
        disks=(DiskPart(name="data", offering=DiskOfferingId("diskoffering-a")),),
        ports=(PortPart(port=80, traffic=Traffic.HTTP),),
        check=Check(kind=Traffic.HTTP, path="/well"),
        keeps=Keeps(volumes=True),
        update=Update(surge=0, unavailable=1),
        drain_seconds=5,
    ),
    created_at=AT,
)
TIER = Tier(
    id=TierId("tier-a"),
    farm=FarmId("farm-a"),
    account=OURS,
    zone=ZoneId("zone-z"),
    name="web",
    blueprint=WEB.id,
    blueprint_number=1,
    image=ImageId("image-a"),
    image_version=3,
    least=1,
    most=5,
    count=2,
    body=TierBody(
        networks=(NetworkId("network-a"),),
        doors=(Door(balancer=BalancerId("balancer-a"), port=80),),
        follows=Follows.NEWEST,
        policy=Policy(
            targets=(Target(metric=Metric.REQUESTS, value=50),),
            steps=(Step(metric=Metric.RESPONSE, above=200, add=2),),
        ),
        windows=(Window(days=(0, 4), begin=time(8), end=time(18, 30), least=4),),
        time_zone="Europe/Berlin",
    ),
    created_at=AT,
)


@pytest.fixture
def farms(database):
    """Two accounts, the first of which has a farm, a blueprint and a tier."""
    with database.write() as tx:
        tx.execute(insert(schema.zone).values(id="zone-z", name="z", created_at=AT))
        tx.execute(insert(schema.domain).values(id="domain-r", path="root", name="root", created_at=AT))  # fmt: skip
        for account in (OURS, THEIRS):
            tx.execute(
                insert(schema.account).values(
                    id=account, domain="domain-r", name=account, created_at=AT
                )
            )
        tx.execute(
            insert(schema.farm).values(
                id="farm-a", account=OURS, zone="zone-z", name="shop", created_at=AT
            )
        )
        blueprints.add(tx, WEB)
        blueprints.add_version(tx, VERSION)
        tiers.add(tx, TIER)
    return database


def test_what_is_kept_is_found_again(farms):
    with farms.read() as tx:
        assert tiers.get(tx, EVERYTHING, TIER.id) == TIER
        assert tiers.page(tx, Scope(account=OURS), TierFilter(name="web")) == [TIER]
        assert tiers.of_farms(tx, [TIER.farm, FarmId("farm-b")]) == {TIER.farm: [TIER]}
        assert TIER.release == Release(1, 3)
        assert blueprints.version(tx, WEB.id, 1) == VERSION
        assert blueprints.versions(tx, [WEB.id]) == {WEB.id: {1: VERSION}}
        assert blueprints.by_name(tx, Scope(account=OURS), "web") == WEB


def test_nobody_sees_tiers_and_blueprints_of_others(farms):
    theirs = Scope(account=THEIRS)
    with farms.read() as tx:
        for look in (
            lambda: tiers.get(tx, theirs, TIER.id),
            lambda: blueprints.get(tx, theirs, WEB.id),
            lambda: blueprints.own(tx, theirs, WEB.id),
            lambda: blueprints.by_name(tx, theirs, "web"),
        ):
            with pytest.raises(NotFound):
                look()
        assert tiers.page(tx, theirs, TierFilter()) == []
        assert blueprints.page(tx, theirs, BlueprintFilter()) == []


def test_public_blueprints_are_used_by_all_and_changed_by_their_owner(farms):
    theirs = Scope(account=THEIRS)
    with farms.write() as tx:
        blueprints.save(tx, WEB.changed(public=True))
        assert blueprints.by_name(tx, theirs, "web").public
        assert [each.id for each in blueprints.page(tx, theirs, BlueprintFilter())] == [WEB.id]
        with pytest.raises(NotFound):
            blueprints.own(tx, theirs, WEB.id)


def test_a_count_is_set_by_whoever_saw_the_tier_last_and_within_its_bounds(farms):
    with farms.write() as tx:
        tiers.save(
            tx, TIER.changed(attention=False, tries=4, again_at=AT + timedelta(hours=1), told="no")
        )
        assert not nudges.collected(tx).topics
        for generation, count in ((1, 3), (2, 0), (2, 6)):
            assert not tiers.set_count(tx, TIER.id, generation, count)
        assert tiers.set_count(tx, TIER.id, 2, 5)
        assert nudges.collected(tx).topics == {tiers.TOPIC}
        assert not tiers.set_count(tx, TIER.id, 2, 4)
        now = tiers.get(tx, EVERYTHING, TIER.id)
        assert now == replace(TIER, count=5, generation=3, told="no")
        tiers.save(tx, now.changed(leaving=True))
        assert not tiers.set_count(tx, TIER.id, 4, 4)
        with pytest.raises(Stale):
            tiers.save(tx, now.changed(count=1))


@pytest.mark.parametrize("wrong", [{"least": 6}, {"least": -1}, {"count": 6}, {"count": -1}])
def test_the_database_itself_refuses_counts_out_of_bounds(farms, wrong):
    with pytest.raises(Conflict), farms.write() as tx:
        tiers.save(tx, TIER.changed(**wrong))


def test_a_blueprint_that_tiers_are_made_of_stays(farms):
    with farms.write() as tx:
        with pytest.raises(Conflict):
            blueprints.remove(tx, WEB)
        tiers.remove(tx, TIER.id)
        blueprints.remove(tx, WEB)
        assert blueprints.versions(tx, [WEB.id]) == {}
