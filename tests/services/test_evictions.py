"""Copies that came from other regions go when nobody uses them: never a pinned one, never the last one of the grid."""

import os
from datetime import timedelta
from typing import Any

import pytest
from regions_on_wires import Grid, Region, grid_of

from arable.controllers.evicting import RESTS
from arable.controllers.image_keeping import ImageKeeping
from arable.drivers.storage.image_store import ImageStore
from arable.services import image_policies, regions
from arable.store import (
    evictions,
    grid_members,
    images,
    incarnations,
    restore,
    settings,
)
from arable.wire.grid import SYNC
from arable.wire.image_policies import ImagePolicyIn, PinIn
from grid.make_regions import bring, noise

GIB = 1 << 30


class Keeper:
    """A region with its image store, whose disk is as full as is said."""

    def __init__(self, region: Region, directory: Any, used: int = 0) -> None:
        self.region, self.used = region, used
        self.store = ImageStore(directory)
        database = region.cloud.database

        def transact(work: Any) -> Any:
            with database.write() as tx:
                return work(tx)

        self.keeping = ImageKeeping(
            database.read,
            transact,
            region.cloud.around.clock,
            region.cloud.around.ids,
            self.store,
            lambda: (100 * GIB, self.used * GIB),
            lambda: lambda tx: None,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.region, name)

    def rows(self, query: str) -> list[Any]:
        return self.region.cloud.rows(query)

    def events(self) -> list[str]:
        return [
            text for (text,) in self.rows("select text from event where kind = 'image.evicted'")
        ]


class Kept:
    """A grid of such regions."""

    def __init__(self, grid: Grid, directory: Any) -> None:
        self.grid = grid
        self.keepers = {
            name: Keeper(region, directory / name / "parts")
            for name, region in grid.regions.items()
        }

    def __getitem__(self, name: str) -> Keeper:
        return self.keepers[name]

    def rounds(self, count: int = 1, seconds: float = 301) -> None:
        for _ in range(count):
            self.grid.clock.wait(timedelta(seconds=seconds))
            self.grid.turn(1)
            for keeper in self.keepers.values():
                keeper.keeping.step()
            self.grid.turn(1)

    def long(self) -> None:
        """As long as it takes that something goes, with all its steps."""
        self.rounds(2)
        self.rest()
        self.rounds(5)

    def rest(self) -> None:
        """What is unused may go after that; all are heard."""
        self.grid.clock.wait(RESTS)
        self.grid.turn(1)


@pytest.fixture
def three(tmp_path):
    with grid_of(tmp_path, "eu", "us", "asia") as grid:
        yield Kept(grid, tmp_path)


def web(keeper: Keeper, *, fetched: bool = True, number: int = 1) -> None:
    keeper.region.image("web", content=f"web/{number}", number=number, fetched=fetched)


def test_a_copy_that_nobody_uses_goes_when_room_is_needed_and_says_so(three):
    web(three["eu"], fetched=False)
    web(three["us"])
    three["us"].used = 90
    three.grid.settle()
    three.rounds(2)
    assert three["us"].versions("web") == [1], "it was looked at for less than an hour"
    three.long()
    assert three["us"].versions("web") == []
    assert three["eu"].versions("web") == [1]
    assert three["us"].events() == [
        "web/1 (0 MiB) was let go here, us: the image store needs room; other regions have it"
    ]
    assert three["us"].rows("select count(*) from image_part where bytes = 7") == [(0,)]
    assert three["us"].rows("select count(*) from eviction") == [(0,)], "nothing is left of it"
    with three.grid.manager.database.read() as tx:
        assert tx.exec_driver_sql("select count(*) from grid_eviction").scalar() == 0
    assert ("us", "web") not in three["eu"].catalogue()


