"""`arable order create`: a farm's document as an order."""

from pathlib import Path
from typing import Annotated

import typer

from arable.cli import documents, waiting
from arable.cli.faults import Misused
from arable.cli.output import Format
from arable.cli.speaking import Cli, command


def _create(
    cli: Cli,
    file: Annotated[
        list[Path],
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="YAML or JSON with one farm, as for `arable farm apply`; `-` for standard input.",
        ),
    ],
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="PLAN", help="By which service plan.")
    ] = None,
    purchase_order: Annotated[
        str,
        typer.Option("--po", metavar="NUMBER", help="The number of your purchase order."),
    ] = "",
    card: Annotated[
        str,
        typer.Option(
            "--card", metavar="TOKEN", help="A token that means a card elsewhere; never its number."
        ),
    ] = "",
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key", help="Make an SSH key that logs in. Its private half is shown this once."
        ),
    ] = False,
    new_password: Annotated[
        bool,
        typer.Option(
            "--new-password",
            help="Draw a password for all machines of the farm. It is shown this once.",
        ),
    ] = False,
) -> None:
    """Order a farm.

    It is evaluated, perhaps reviewed by a person, its credit is checked, and its farm is made.
    """
    from arable.wire.orders import OrderIn

    read = documents.read(file)
    if len(read) != 1 or read[0].kind.name != "farm":
        raise Misused("an order is one farm", todo="`arable farm apply` takes blueprints and keys")
    ask = OrderIn(
        document=read[0].ask,
        plan=plan,
        purchase_order=purchase_order,
        card=card,
        new_key=new_key,
        new_password=new_password,
    )
    made = cli.cloud.orders.create(ask, **cli.how)
    if made.private_key and cli.form is Format.TABLE:
        cli.note(f"private key, told this once:\n{made.private_key}")
    if made.password and cli.form is Format.TABLE:
        cli.note(f"password of all its machines, told this once: {made.password}")
    order = made.order
    if cli.waits and not cli.dry_run:
        waiting.until_done(cli, [made.operation], "order create")
        order = cli.cloud.orders.get(order.id)
    cli.show(order if cli.form is Format.TABLE else made)


create = command(_create, tries=True, repeats=True, waits=True)
