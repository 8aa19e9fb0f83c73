"""One list of all regions: merged, paged by each region's own cursor, with a word about each that could not be asked."""

import asyncio
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from arable.api import everywhere as tried
from arable.domain.errors import BadInput, Unavailable
from arable.services.elsewhere import Near, check_everywhere
from arable.wire.grid import PassOut

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HERE = Near("here", "reached", NOW, own=True)
EU = Near("eu", "reached", NOW)
US = Near("us", "silent", NOW - timedelta(minutes=3))
HAS = {"here": ["a", "b", "c"], "eu": ["d"], "us": ["e", "f"]}


def listed(*near: Near, query: str = "", ask=None, deadline: float = 5.0):
    async def usual(each: Near, said: str) -> PassOut:
        wanted = dict(part.split("=") for part in said.split("&"))
        start = int(wanted.get("after", 0))
        end = start + int(wanted["limit"])
        items = [{"name": name} for name in HAS[each.region][start:end]]
        body = {"items": items, "next": str(end) if end < len(HAS[each.region]) else None}
        return PassOut(status=200, body=msgspec.json.encode(body))

    return asyncio.run(tried.everywhere(near, query, ask or usual, NOW, deadline))


def test_items_say_of_which_region_they_are():
    found = listed(HERE, EU)
    assert [(i["region"], i["name"]) for i in found.items] == [
        *(("here", name) for name in "abc"),
        ("eu", "d"),
    ]
    assert [(p.region, p.count, p.told) for p in found.regions] == [("here", 3, ""), ("eu", 1, "")]
    assert found.next is None


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
def test_pages_together_are_each_item_once(limit):
    found = listed(HERE, EU, US, query=f"limit={limit}")
    names = [item["name"] for item in found.items]
    pages = 1
    while found.next:
        found = listed(HERE, EU, US, query=f"limit={limit}&after={found.next}")
        names += [item["name"] for item in found.items]
        pages += 1
        assert pages < 10
    assert sorted(names) == list("abcdef")


def test_who_can_not_be_asked_is_named_with_its_age_and_holds_up_nobody():
    async def ask(each: Near, _said: str) -> PassOut:
        if each.region == "eu":
            raise Unavailable("eu can't be reached")
        if each.region == "us":
            await asyncio.Event().wait()
        return PassOut(status=200, body=b'{"items": [{"name": "a"}]}')

    closed = Near("asia", "reached", None, why="it has no grid port")
    found = listed(HERE, EU, US, closed, ask=ask, deadline=0.01)
    assert [item["name"] for item in found.items] == ["a"]
    assert {p.region: p.told for p in found.regions} == {
        "here": "",
        "eu": "eu can't be reached; last heard 0 s ago",
        "us": "no answer within 0 s; last heard 3 min ago",
        "asia": "it has no grid port; never heard",
    }


def test_what_the_own_region_refuses_is_the_answer_and_what_others_refuse_is_told():
    body = b'{"detail": "there is no such parameter", "errors": [{"field": "x", "reason": "r"}]}'

    async def ask(each: Near, _said: str) -> PassOut:
        return PassOut(status=400, body=body) if each.region == bad else PassOut(status=200, body=b'{"items": []}')  # fmt: skip

    bad = "here"
    with pytest.raises(BadInput, match="no such parameter"):
        listed(HERE, EU, ask=ask)
    bad = "eu"
    assert "no such parameter" in listed(HERE, EU, ask=ask).regions[1].told


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "after=%7B", "limit=1001"])
def test_nonsense_is_refused(query):
    with pytest.raises(BadInput):
        listed(HERE, query=query)


def test_only_lists_can_be_asked_of_all():
    check_everywhere("GET", "/v1/machines")
    check_everywhere("GET", "/v1/events")
    for method, path in (("POST", "/v1/machines"), ("GET", "/v1/machines/machine-a"), ("GET", "/v1/events/stream"), ("GET", "/v1/hosts")):  # fmt: skip
        with pytest.raises(BadInput):
            check_everywhere(method, path)