def test_with_room_enough_nothing_goes_but_by_age_if_that_is_said(three):
    web(three["eu"], fetched=False)
    web(three["us"])
    three["us"].used = 80
    three.grid.settle()
    three.long()
    assert three["us"].versions("web") == [1]
    with three["us"].region.cloud.database.write() as tx:
        settings.put(tx, {"image_evict_seconds": 7200})
    three.grid.clock.wait(timedelta(hours=2))
    three.rounds(5)
    assert three["us"].versions("web") == []
    assert "nobody used it for" in three["us"].events()[0]


def test_what_was_uploaded_here_is_pinned_is_used_or_is_the_last_one_stays(three):
    us = three["us"]
    me = us.region.cloud.account("me")
    operator = us.region.cloud.account("operator", role="operator")
    cases = ("own", "pinned", "run", "last", "spare")
    for name in cases:
        us.region.image(name, content=name, fetched=name != "own")
        if name != "last":
            three["eu"].region.image(name, content=name)
    us.region.cloud.do(operator, image_policies.pin, "image-uspinned", PinIn(version=1))
    us.region.cloud.deploy(me, name="m", image="run")
    us.used = 99
    three.grid.settle()
    three.long()
    assert [name for name in cases if us.versions(name)] == ["own", "pinned", "run", "last"]
    state = us.rows("select state, key from eviction")
    assert state == [], "of the last one, whoever asks is not even this region"
    us.region.cloud.do(operator, image_policies.unpin, "image-uspinned", PinIn(version=1))
    three.long()
    assert us.versions("pinned") == []


def test_a_private_copy_is_its_accounts_matter(three):
    us, eu = three["us"], three["eu"]
    for each in (us, eu):
        each.region.cloud.account("acme")
    eu.region.image("mine", content="m", public=False, account="account-acme")
    us.region.image("mine", content="m", public=False, account="account-acme", fetched=True)
    eu.region.federate("account-acme", "us")
    us.region.federate("account-acme", "eu")
    us.used = 99
    three.grid.settle()
    three.long()
    assert us.versions("mine") == [1]


def test_without_the_grid_manager_nothing_goes(three):
    web(three["eu"], fetched=False)
    web(three["us"])
    three["us"].used = 99
    three.grid.settle()
    three["us"].region.line.cut = True
    three.long()
    assert three["us"].versions("web") == [1]
    assert three["us"].rows("select state from eviction") == [("asked",)]
    three["us"].region.line.cut = False
    three.rounds(4)
    assert three["us"].versions("web") == []


def test_of_the_last_two_copies_one_stays_whatever_the_wires_do(tmp_path):
    """Both ask at the same moment; messages are lost, doubled and late for the first of each."""
    pairs = (("", ""), ("answer", ""), ("late", "double"), ("ask", "answer"))
    for at, pair in enumerate(pairs):
        folder = tmp_path / str(at)
        folder.mkdir()
        with grid_of(folder, "eu", "us") as grid:
            made = Kept(grid, folder)
            for keeper in made.keepers.values():
                web(keeper)
                keeper.used = 99
            grid.settle()
            made.rounds(2)
            made.rest()
            for keeper in made.keepers.values():
                keeper.keeping.step()
            for keeper, fate in zip(made.keepers.values(), pair, strict=True):
                left = [fate]
                keeper.region.line.lose = lambda left=left: left.pop() if left else ""
            made.rounds(2, seconds=5)
            for keeper in made.keepers.values():
                keeper.region.line.late()
            made.rounds(6)
            here = [name for name, keeper in made.keepers.items() if keeper.versions("web")]
            assert len(here) == 1, pair


def test_a_holder_that_is_not_heard_does_not_count(three):
    web(three["eu"], fetched=False)
    web(three["us"])
    three["us"].used = 99
    three.grid.settle()
    three["eu"].region.line.cut = True
    three.long()
    assert three["us"].versions("web") == [1]
    assert "no other region that can be reached" not in str(three["us"].events())


