"""Images go up as files: with their digest said beforehand, a bar while one waits, and on from where they were."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from arable.cli import names
from arable.cli.faults import Misused, harmless
from arable.cli.nouns import NOUNS
from arable.cli.speaking import Cli, command

if TYPE_CHECKING:
    from arable.wire.images import ImageUploadIn, ImageUploadOut

_QCOW2 = b"QFI\xfb"

Format = Annotated[
    Literal["qcow2", "raw"] | None,
    typer.Option(
        "--format",
        help="How the disk is opened. [default: qcow2 if it begins like one, raw for *.raw and *.img]",
        show_default=False,
    ),
]


def _file(about: str) -> Any:
    return typer.Option(
        metavar="FILE", help=about, exists=True, dir_okay=False, readable=True, show_default=False
    )


def _upload(
    cli: Cli,
    image: Annotated[str, typer.Argument(metavar="NAME", help="Name or id of the image.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="DISK", help="The disk file.", exists=True, dir_okay=False, readable=True, show_default=False
        ),
    ] = None,
    format_: Format = None,
    kernel: Annotated[Path | None, _file("A kernel to boot.")] = None,
    initrd: Annotated[Path | None, _file("An initial file system for the kernel.")] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Create the image first, if there is none of that name.")
    ] = False,
) -> None:  # fmt: skip
    """Upload a new version of an image: a disk, a kernel with its initrd, or all three.

    The SHA-256 is computed here and checked by the server, which also checks that a disk is what it is said to be. When the
    connection breaks or the server restarts, it goes on where it was, for five minutes without a byte that gets through; when
    this command was ended, the same command goes on.
    """
    files = [(role, each) for role, each in (("disk", file), ("kernel", kernel), ("initrd", initrd)) if each]  # fmt: skip
    if not files:
        raise Misused("say which file to upload: a disk, or --kernel and --initrd")
    asked = [_said(cli, each, role, format_ if role == "disk" else None) for role, each in files]
    id_ = _image(cli, image, create=create)
    if len(files) == 1 and files[0][0] == "disk":
        made = _sent(cli, files[0][1], asked[0], image=id_)
        versions = cli.cloud.images.get(id_).versions
        cli.show(next((each for each in versions if each.number == made.version), made))
        return
    from arable.wire.images import FromPartsIn

    digests = [_sent(cli, path, ask).sha256 for (_, path), ask in zip(files, asked, strict=True)]
    cli.show(cli.cloud.images.create_from_parts(id_, FromPartsIn(parts=tuple(digests))))


def _upload_part(
    cli: Cli,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file.", exists=True, dir_okay=False, readable=True)],
    role: Annotated[
        Literal["disk", "kernel", "initrd"], typer.Option(help="What the file is for.")
    ],
    format_: Format = None,
) -> None:  # fmt: skip
    """Upload a part of an image version; `arable image create-from-parts` puts parts together.

    `arable image upload` does both at once.
    """
    cli.show(_sent(cli, file, _said(cli, file, role, format_)))


def _image(cli: Cli, image: str, *, create: bool) -> str:
    from arable.cli.fields import built
    from arable.wire.images import ImageIn, ImageQuery

    noun = NOUNS["image"]
    if create and not names.is_id(noun, image):
        ask = built(ImageIn, {"name": image}, ())
        if not any(True for _ in cli.cloud.images.all(ImageQuery(name=image))):
            return cli.cloud.images.create(ask).id
    return names.id_of(cli, noun, image)


def _said(cli: Cli, file: Path, role: str, format_: str | None) -> "ImageUploadIn":
    """What the file is: a disk's format is said by its owner, or is plain from its first bytes."""
    import msgspec

    from arable.wire.images import ImageUploadIn

    with file.open("rb") as source:
        begins = source.read(len(_QCOW2))
        source.seek(0)
        cli.note(f"computing the SHA-256 of {file}")
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    if role != "disk":
        format_ = "blob"
    elif format_ is None and begins == _QCOW2:
        format_ = "qcow2"
    elif format_ is None and file.suffix in (".raw", ".img"):
        format_ = "raw"
    elif format_ is None:
        raise Misused(f"say in which format {file} is", field="--format")
    length = file.stat().st_size
    if not length:
        raise Misused(f"{file} is empty")
    said = {"format": format_, "role": role, "sha256": digest, "bytes": length}
    return msgspec.convert(said, type=ImageUploadIn)


def _sent(
    cli: Cli, file: Path, ask: "ImageUploadIn", *, image: str | None = None
) -> "ImageUploadOut":
    """All of the file, from where an earlier command was, if there was one."""
    import msgspec

    from arable.client.errors import CallError
    from arable.client.sending import Told, send

    ask = msgspec.structs.replace(ask, image=image)
    with file.open("rb") as source, _bar(file, ask.bytes) as moved:
        begun = False

        def sent(offset: int) -> None:
            nonlocal begun
            if offset and not begun:
                cli.note(f"{offset} of {ask.bytes} bytes of {file} are there already")
            begun = True
            moved(offset)

        def again(error: CallError) -> None:
            cli.note(f"{file}: {error}; trying again")

        return send(cli.cloud, ask, source, told=Told(sent=sent, again=again))


@contextmanager
def _bar(file: Path, length: int) -> Iterator[Callable[[int], None]]:
    """A bar where somebody watches; what is given hears how many bytes went out."""
    if not sys.stderr.isatty():
        yield lambda _offset: None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(escape(harmless(file.name)), total=length)
        yield lambda offset: progress.update(task, completed=offset)


upload = command(_upload)
upload_part = command(_upload_part)
