"""Farms in files: `arable farm plan` and `arable farm apply`, and how a farm's document is compared with the farm.

A farm's document is whole, so it is not compared field by field: the API is asked to try it, and tells its steps.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from arable.cli import documents
from arable.cli.faults import Misused
from arable.cli.speaking import Cli, command
from arable.cli.steps import Difference, Pending

if TYPE_CHECKING:
    from arable.cli.documents import Document
    from arable.cli.plans import Planner
    from arable.client.arable import Arable
    from arable.client.connection import How
    from arable.wire.blueprints import BlueprintVersionIn
    from arable.wire.farms import FarmChange, FarmMadeOut

_KINDS = ("storage-zone", "blueprint", "farm", "ssh-key")

Files = Annotated[
    list[Path],
    typer.Option(
        "--file",
        "-f",
        metavar="FILE|DIRECTORY",
        help="YAML or JSON with farms, and the blueprints, storage zones and SSH keys that they name; `-` for standard input.",
    ),
]


def _plan(
    cli: Cli,
    file: Files,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with status 1 if there are differences.")
    ] = False,
) -> None:
    """Show what `arable farm apply` would do, step by step: done for real, and taken back.

    + is made, ~ changed, - let go, = left as it is.
    """
    from arable.cli import files

    files.show_differences(cli, _farms(file), exit_code=exit_code)


def _apply(cli: Cli, file: Files) -> None:
    """Make farms as files say. May be repeated; what a farm's document no longer names is let go.

    What was made by hand is left alone. `arable farm plan` shows beforehand what would happen; docs/farms.md describes
    the format, and examples/shop.yaml is one.
    """
    from arable.cli import files

    files.make(cli, _farms(file))


def _farms(paths: list[Path]) -> list["Document"]:
    read = documents.read(paths)
    for each in read:
        if each.kind.name not in _KINDS:
            raise Misused(
                f"{each.where}: only {', '.join(_KINDS)} belong here",
                todo="`arable apply` takes all kinds of documents",
            )
    return read


def differences(planner: "Planner", document: "Document", found: Any) -> list[Difference]:
    """The steps that applying it would take, but for what is as it should be."""
    from arable.client.errors import Refused

    for noun, name in references(document, planner.documents):
        try:
            planner.id_of(noun, name, document)
        except Pending:
            return [Difference("tiers", None, f"of {noun} {name}, which is still to come")]
    try:
        steps = update(planner.cloud, found.id, document, {"dry_run": True}).steps
    except Refused as refused:
        said = [Difference(field, None, None, why) for field, why in refused.fields.items()]
        return said or [Difference("farm", None, None, str(refused))]
    return [
        Difference(f"{each.what} {each.name}", None, each.about)
        for each in steps
        if each.sign != "="
    ]


def references(document: "Document", beside: "Sequence[Document]" = ()) -> list[tuple[str, str]]:
    """What a farm's tiers name, with these documents beside it: nouns and names."""
    made = {each.name for each in beside if each.kind.name == "blueprint"}
    keys = [key for key in document.ask.ssh_keys if " " not in key]
    zone = document.ask.storage_zone
    return [
        *((("storage-zone", zone),) if zone is not None else ()),
        # What a tier in another region names may be that region's own.
        *(
            ("blueprint", tier.blueprint)
            for tier in document.ask.tiers
            if tier.region is None or tier.blueprint in made
        ),
        *(("ssh-key", key) for key in keys),
    ]


def newest_of(document: "Document") -> list[str]:
    """The blueprints whose newest version its tiers take each time that it is applied, as documents are called."""
    return sorted(
        {f"blueprint/{tier.blueprint}" for tier in document.ask.tiers if tier.version == "newest"}
    )


def whole(document: "Document") -> "FarmChange":
    """All of the document: a list that it does not have is empty."""
    from arable.wire.farms import FarmChange, FarmSpec

    said = {
        each.name: getattr(document.ask, each.name) for each in msgspec.structs.fields(FarmSpec)
    }
    if document.ask.storage_zone is not None:
        said["storage_zone"] = document.ask.storage_zone
    return FarmChange(**said)


def create(cloud: "Arable", document: "Document", how: "How") -> "FarmMadeOut":
    """A new farm."""
    return cloud.farms.create(document.ask, **how)


def update(cloud: "Arable", farm: str, document: "Document", how: "How") -> "FarmMadeOut":
    """A farm as its document says now."""
    return cloud.farms.update(farm, whole(document), **how)


def version_of(document: "Document") -> "BlueprintVersionIn":
    """What a blueprint's next version says."""
    from arable.wire.blueprints import BlueprintVersionIn

    said = {
        each.name: getattr(document.ask, each.name)
        for each in msgspec.structs.fields(BlueprintVersionIn)
    }
    return BlueprintVersionIn(**said)


def ways_in(cli: Cli, farm: str) -> str:
    """Where a farm is reached."""
    from arable.wire.balancers import BalancerQuery
    from arable.wire.networks import NetworkQuery

    networks = cli.cloud.networks.all(NetworkQuery(farm=farm))
    found = [
        f"{balancer.public}:{balancer.port}"
        for network in networks
        for balancer in cli.cloud.balancers.all(BalancerQuery(network=network.id))
        if balancer.kind == "public"
    ]
    return ", ".join(found)


plan = command(_plan)
apply = command(_apply, tries=True, waits=True)
