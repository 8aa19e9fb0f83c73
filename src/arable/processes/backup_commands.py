"""`arable backup` and `arable restore`: their options, and what they say."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from arable.domain.errors import BadInput
from arable.processes import backup_file
from arable.processes.backup import Place, Restored, backup, restore
from arable.processes.backup_file import Contents
from arable.processes.data_option import Data
from arable.processes.foreseen import told
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

_FEW = 3

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.")]
Store = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="ARABLE_DATABASE",
        help="URL of the PostgreSQL. Left out: SQLite in the data directory."
        " A URL with a password belongs into the environment.",
    ),
]
Passphrase = Annotated[
    int | None,
    typer.Option(
        "--passphrase-fd",
        metavar="N",
        help="Read the passphrase from this file descriptor (0: standard input), instead of asking for it.",
    ),
]


def save(
    file: File,
    data: Data,
    database: Store = "",
    images: Annotated[
        bool, typer.Option("--images", help="With the images' files, not only their digests.")
    ] = False,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help="Close the file by a passphrase.")
    ] = False,
    passphrase_fd: Passphrase = None,
) -> None:
    """Write the store and the authority into one file, while servers work.

    The file holds the authority's key, whoever has it can be this cloud: keep it as you keep keys.
    """
    with told():
        secret = _passphrase(passphrase_fd, new=True) if encrypt or passphrase_fd is not None else None  # fmt: skip
        place = Place(data=data, database=database)
        made = backup(file, place, RealClock(), Entropy.system(), with_images=images, passphrase=secret)  # fmt: skip
    typer.echo(f"{file}: {_counted(made)}, {file.stat().st_size / 1e6:.1f} MB")
    if made.images and not images:
        typer.echo(
            f"{len(made.images)} image files are named in it, not included: keep {data / 'images'}, or say --images"
        )


def load(file: File, data: Data, database: Store = "", passphrase_fd: Passphrase = None) -> None:
    """Put a backup where no cloud is: an empty data directory, and an empty database.

    Every byte is compared first. Older schemas are brought up to date. A backup of PostgreSQL can be restored into
    SQLite, and the other way round.
    """
    with told():
        closed = backup_file.is_closed(file)
        secret = _passphrase(passphrase_fd, new=False) if closed else None
        place = Place(data=data, database=database)
        made = restore(file, place, RealClock(), Entropy.system(), secret)
    typer.echo(next_steps(made, place))


def next_steps(made: Restored, place: Place) -> str:
    """What was done, and what to do now."""
    lines = [
        f"restored what was there at {made.contents.taken_at:%Y-%m-%d %H:%M:%S} UTC: {_counted(made.contents)}",
        "",
        "Now:",
    ]
    if made.missing:
        shown = ", ".join(each[:12] for each in made.missing[:_FEW])
        more = f" and {len(made.missing) - _FEW} more" if len(made.missing) > _FEW else ""
        lines.append(
            f"  copy {len(made.missing)} image files into {place.data / 'images'} ({shown}{more}); without them"
            " machines that are new to a host can't start"
        )
    lines += [
        f"  start it: arable server --data {place.data}, with the addresses and names that agents know",
        "  hosts come back by themselves; nothing is started, stopped or placed before each has said what it runs",
        "  if one never will: arable host maintenance HOST",
        "  the servers that worked with the earlier database must not go on: hosts don't listen to them any more",
    ]
    return "\n".join(lines)


def _counted(contents: Contents) -> str:
    counts = [f"{contents.rows(name)} {name}s" for name in ("account", "host", "machine")]
    return ", ".join(counts)


def _passphrase(descriptor: int | None, *, new: bool) -> Secret:
    if descriptor is not None:
        try:
            with os.fdopen(descriptor, closefd=False) as said:
                text = said.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"no passphrase can be read from descriptor {descriptor}") from error
        if not text:
            raise BadInput(f"there was no passphrase on descriptor {descriptor}")
        return Secret(text)
    if not sys.stdin.isatty():
        raise BadInput(
            "a passphrase is needed, and there is no terminal to ask for it: say --passphrase-fd"
        )
    answer: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    return Secret(answer)
