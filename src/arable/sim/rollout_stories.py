"""The workflows of rollouts, each as short as it can be: for `breaks.py`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from msgspec import convert

from arable.domain.access import EVERYTHING
from arable.domain.ids import FarmId, RolloutId
from arable.services import farms, rollouts
from arable.services.call import Call
from arable.sim.acts import ask as _ask
from arable.sim.acts import rows, some
from arable.sim.breaks import Act, Story
from arable.sim.cloud import Cloud
from arable.sim.farm_stories import lay_out, serve
from arable.store import farm_documents, images, tiers
from arable.wire.farms import FarmChange

_BAKE = 4


def publish(call: Call) -> int:
    """Another version of the image that farms here are made of, of the same parts; its number."""
    (image,) = images.page(call.tx, EVERYTHING, images.ImageFilter(), limit=1)
    after = images.own(call.tx, EVERYTHING, image.id, lock=True)
    after = after.changed(newest=after.newest + 1)
    images.save(call.tx, after)
    before = images.version(call.tx, image.id)
    images.add_version(call.tx, replace(before, number=after.newest))
    tiers.published(call.tx, image=image.id)
    return after.newest


def roll(call: Call, farm: FarmId, number: int) -> None:
    """The farm's document says this version of the image for its first tier from now on."""
    document = farm_documents.of(call.tx, [farm])[farm]
    said = [dict(each) for each in document.spec["tiers"]]
    said[0] |= {"image_version": number, "automatic": False}
    farms.update(call, farm, convert({"tiers": said}, FarmChange))


def _applies(**more: Any) -> Act:
    def ask(cloud: Cloud) -> None:
        body: dict[str, Any] = {"update": {"bake_seconds": _BAKE}} | more
        cloud.ask(cloud.ground.callers[0], lambda call: lay_out(call, "shop", 1, **body))

    return Act(ask, some("tier"))


def _publishes(cloud: Cloud) -> None:
    cloud.ask(cloud.ground.operator, publish)


def _rolls(cloud: Cloud) -> None:
    (farm,) = rows(cloud, "select id from farm where name = 'shop'")
    cloud.ask(cloud.ground.callers[0], lambda call: roll(call, FarmId(farm), 2))


def _deafen(cloud: Cloud) -> None:
    """Guests of the second version answer nobody."""
    bad = rows(cloud, "select id from machine where image_version = 2")
    for node in cloud.nodes.values():
        node.hardware.deaf.update(bad)


def _back(cloud: Cloud) -> None:
    for id_ in rows(cloud, "select id from rollout where ended_at is null"):
        _ask(cloud, rollouts.back, RolloutId(id_))


def _of(version: int, state: str) -> Callable[[Cloud], bool]:
    """One element serves, of that version; the rollout has come to that; whoever waited was told."""

    def look(cloud: Cloud) -> bool:
        made = rows(cloud, "select image_version from machine") == [version]
        ended = rows(cloud, "select distinct state from rollout") == [state]
        operations = rows(cloud, "select state from operation where kind = 'farm.update'")
        return serve(1)(cloud) and made and ended and operations == [state]

    return look


_published = Act(_publishes, some("image_version where number = 2"))
_rolled = Act(_rolls, some("tier where image_version = 2"))
_newer = Act(lambda _cloud: None, some("element where image_version = 2 and state = 'serving'"))

ROLLOUTS = (
    Story(
        "renew a tier's elements",
        (_applies(), Act(lambda _cloud: None, serve(1)), _published),
        (_rolled,),
        _of(2, "done"),
    ),
    Story(
        "turn a release back that fails",
        (_applies(ready_seconds=10), Act(lambda _cloud: None, serve(1)), _published),
        (_rolled, Act(_deafen, some("rollout where cause = 'failures'"))),
        _of(1, "failed"),
    ),
    Story(
        "turn a rollout back by hand",
        (_applies(), Act(lambda _cloud: None, serve(1)), _published),
        (_rolled, _newer, Act(_back, some("rollout where cause = 'hand'"))),
        _of(1, "failed"),
    ),
)
