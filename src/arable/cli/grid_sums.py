"""All regions' sums for a person: what accounts hold, and what it costs, and how old each region's word is."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from arable.cli import output
from arable.cli.output import Format
from arable.cli.speaking import Cli, command
from arable.wire.grid_limits import GridLimitQuery
from arable.wire.grid_sums import GridBillQuery, GridEventQuery, GridSumQuery

Account = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="Of one account, by its path: root/acme/acme.", show_default=False),
]  # fmt: skip
Month = Annotated[
    str | None, typer.Option(metavar="YYYY-MM", help="[default: this month]", show_default=False)
]
In = Annotated[
    str | None,
    typer.Option("--of", metavar="REGION", help="In one region alone.", show_default=False),
]
_BILLS = ("account", "region", "month", "total", "currency", "as_of")
_HELD = (
    *("account", "region", "enabled", "used.machines/machines", "used.cpus/cpus"),
    *("used.memory_mib/memory_mib", "used.storage_mib/storage_mib", "used.addresses/addresses"),
)


def _bills(cli: Cli, month: Month = None, account: Account = None, of: In = None) -> None:
    """Show what a month comes to in all regions, by account, and how old each region's word is.

    Each region reckons its own; nothing is converted between currencies.
    """
    query = GridBillQuery(month=month, account=account, region=of, limit=1000)
    found = cli.cloud.grid.bills(query)
    items, ask = list(found.items), found
    while ask.next:
        ask = cli.cloud.grid.bills(
            GridBillQuery(month=month, account=account, region=of, limit=1000, after=ask.next)
        )
        items += ask.items
    if cli.form is not Format.TABLE:
        cli.show({"month": found.month, "items": items, "regions": found.regions, "sums": found.sums})  # fmt: skip
        return
    output.write(items, Format.TABLE, _BILLS)
    totals = [each for each in found.regions if each.total is not None]
    if totals:
        cli.note("")
        output.write(totals, Format.TABLE, ("region", "total", "currency"))
    for each in found.sums:
        cli.note(f"together: {each.total} {each.currency}")
    if not items:
        cli.note("none")
    _old(cli, found.regions)


def _accounts(cli: Cli, account: Account = None, of: In = None) -> None:
    """Show what accounts hold in all regions, and how old each region's word is."""
    query = GridSumQuery(account=account, region=of, limit=1000)
    found = cli.cloud.grid.accounts(query)
    items, ask = list(found.items), found
    while ask.next:
        ask = cli.cloud.grid.accounts(
            GridSumQuery(account=account, region=of, limit=1000, after=ask.next)
        )
        items += ask.items
    if cli.form is not Format.TABLE:
        cli.show({"items": items, "regions": found.regions})
        return
    output.write(items, Format.TABLE, _HELD)
    if not items:
        cli.note("none")
    _old(cli, found.regions)


def _limits(cli: Cli, account: Account = None) -> None:
    """List accounts' limits over all regions, and which shares of them regions have. See `arable grid set-limits`."""
    found, after = [], None
    while True:
        page = cli.cloud.grid.limits(GridLimitQuery(path=account, limit=1000, after=after))
        found += page.items
        after = page.next
        if after is None:
            break
    if cli.form is not Format.TABLE:
        cli.show(found)
        return
    rows = [
        {
            "account": each.path,
            "resource": name,
            "limit": limit,
            "shares": ", ".join(
                f"{one.region} {one.share[name]}"
                + (f" ({one.used[name]} used)" if one.used is not None else "")
                for one in each.shares
            ),
        }
        for each in found
        for name, limit in each.limits.items()
    ]
    output.write(rows, Format.TABLE, ("account", "resource", "limit", "shares"))
    if not rows:
        cli.note("none")


def _events(
    cli: Cli,
    of: In = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
) -> None:
    """List the newest events of all regions' operators, the newest last. Regions tell them with `grid_events` at yes."""
    found = cli.cloud.grid.events(GridEventQuery(region=of, limit=limit))
    if cli.form is not Format.TABLE:
        cli.show(found)
        return
    output.write(list(reversed(found.items)), Format.TABLE, ("at", "region", "kind", "subject", "text"))  # fmt: skip
    if not found.items:
        cli.note("none")
    _old(cli, found.regions)


def _old(cli: Cli, regions: Sequence[Any]) -> None:
    """A word about each of which something is not as it is now, and where there is none."""
    if not regions:
        cli.note(
            "no region is known here: `arable grid status` says whether this cloud is in a grid"
        )
    for each in regions:
        if each.told:
            cli.note(each.told)


bills = command(_bills)
accounts = command(_accounts)
limits = command(_limits)
events = command(_events)
