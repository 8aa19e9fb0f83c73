"""How SSH keys look outside."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from arable.wire.common import Id, In, Name, Out, PageQuery

_EXAMPLE = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cV0Hq3o2vDyX0gGk2uVtC0oS9aQ8lq0nWlT5Wb1cK me@laptop"
)


class SshKeyIn(In, frozen=True, kw_only=True):
    """A new pair of keys, made here."""

    name: Name


class SshKeyImport(In, frozen=True, kw_only=True):
    """A public key that one has already."""

    name: Name
    public_key: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=8192,
            pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+(\r?\n)?$(?!\n)",
            description=(
                "As `ssh-keygen` writes it, one line: Ed25519, ECDSA, or RSA of 2048 bits and more."
            ),
            examples=[_EXAMPLE],
        ),
    ]


class SshKeyOut(Out, frozen=True, kw_only=True):
    """A key by which one logs in to machines."""

    id: str
    account: str
    name: str
    kind: Annotated[str, Meta(examples=["ssh-ed25519"])]
    bits: int
    fingerprint: Annotated[str, Meta(description="As `ssh-keygen -l` shows it.")]
    public_key: str
    created_at: datetime


class NewSshKeyOut(SshKeyOut, frozen=True, kw_only=True):
    """A key that was made here."""

    private_key: Annotated[
        str | None,
        Meta(
            description="For a file that only you can read: here and now, and never again; it is kept nowhere."
        ),
    ] = None


class SshKeyQuery(PageQuery, frozen=True, kw_only=True):
    """Which keys."""

    name: Annotated[Name | None, Meta(description="Exactly this name.")] = None
    account: Id | None = None