def test_more_copies_than_one_have_to_stay_if_that_is_said(three):
    web(three["eu"], fetched=False)
    web(three["us"])
    three["us"].used = 99
    with three.grid.manager.database.write() as tx:
        settings.put(tx, {"grid_image_copies": 2})
    three.grid.settle()
    three.long()
    assert three["us"].versions("web") == [1]
    web(three["asia"], fetched=False)
    three.rest()
    three.long()
    assert three["us"].versions("web") == []


def test_a_grid_manager_whose_store_was_set_back_does_not_let_the_last_one_go(tmp_path):
    """`eu` was granted by the store that was lost; the new one knows nothing of that, and must not count on `eu`."""
    with grid_of(tmp_path, "eu", "us") as grid:
        made = Kept(grid, tmp_path)
        eu, us = made["eu"], made["us"]
        for keeper in (eu, us):
            web(keeper)
            keeper.used = 99
        grid.settle()
        made.rounds(2)
        made.rest()
        eu.keeping.step()
        us.keeping.step()
        asked = eu.region.line.ask

        def set_back(link, path, body, gives):
            """The answer is on its way when that store is lost; what regions say is told the new one by `us` alone."""
            answer = asked(link, path, body, gives)
            with grid.manager.database.write() as tx:
                tx.exec_driver_sql("delete from grid_eviction")
                incarnations.draw(tx, "another", grid.clock.now())
            return answer

        eu.region.line.ask = set_back
        eu.region.sync.step()
        assert eu.rows("select state from eviction") == [("leaving",)]
        eu.region.line.ask = asked
        for _ in range(2):
            us.region.sync.step()  # it knows the new store, which has heard of `eu` lately
        us.keeping._look_at = 0
        us.keeping.step()
        us.region.sync.step()
        assert us.rows("select state from eviction") == [("refused",)]
        eu.region.line.cut = True  # it can't hear of that, and goes on
        made.rounds(6)
        assert (eu.versions("web"), us.versions("web")) == ([], [1])


def test_who_deploys_of_it_at_the_last_moment_keeps_it(three):
    """Before it is hidden, and while it is: no machine is left without its image."""
    web(three["eu"], fetched=False)
    us = three["us"]
    web(us)
    me = us.region.cloud.account("me")
    us.used = 99
    three.grid.settle()
    three.rounds(2)
    three.rest()
    us.keeping.step()
    us.region.sync.step()
    assert us.rows("select state from eviction") == [("leaving",)]
    assert us.versions("web") == [], "nobody gets it any more"
    us.region.cloud.deploy(me, name="late", image="web")
    assert us.rows("select count(*) from transfer") == [(1,)], "it is brought again"
    three.rounds(3)
    assert us.rows(
        "select count(*) from image_version v join image i on i.id = v.image where i.name = 'web'"
    ) == [(1,)]
    assert us.events() == []
    assert us.rows("select count(*) from eviction") == [(0,)]
    with three.grid.manager.database.read() as tx:
        assert tx.exec_driver_sql("select count(*) from grid_eviction").scalar() == 0


def test_a_machine_that_shows_only_later_keeps_it(three):
    web(three["eu"], fetched=False)
    us = three["us"]
    web(us)
    me = us.region.cloud.account("me")
    us.used = 99
    three.grid.settle()
    three.rounds(2)
    three.rest()
    us.keeping.step()
    us.region.cloud.deploy(me, name="m", image="web")  # in a transaction that ends only now
    us.region.sync.step()
    three.rounds(3)
    assert us.versions("web") == [1]
    assert us.rows("select count(*) from eviction") == [(0,)]
    assert ("us", "web") in three["eu"].catalogue()


def test_what_a_policy_wants_here_stays(three):
    eu, us = three["eu"], three["us"]
    operator = eu.region.cloud.account("operator", role="operator")
    for number in (1, 2):
        web(eu, fetched=False, number=number)
        web(us, number=number)
    three.grid.settle()
    ask = ImagePolicyIn(at=("us",))
    eu.region.cloud.do(operator, image_policies.put, "image-euweb", ask)
    us.used = 99
    three.grid.settle()
    three.long()
    assert us.versions("web") == [2], "only the newest is wanted"


