"""How large zones' idle pools should be, for operators."""

from typing import Annotated

import typer

from arable.cli import names
from arable.cli.nouns import NOUNS
from arable.cli.output import Format
from arable.cli.speaking import Cli, command

_COLUMNS = ("zone_name/zone", "hosts", "machines", "cpu/cpu_used", "memory/memory_used", "chance", "hosts_needed/needed", "add", "spare")  # fmt: skip
_SHAPES = ("zone", "offerings", "cpus", "memory_mib", "machines", "fits", "arrivals_per_day/per_day", "refused", "stay", "load", "chance")  # fmt: skip


def _plan(
    cli: Cli,
    zone: Annotated[
        str | None,
        typer.Option("--zone", metavar="NAME", help="Of this zone alone. [default: all]", show_default=False),
    ] = None,
    target: Annotated[
        float,
        typer.Option("--target", min=0.0001, max=0.5, help="How often a machine may find no room: 0.01 is one of a hundred."),
    ] = 0.01,
    days: Annotated[
        int, typer.Option("--days", min=1, max=365, help="How far to look ahead.")
    ] = 30,
) -> None:  # fmt: skip
    """Say of each zone how much room its idle pool has, what comes, and how many hosts it should have.

    The idle pool is what hosts have free. From the machines that came, were refused and went follows how often one finds
    no room; `--output json` shows all figures, also those of each size of machine.
    """
    from arable.wire.pool_plans import PoolPlanQuery

    query = PoolPlanQuery(target=target, days=days)
    if zone is None:
        ids = [each.id for each in cli.cloud.zones.all()]
    else:
        ids = [names.id_of(cli, NOUNS["zone"], zone)]
    plans = [cli.cloud.pools.plan(id_, query) for id_ in ids]
    if cli.form is not Format.TABLE:
        cli.show(plans)
        return
    cli.show(
        [
            {
                "zone_name": each.zone_name,
                "hosts": each.hosts,
                "machines": each.machines,
                "cpu": _percent(each.cpu_mhz.used, each.cpu_mhz.total),
                "memory": _percent(each.memory_mib.used, each.memory_mib.total),
                "chance": _chance(each.chance),
                "hosts_needed": each.hosts_needed,
                "add": each.add,
                "spare": each.spare,
            }
            for each in plans
        ],
        _COLUMNS,
    )
    shapes = [
        {
            "zone": each.zone_name,
            "offerings": "/".join(one.offerings),
            "cpus": one.cpus,
            "memory_mib": one.memory_mib,
            "machines": one.machines,
            "fits": one.fits,
            "arrivals_per_day": round(one.arrivals_per_day, 1),
            "refused": one.refused,
            "stay": "" if one.stay_seconds is None else _span(one.stay_seconds),
            "load": round(one.load, 1),
            "chance": _chance(one.chance),
        }
        for each in plans
        for one in each.shapes
    ]
    if shapes:
        cli.note("")
        cli.show(shapes, _SHAPES)
    for each in plans:
        for says in each.told:
            cli.note(f"{each.zone_name}: {says}")


def _percent(part: int, whole: int) -> str:
    return f"{part * 100 // whole} %" if whole else ""


def _chance(chance: float) -> str:
    return f"{chance * 100:.2f} %"


def _span(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


plan = command(_plan)
