"""What the dice may do to a grid: to its lines, its manager and its regions' servers. `GridWorld` heals all of it."""

from collections.abc import Callable
from dataclasses import dataclass

from arable.runtime.entropy import Random
from arable.sim.grid_region import Grid, GridRegion
from arable.sim.grid_wan import FATES, names
from arable.sim.servers import SimServer

Do = Callable[[Grid, Random], str]


@dataclass(frozen=True, slots=True)
class Happening:
    """As those of one region (`happenings.py`)."""

    kind: str
    weight: int
    do: Do


def _cut(grid: Grid, dice: Random) -> str:
    link = dice.choice(names(sorted(grid.regions)))
    grid.wan.cut ^= {link}
    return f"{' and '.join(sorted(link))} {'are cut off' if link in grid.wan.cut else 'are joined'}"


def _isolate(grid: Grid, dice: Random) -> str:
    region = dice.choice(sorted(grid.regions))
    ends = {link for link in names(sorted(grid.regions)) if region in link}
    if ends & grid.wan.cut:
        grid.wan.cut -= ends
        return f"{region} is back"
    grid.wan.cut |= ends
    return f"{region} is cut off from all"


def _noise(grid: Grid, dice: Random) -> str:
    grid.wan.trouble = dice.choice((0.0, 0.05, 0.2, 0.5))
    return f"of messages {grid.wan.trouble:.0%} have trouble"


def _fate(grid: Grid, dice: Random) -> str:
    fate = dice.choice(FATES)
    grid.wan.fates += [fate] * dice.choice((1, 2, 5))
    return f"the next {len(grid.wan.fates)} messages: {', '.join(grid.wan.fates)}"


def _deaths(grid: Grid, dice: Random) -> str:
    grid.wan.deaths = dice.choice((0.0, 0.02))
    return f"{grid.wan.deaths:.0%} of those who were answered die of it"


def _manager(grid: Grid, dice: Random) -> str:  # noqa: ARG001
    grid.manager.up = not grid.manager.up
    return f"the grid manager {'is back' if grid.manager.up else 'dies'}"


def _back_up(grid: Grid, dice: Random) -> str:  # noqa: ARG001
    grid.manager.back_up()
    return "the grid's database is backed up"


def _restore(grid: Grid, dice: Random) -> str:  # noqa: ARG001
    return "the grid's database is set back" if grid.manager.restore() else ""


def _server(grid: Grid, dice: Random) -> tuple[GridRegion, SimServer]:
    region = grid.regions[dice.choice(sorted(grid.regions))]
    return region, region.servers[dice.choice(sorted(region.servers))]


def _kill(grid: Grid, dice: Random) -> str:
    region, server = _server(grid, dice)
    if server.up:
        region.kill_server(server, after_commit=dice.random() < 0.5)
        return f"{server.name} of {region.name} dies"
    region.start_server(server.name)
    return f"{server.name} of {region.name} is started"


def _start(grid: Grid, dice: Random) -> str:
    region, server = _server(grid, dice)
    region.start_server(server.name)
    return f"{server.name} of {region.name} is started anew"


def _freeze(grid: Grid, dice: Random) -> str:
    region, server = _server(grid, dice)
    seconds = dice.choice((3.0, 15.0, 60.0))
    server.stand_still(seconds)
    return f"{server.name} of {region.name} is frozen for {seconds:.0f} s"


def _troubles_end(grid: Grid, dice: Random) -> str:  # noqa: ARG001
    grid.wan.heal()
    for region in grid.regions.values():
        for name, server in list(region.servers.items()):
            if not server.up:
                region.start_server(name)
    grid.manager.up = True
    return "the lines are whole, and all are there"


HAPPENINGS = (
    Happening("lines", 4, _cut),
    Happening("lines", 2, _isolate),
    Happening("noise", 4, _noise),
    Happening("noise", 3, _fate),
    Happening("deaths", 2, _deaths),
    Happening("manager", 3, _manager),
    Happening("backups", 3, _back_up),
    Happening("backups", 1, _restore),
    Happening("servers", 4, _kill),
    Happening("servers", 2, _start),
    Happening("servers", 3, _freeze),
    Happening("", 5, _troubles_end),
)
KINDS = ("lines", "noise", "deaths", "manager", "backups", "servers")
