"""`arable apply` and `arable diff`: the cloud as files say. The files' format is told in `documents.py`."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from arable.cli import documents, farm_files, waiting
from arable.cli.documents import Document
from arable.cli.doing import Doer
from arable.cli.faults import Failed, harmless, say
from arable.cli.output import Format, cell
from arable.cli.plans import Planner
from arable.cli.speaking import Cli, command
from arable.cli.steps import Deed, Step

Files = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE|DIRECTORY",
        help="YAML or JSON; of a directory, all such files in it; `-` for standard input. May be said several times.",
    ),
]  # fmt: skip

_SIGNS = {
    Deed.CREATE: "+",
    Deed.CHANGE: "~",
    Deed.REPLACE: "±",
    Deed.NOTHING: "=",
    Deed.IMPOSSIBLE: "!",
}
_DONE = {
    Deed.CREATE: "created",
    Deed.CHANGE: "changed",
    Deed.REPLACE: "replaced",
    Deed.NOTHING: "unchanged",
    Deed.IMPOSSIBLE: "impossible",
}


class Row(msgspec.Struct, kw_only=True):
    """What is said of one document."""

    document: str
    did: str
    id: str | None = None
    about: str = ""
    differences: list[dict[str, Any]] = msgspec.field(default_factory=list)
    steps: list[dict[str, Any]] = msgspec.field(default_factory=list)  # of a farm
    problem: str = ""


def _diff(
    cli: Cli,
    file: Files,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with status 1 if there are differences.")
    ] = False,
) -> None:
    """Show what `arable apply` would change: looked up, and tried by the API's dry run. Nothing is changed.

    + is created, ~ changed, ± replaced, = left as it is, ! can't be made so.
    """
    show_differences(cli, documents.read(file), exit_code=exit_code)


def show_differences(cli: Cli, read: list[Document], *, exit_code: bool = False) -> None:
    """What there would be to do for these documents."""
    rows, differs = _tried(cli, read)
    _show_differences(cli, rows)
    wrong = [row for row in rows if row.problem]
    if wrong:
        raise Failed(f"{len(wrong)} of {len(rows)} documents can't be made so")
    if exit_code and differs:
        raise typer.Exit(1)


def _apply(cli: Cli, file: Files) -> None:
    """Make the cloud as files say: create what is missing, change what differs, leave the rest alone.

    May be repeated. Nothing is changed if anything can't be. `arable diff` shows beforehand what would happen; the
    files' format is described in docs/files.md, and examples/first-machine.yaml is one.
    """
    make(cli, documents.read(file))


def make(cli: Cli, read: list[Document]) -> None:
    """Make the cloud as these documents say."""
    if cli.dry_run:
        rows, _ = _tried(cli, read)
        _show_differences(cli, rows)
        if any(row.problem for row in rows):
            raise Failed("some documents can't be made so")
        return
    planner = Planner(cli, read)
    steps = planner.plan()
    _refuse_impossible(steps)
    doer = Doer(cli, planner, tries=False)
    done: list[Step] = []
    for planned in steps:
        step = planned
        if planned.pending or planned.follows:  # what it refers to is there by now
            step = planner.step(planned.document)
        try:
            doer.do(step)
        except Exception:
            say(f"{step.document.where}: {step.document} was refused; {len(done)} of {len(steps)} documents are done")  # fmt: skip
            raise
        done.append(step)
        if step.deed is not Deed.NOTHING:
            say(f"{step.document} {_DONE[step.deed]}")
    try:
        if cli.waits and doer.operations:
            waiting.until_done(cli, doer.operations)
    finally:
        _show_result(cli, planner, done)
        for name, password in doer.passwords.items():
            say(f"password of {name}, told this once: {password}")


def _tried(cli: Cli, read: list[Document]) -> tuple[list[Row], bool]:
    from arable.client.errors import Refused

    planner = Planner(cli, read)
    doer = Doer(cli, planner, tries=True)
    rows = []
    for step in planner.plan():
        row = _row(step, _would(step))
        if step.deed is Deed.IMPOSSIBLE:
            row.problem = "; ".join(f"{d.field}: {d.impossible}" for d in step.differences if d.impossible)  # fmt: skip
        elif step.pending:
            row.about = f"not tried, {', '.join(step.pending)} is not there yet"
        else:
            if step.follows:
                row.about = f"not tried with the next version of {', '.join(step.follows)}"
            try:
                doer.do(step)
                _plan(row, doer)
            except Refused as refused:
                fields = "; ".join(f"{name}: {why}" for name, why in refused.fields.items() if name)
                row.problem = fields or str(refused)
        rows.append(row)
    return rows, any(row.did != Deed.NOTHING for row in rows)


def _plan(row: Row, doer: Doer) -> None:
    """A farm's own steps say more than that its document differs."""
    if row.document in doer.steps:
        row.steps = msgspec.to_builtins(doer.steps[row.document])
        row.differences = []