def test_a_blueprint_keeps_its_image(three):
    web(three["eu"], fetched=False)
    us = three["us"]
    web(us)
    us.region.cloud.run(
        "insert into blueprint (id, account, name, newest, created_at)"
        " values ('blueprint-a', 'account-root', 'b', 1, 0)"
    )
    us.region.cloud.run(
        "insert into blueprint_version (blueprint, number, body, created_at)"
        """ values ('blueprint-a', 1, '{"image":"image-usweb"}', 0)"""
    )
    us.used = 99
    three.grid.settle()
    three.long()
    assert us.versions("web") == [1]


def test_the_bytes_go_too_unless_somebody_knows_them(three):
    us = three["us"]
    content = noise(1 << 16)
    part = bring(us.store, content)
    us.region.image("web", content="x", fetched=True)
    us.region.cloud.run(
        "update image_version_part set sha256 = :s where image = 'image-usweb'", s=part.sha256
    )
    with us.region.cloud.database.write() as tx:
        version = images.version(tx, "image-usweb", 1)
        evictions.let_go(tx, version)
    three.grid.clock.wait(timedelta(hours=25))
    before = (three.grid.clock.now() - timedelta(hours=25)).timestamp()
    os.utime(us.store.path(part.sha256), (before, before))
    assert us.keeping.sweep(lambda tx: None) >= 1
    assert not us.store.parts()


def test_leaving_the_grid_shows_again_what_was_hidden(three):
    web(three["eu"], fetched=False)
    us = three["us"]
    web(us)
    operator = us.region.cloud.account("operator", role="operator")
    us.used = 99
    three.grid.settle()
    three.rounds(2)
    three.rest()
    us.keeping.step()
    us.region.sync.step()
    assert us.versions("web") == []
    us.region.cloud.do(operator, regions.leave)
    assert us.versions("web") == [1]
    with us.region.cloud.database.read() as tx:
        assert grid_members.link(tx) is None


def asks(three: Kept) -> tuple[Keeper, list[Any]]:
    """`us` asks whether its copy may go, which `eu` has as well. Its messages are kept, besides."""
    us, sent = three["us"], []
    web(three["eu"], fetched=False)
    web(us)
    us.used = 99
    three.grid.settle()
    three.rounds(2)
    three.rest()
    us.keeping.step()
    us.region.line.change = lambda ask: sent.append(ask) or ask
    us.region.sync.step()
    return us, sent


@pytest.mark.parametrize("ends", ["kept", "gone"])
def test_a_question_that_comes_once_more_after_it_was_over_grants_nothing_for_ever(three, ends):
    """It was late on its way. A grant that nobody knows any more would count the copy as gone, whatever is there."""
    us, sent = asks(three)
    if ends == "kept":
        me = us.region.cloud.account("me")
        us.region.cloud.deploy(me, name="late", image="web")
    three.rounds(4)
    us.region.line.change = lambda ask: ask
    assert us.rows("select count(*) from eviction") == [(0,)]
    (late,) = [each for each in sent if each.evict][:1]
    us.region.line.waiting.append((SYNC, late))
    us.region.line.late()
    three.grid.settle()
    with three.grid.manager.database.read() as tx:
        assert tx.exec_driver_sql("select count(*) from grid_eviction").scalar() == 0


def test_a_region_whose_store_is_set_back_lets_nothing_go_by_a_word_of_before(three):
    """What it was granted then it has kept since, and another region may have been granted to let its copy go."""
    us, _sent = asks(three)
    assert us.rows("select state from eviction") == [("leaving",)]
    with us.region.cloud.database.write() as tx:
        restore.renew(tx, "of before", three.grid.clock.now())
    assert us.versions("web") == [], "nobody has seen its bytes since"
    assert us.rows("select state from transfer") == [("wanted",)]
    three.rounds(2)
    assert us.events() == []
    assert us.rows("select count(*) from eviction") == [(0,)]
