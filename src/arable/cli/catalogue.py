"""Images that other regions have, for a person: where a version is, and how it comes here."""

from typing import Annotated

import typer

from arable.cli import waiting
from arable.cli.fields import built
from arable.cli.speaking import Cli, command

_COLUMNS = ("account", "number", "bytes", "public", "here", "holders.*.region/regions", "told")

_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the image.")]
_Version = Annotated[
    int | None, typer.Option("--version", help="This version. [default: the newest]", min=1)
]


def _where(cli: Cli, image: _Name, version: _Version = None) -> None:
    """Say in which regions an image's versions are, as this region knows.

    With `--output json` also of when that knowledge is.
    """
    from arable.wire.catalogue import WhereQuery

    found = cli.cloud.images.where(built(WhereQuery, {"image": image, "version": version}, ()))
    cli.show(found.versions, _COLUMNS)


def _fetch(cli: Cli, image: _Name, version: _Version = None) -> None:
    """Bring an image version from another region, before anybody wants to boot it.

    A machine that is deployed of an image that is not here brings it by itself. Public images of other accounts are for
    operators to bring.
    """
    from arable.wire.catalogue import FetchIn

    ask = built(FetchIn, {"image": image, "version": version}, ())
    begun = cli.cloud.images.fetch(ask, **cli.how)
    if cli.waits and not cli.dry_run:
        (begun,) = waiting.until_done(cli, [begun.id], f"image {image}")
    cli.show(begun)


where = command(_where)
fetch = command(_fetch, tries=True, repeats=True, waits=True)
