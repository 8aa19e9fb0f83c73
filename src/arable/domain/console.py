"""A visit to a machine's serial console."""

from dataclasses import dataclass, field

from arable.domain.ids import HostId, MachineId, UserId


@dataclass(frozen=True, slots=True)
class Visit:
    """Who may open which machine's console, and the host where the machine was when that was decided.

    `origin`: the region that let the user in, by whose way alone it is used; empty: this one.
    """

    user: UserId
    machine: MachineId
    host: HostId
    origin: str = ""


@dataclass(frozen=True, slots=True)
class FarVisit:
    """Who may open the console of a machine of another region, with the ticket that was given there."""

    user: UserId
    region: str
    ticket: str = field(repr=False)
