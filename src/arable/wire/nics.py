"""How machines' ports look outside."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from arable.wire.common import Address, Id, In, NameOrId, Out, PageQuery


class NicOut(Out, frozen=True, kw_only=True):
    """A machine's port on a network."""

    id: Annotated[str, Meta(examples=["nic-0mh5z1x2k3q8w7e6r5t4"])]
    machine: str
    network: str
    account: str
    mac: str
    address: str
    ipv6_address: Annotated[
        str | None,
        Meta(
            description="Its address in the /64 of its network, made of that and the MAC; null: it has none."
        ),
    ] = None
    default: Annotated[
        bool,
        Meta(
            description=(
                "By this port its machine finds its way out: on the others DHCP names neither a router nor a resolver."
            )
        ),
    ]
    position: Annotated[int, Meta(description="Its place in the machine, which it keeps.")]
    leaving: Annotated[
        bool,
        Meta(description="It was detached, and is gone when its machine's host has let go of it."),
    ]


class DetachNicQuery(In, frozen=True, kw_only=True):
    """How to take the port from its machine."""

    force: Annotated[
        bool,
        Meta(
            description="Restart the machine without it, if it runs: for a guest that does not let go of it. Also of one that was "
            "detached before, and is still waited for."
        ),
    ] = False


class NicQuery(PageQuery, frozen=True, kw_only=True):
    """Which ports."""

    machine: Id | None = None
    network: Id | None = None
    account: Id | None = None


class AttachIn(In, frozen=True, kw_only=True):
    """Which machine, and to what."""

    machine: Annotated[Id, Meta(examples=["machine-0mh5z1x2k3q8w7e6r5t4"])]
    network: Annotated[
        NameOrId, Meta(description="Of the machine's account and zone.", examples=["back"])
    ]
    address: Annotated[
        Address | None, Meta(description="An address of the network that is free; null: any.")
    ] = None
    default: Annotated[
        bool, Meta(description="The machine finds its way out by this port from now on.")
    ] = False


class NicMadeOut(Out, frozen=True, kw_only=True):
    """Accepted: the port is the machine's."""

    operation: Annotated[str, Meta(description="Done when the machine has it.")]
    nic: NicOut


class NicChange(In, frozen=True, kw_only=True):
    """What to change; what is left out stays."""

    address: (
        Annotated[
            Address,
            Meta(
                description=(
                    "Another address of its network. The old one does not work from then on: a machine that runs has "
                    "the new one when it asks DHCP again, which it does by itself after hours, or when it is rebooted."
                )
            ),
        ]
        | UnsetType
    ) = UNSET
    default: (
        Annotated[bool, Meta(description="True: the machine finds its way out by this port.")]
        | UnsetType
    ) = UNSET
