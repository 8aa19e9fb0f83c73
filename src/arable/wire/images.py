"""How images, their versions and parts look outside."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import MOST, Id, In, Name, NameOrId, Out, PageQuery, Plain

Sha256 = Annotated[
    str,
    Meta(
        min_length=64,
        max_length=64,
        pattern=r"^[0-9a-f]{64}$(?!\n)",
        description="SHA-256 in hexadecimal.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
PartRoleName = Annotated[
    Literal["disk", "kernel", "initrd"], Meta(description="What the file is for.")
]
PartFormatName = Annotated[
    Literal["qcow2", "raw", "blob"],
    Meta(description="How it is opened; never guessed. Kernels and initrds are blobs."),
]
CommandLine = Annotated[
    Plain,
    Meta(
        max_length=2048,
        description="Of the kernel, for versions that boot by kernel and initrd.",
        examples=["console=ttyS0"],
    ),
]
Memory = Annotated[
    int, Meta(ge=0, le=1 << 24, description="The least memory it boots with; 0: any.")
]
Public = Annotated[bool, Meta(description="True: every account may use it. For operators.")]
VersionNumber = Annotated[int, Meta(ge=1, le=1_000_000)]


class ImageIn(In, frozen=True, kw_only=True):
    """A new image, without a version as yet, or one that is made of a snapshot."""

    name: Name
    snapshot: Annotated[
        NameOrId | None,
        Meta(
            description="A snapshot, by id or name: its first version has on its disk what that keeps. It is there when "
            "the operation is done."
        ),
    ] = None
    public: Public = False
    command_line: CommandLine = ""
    minimum_memory_mib: Memory = 0


class ImageChange(In, frozen=True, kw_only=True):
    """What is said is changed, the rest stays."""

    name: Name | UnsetType = UNSET
    public: Public | UnsetType = UNSET
    command_line: CommandLine | UnsetType = UNSET
    minimum_memory_mib: Memory | UnsetType = UNSET


class PartOut(Out, frozen=True, kw_only=True):
    """A file of an image version."""

    role: PartRoleName
    format: PartFormatName
    sha256: str
    bytes: int
    virtual_bytes: Annotated[int, Meta(description="A disk's size to the machine.")]


class VersionOut(Out, frozen=True, kw_only=True):
    """An image version; it never changes."""

    image: str
    number: int
    digest: Annotated[
        str,
        Meta(
            description="SHA-256 of its one part, or of its parts' digests in alphabetical order of role."
        ),
    ]
    parts: tuple[PartOut, ...]
    bytes: Annotated[int, Meta(description="Of all parts.")]
    arriving: Annotated[
        bool,
        Meta(description="It is on its way from another region; machines of it wait for that."),
    ] = False
    fetched: Annotated[
        bool,
        Meta(description="It came from another region, and may be let go when nobody uses it."),
    ] = False
    pinned: Annotated[bool, Meta(description="It is never let go.")] = False
    created_at: datetime


class ImageOut(Out, frozen=True, kw_only=True):
    """An image."""

    id: Annotated[str, Meta(examples=["image-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    name: str
    public: bool
    command_line: str
    minimum_memory_mib: int
    versions: Annotated[
        tuple[VersionOut, ...],
        Meta(description="Latest first; machines get the first unless they say otherwise."),
    ]
    snapshot: Annotated[
        str | None, Meta(description="The snapshot that its first version was made of.")
    ] = None
    operation: Annotated[
        str | None, Meta(description="That waits for its version; null when nothing is under way.")
    ] = None
    told: Annotated[
        str, Meta(description="Why that is not done yet, by the last word of who does it.")
    ] = ""
    home: Annotated[
        str | None,
        Meta(
            description="The region of the shared volume whose contents its versions are, for farms' tiers that read it in "
            "other regions; it comes and goes with them."
        ),
    ] = None
    generation: int
    created_at: datetime


class ImageQuery(PageQuery, frozen=True, kw_only=True):
    """Which images, among the caller's own and the public ones."""

    name: Name | None = None
    account: Id | None = None
    public: bool | None = None


class UploadQuery(In, frozen=True, kw_only=True):
    """What the uploaded file is said to be; the bytes must agree."""

    format: PartFormatName
    role: PartRoleName = "disk"
    sha256: Sha256 | None = None


class ImageUploadIn(In, frozen=True, kw_only=True):
    """A file that will be sent, over as many connections as it takes."""

    image: Annotated[
        Id | None,
        Meta(
            description="The image that gets a version of this one file; null: it becomes a part, as of `POST /v1/image-parts`."
        ),
    ] = None
    format: PartFormatName
    role: PartRoleName = "disk"
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1, le=MOST, description="How long the file is.")]


class ImageUploadOut(Out, frozen=True, kw_only=True):
    """A file on its way in."""

    id: Annotated[str, Meta(examples=["upload-0mh5z1x2k3q8w7e6r5t4"])]
    account: str
    image: str | None
    role: PartRoleName
    format: PartFormatName
    sha256: str
    bytes: int
    offset: Annotated[int, Meta(description="So many bytes are safe on the disk: go on there.")]
    complete: Annotated[
        bool, Meta(description="It is verified, and a version or a part of its account.")
    ]
    version: Annotated[
        int | None, Meta(description="The number of the image's version, once it is complete.")
    ] = None
    expires_at: Annotated[
        datetime, Meta(description="When it is forgotten, if nobody goes on with it.")
    ]
    created_at: datetime


class ImageUploadQuery(PageQuery, frozen=True, kw_only=True):
    """Which uploads."""

    image: Id | None = None
    sha256: Sha256 | None = None
    complete: bool | None = None


class FromPartsIn(In, frozen=True, kw_only=True):
    """A version of several parts, which the image's account has uploaded before."""

    parts: Annotated[
        tuple[Sha256, ...], Meta(min_length=1, max_length=3, description="Their digests.")
    ]


class FileIn(In, frozen=True, kw_only=True):
    """A file in the management server's image directory."""

    path: Annotated[
        Plain,
        Meta(
            min_length=1,
            max_length=1024,
            description="Relative to the directory.",
            examples=["debian-12.qcow2"],
        ),
    ]
    format: PartFormatName
    role: PartRoleName = "disk"
    sha256: Sha256 | None = None


class FromFilesIn(In, frozen=True, kw_only=True):
    """A version made of files on the management server; for operators."""

    files: Annotated[tuple[FileIn, ...], Meta(min_length=1, max_length=3)]


class VersionQuery(In, frozen=True, kw_only=True):
    """Which version."""

    number: VersionNumber
