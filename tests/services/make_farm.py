"""A farm's document for tests of services, and an account that can be laid out by it."""

from typing import Any

import msgspec
from make_cloud import Cloud

from arable.domain.access import Caller
from arable.services import blueprints
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmChange, FarmIn

SHOP: dict[str, Any] = {
    "name": "shop",
    "networks": [{"name": "web"}, {"name": "app", "isolated": True}, {"name": "db", "isolated": True}],
    "tiers": [
        {"name": "web", "blueprint": "web", "networks": ["web"], "least": 2, "most": 5},
        {"name": "app", "blueprint": "web", "networks": ["app"], "least": 2},
        {"name": "db", "blueprint": "web", "networks": ["db"]},
    ],
    "passages": [
        {"source": "web", "to": "app", "port": 8080},
        {"source": "app", "to": "db", "port": 5432},
    ],
    "ways_in": [{"tier": "web", "port": 80}],
}  # fmt: skip


def farm_in(**said: Any) -> FarmIn:
    return msgspec.convert({**SHOP, **said}, FarmIn)


def change(**said: Any) -> FarmChange:
    return msgspec.convert(said, FarmChange)


def whole(said: dict[str, Any]) -> FarmChange:
    """A document as `apply` sends it to a farm that is there."""
    lists = {name: [] for name in ("networks", "tiers", "passages", "ways_in")}
    return change(**lists | {name: value for name, value in said.items() if name != "name"})


def prepare(cloud: Cloud, name: str = "ann") -> Caller:
    caller = cloud.account(name)
    ask = msgspec.convert(
        {
            "name": "web",
            "image": "tiny",
            "offering": "small",
            "ports": [{"port": 8080, "protocol": "http"}],
            "user_data": "#!/bin/sh\necho {{tier.web.address}} {{element.number}}\n",
        },
        BlueprintIn,
    )
    cloud.do(caller, blueprints.create, ask)
    return caller
