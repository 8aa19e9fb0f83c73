"""Offerings: operators make them, customers see what they can have."""

import pytest

from arable.domain.errors import Conflict, Forbidden, NotFound, Stale
from arable.services import offerings
from arable.wire.offerings import (
    DiskOfferingChange,
    DiskOfferingIn,
    OfferingChange,
    OfferingIn,
    OfferingQuery,
)

HUGE = OfferingIn(
    name="huge", cpus=64, cpu_mhz=3000, memory_mib=1 << 18, root_mib=1 << 16, tags=("b", "a", "b")
)
FAST = DiskOfferingIn(name="fast", iops=10_000)
KINDS = {
    "offering": (
        HUGE,
        offerings.create,
        offerings.get,
        offerings.page,
        offerings.update,
        offerings.delete,
        OfferingChange,
    ),
    "disk offering": (
        FAST,
        offerings.create_disk,
        offerings.get_disk,
        offerings.page_disks,
        offerings.update_disk,
        offerings.delete_disk,
        DiskOfferingChange,
    ),
}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


def test_an_offering_is_made_seen_changed_and_deleted(infra, kind):
    ask, create, get, page, update, delete, change = kind
    made = infra.ask(create, ask)
    assert made == infra.ask(get, made.id)
    assert made in infra.ask(page, OfferingQuery()).items
    assert infra.ask(page, OfferingQuery(name=ask.name)).items == [made]
    after = infra.ask(update, made.id, change(name="other"), expects=1)
    assert (after.name, after.generation) == ("other", 2)
    assert isinstance(infra.refused(update, made.id, change(name="x"), expects=1), Stale)
    infra.ask(delete, made.id)
    assert isinstance(infra.refused(get, made.id), NotFound)


def test_two_of_a_kind_never_have_one_name(infra, kind):
    ask, create, _get, _page, update, _delete, change = kind
    made = infra.ask(create, ask)
    assert infra.refused(create, ask).field == "name"
    there = "small" if ask is HUGE else "ten"
    assert infra.refused(update, made.id, change(name=there)).field == "name"


def test_a_disabled_offering_is_hidden_from_those_who_could_not_enable_it(infra, kind):
    ask, create, get, page, update, _delete, change = kind
    customer = infra.cloud.account("acme")
    made = infra.ask(create, ask)
    assert infra.ask(get, made.id, by=customer).name == ask.name
    infra.ask(update, made.id, change(enabled=False))
    assert isinstance(infra.refused(get, made.id, by=customer), NotFound)
    for query in (OfferingQuery(), OfferingQuery(enabled=False), OfferingQuery(name=ask.name)):
        seen = infra.ask(page, query, by=customer).items
        assert made.id not in [each.id for each in seen]
    assert [each.id for each in infra.ask(page, OfferingQuery(enabled=False)).items] == [made.id]


def test_customers_change_nothing(infra, kind):
    ask, create, _get, _page, update, delete, change = kind
    customer = infra.cloud.account("acme")
    made = infra.ask(create, ask)
    for use_case, *args in (
        (create, ask),
        (update, made.id, change(enabled=False)),
        (delete, made.id),
    ):
        assert isinstance(infra.refused(use_case, *args, by=customer), Forbidden)


def test_an_offering_that_machines_were_made_of_stays(infra):
    customer = infra.cloud.account("acme")
    infra.cloud.deploy(customer, offering="small")
    assert isinstance(infra.refused(offerings.delete, "offering-small"), Conflict)
    assert infra.ask(offerings.get, "offering-small").enabled


def test_tags_are_kept_once_and_in_order(infra):
    assert infra.ask(offerings.create, HUGE).tags == ("a", "b")
