"""How the plan of a zone's idle pool looks outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from arable.wire.common import In, Out

DimensionName = Literal["cpu_mhz", "memory_mib"]


class PoolPlanQuery(In, frozen=True, kw_only=True):
    """What is wished of the pool."""

    target: Annotated[
        float,
        Meta(
            ge=0.0001,
            le=0.5,
            description="No size of machine that comes is to find no room more often: 0.01 is one of a hundred.",
        ),
    ] = 0.01
    days: Annotated[int, Meta(ge=1, le=365, description="How far to look ahead.")] = 30


class PoolRoomOut(Out, frozen=True, kw_only=True):
    """Of CPU in MHz, or of memory in MiB."""

    total: Annotated[int, Meta(description="What can be reserved on the hosts that take machines.")]
    used: int
    free: Annotated[int, Meta(description="The idle pool: total less used.")]
    load: Annotated[
        float,
        Meta(description="Offered: so much would be used in the mean if there were room for all."),
    ]
    needed: Annotated[int, Meta(description="With so much the target is met, by today's load.")]
    needed_then: Annotated[
        int | None,
        Meta(description="The same for the upper end of the forecast; null where there is none."),
    ]


class PoolShapeOut(Out, frozen=True, kw_only=True):
    """Machines of one size, whatever their offering."""

    offerings: Annotated[
        list[str], Meta(description="Those of this size that can be had now; none: it was changed.")
    ]
    cpus: int
    cpu_mhz: Annotated[int, Meta(description="Of the whole machine.")]
    memory_mib: int
    machines: Annotated[int, Meta(description="So many have a host now.")]
    fits: Annotated[
        int, Meta(description="So many more would find room now, if no others came meanwhile.")
    ]
    arrivals: Annotated[int, Meta(description="That wanted room in the days that count.")]
    refused: Annotated[int, Meta(description="Of those, for want of room.")]
    arrivals_per_day: float
    stay_seconds: Annotated[
        float | None,
        Meta(description="How long they have room in the mean; null where none came."),
    ]
    load: Annotated[
        float,
        Meta(description="So many there would be in the mean if there were room for all."),
    ]
    chance: Annotated[
        float,
        Meta(
            description="That one which comes finds no room, with the pool and the load of today."
        ),
    ]


class ForecastOut(Out, frozen=True, kw_only=True):
    """In times of what was used in the last week. Nine times of ten it is between `low` and `high`."""

    dimension: DimensionName
    weeks: Annotated[int, Meta(description="Through so many whole weeks the line is drawn.")]
    low: float
    expected: float
    high: float


class PoolPlanOut(Out, frozen=True, kw_only=True):
    """A zone's pool: what it has, what comes, and how large it should be."""

    zone: str
    zone_name: str
    at: datetime
    target: float
    days: int
    recorded_since: Annotated[datetime | None, Meta(description="Null: no machine has come yet.")]
    hosts: Annotated[int, Meta(description="That take machines, or will when they are woken.")]
    machines: int
    cpu_mhz: PoolRoomOut
    memory_mib: PoolRoomOut
    shapes: list[PoolShapeOut]
    chance: Annotated[
        float, Meta(description="That the next machine finds no room, whichever size it has.")
    ]
    forecast: Annotated[
        list[ForecastOut], Meta(description="None: fewer than four whole weeks are recorded.")
    ]
    chance_then: Annotated[
        float | None, Meta(description="Of the upper end of the forecast, with the pool of today.")
    ]
    hosts_needed: Annotated[
        int | None,
        Meta(
            description="Of the mean size of those that there are, for now and then; null: there are none to go by."
        ),
    ]
    decides: Annotated[DimensionName | None, Meta(description="Of which so many hosts are needed.")]
    add: Annotated[int, Meta(description="So many hosts are missing.")]
    spare: Annotated[int, Meta(description="So many hosts could be spared.")]
    told: Annotated[list[str], Meta(description="The same in sentences, and what to be wary of.")]