def _would(step: Step) -> str:
    return step.deed.value


def _row(step: Step, did: str) -> Row:
    return Row(
        document=str(step.document),
        did=did,
        id=getattr(step.found, "id", None),
        differences=[
            {"field": each.field, "has": each.has, "wanted": each.wanted}
            for each in step.differences
        ],
    )


def _show_differences(cli: Cli, rows: list[Row]) -> None:
    if cli.form is not Format.TABLE:
        cli.show(rows)
        return
    for row in rows:
        more = f"  ({row.about})" if row.about else ""
        typer.echo(harmless(f"{_SIGNS[Deed(row.did)]} {row.document}{more}"))
        for each in row.differences:
            plain = msgspec.to_builtins(each)
            typer.echo(f"    {each['field']}: {cell(plain['has'])} -> {cell(plain['wanted'])}")
        for each in row.steps:
            about = f": {each['about']}" if each["about"] else ""
            typer.echo(harmless(f"    {each['sign']} {each['what']} {each['name']}{about}"))
        if row.problem:
            typer.echo(harmless(f"    can't be: {row.problem}"))
    count = {deed: sum(row.did == deed for row in rows) for deed in Deed}
    say(", ".join(f"{number} to {deed}" for deed, number in count.items() if number and deed in _COUNTED) or "nothing to do")  # fmt: skip


_COUNTED = (Deed.CREATE, Deed.CHANGE, Deed.REPLACE)


def _refuse_impossible(steps: list[Step]) -> None:
    wrong = [step for step in steps if step.deed is Deed.IMPOSSIBLE]
    for step in wrong:
        for each in step.differences:
            if each.impossible:
                say(f"{step.document.where}: {each.field} is {cell(msgspec.to_builtins(each.has))}, not {cell(each.wanted)}: {each.impossible}")  # fmt: skip
    if wrong:
        raise Failed(
            f"{len(wrong)} of {len(steps)} documents can't be made so; nothing was changed",
            todo="correct the files, or delete what is in their way",
        )


def _show_result(cli: Cli, planner: Planner, steps: list[Step]) -> None:
    rows = []
    for step in steps:
        row = _row(step, _DONE[step.deed])
        made = planner.made.get(str(step.document))
        row.id = getattr(made, "id", row.id)
        row.about = _about(cli, planner, step, made)
        rows.append(row)
    columns = ("document", "did", "id", "about")
    cli.show(rows, columns)
    public = sorted(
        {row.about for row in rows if row.document.startswith("address/") and row.about}
    )
    if public and cli.form is Format.TABLE:
        say(f"public address: {', '.join(public)}")


def _about(cli: Cli, planner: Planner, step: Step, made: Any) -> str:
    """What one wants to know at the end: addresses above all."""
    document, cloud = step.document, cli.cloud
    match document.kind.name:
        case "machine" if made is not None:
            machine = cloud.machines.get(made.id)
            return f"{machine.state}, {', '.join(nic.address for nic in machine.nics)}"
        case "address" if made is not None:
            return str(made.address)
        case "forward":
            address = cloud.addresses.get(planner.reference(document, "address") or "").address
            ask = document.ask
            return f"{address}:{ask.first_port} -> {document.fields['machine']}:{ask.to_port or ask.first_port}"  # fmt: skip
        case "static-nat":
            address = cloud.addresses.get(planner.reference(document, "address") or "").address
            return f"{address} <-> {document.fields['machine']}"
        case "balancer" if made is not None:
            return f"{made.called_at}:{made.port}" if made.port else ""
        case "remote-access" if made is not None:
            return f"{made.public}:{made.port}"
        case "vpn" if made is not None:
            return f"{made.public}:{made.port}, public key {made.public_key}"
        case "network" if made is not None:
            return str(made.cidr)
        case "farm" if made is not None:
            return farm_files.ways_in(cli, made.id)
        case _:
            return ""


diff = command(_diff)
apply = command(_apply, tries=True, waits=True)
