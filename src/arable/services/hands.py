"""What is asked for a farm without anybody at a keyboard: the use cases that its owner could ask for, in its name.

So limits, names, addresses, events and operations hold for what a farm makes without a second copy of them. Here are the
`Hands` of `controllers.tiers` and `controllers.farm_documents`, in their words: controllers know no services.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from arable.domain.access import EVERYTHING, ROLES, Caller
from arable.domain.errors import CloudError, Conflict, NotFound
from arable.domain.farm import Farm, Part, PartKind
from arable.domain.farm_part import FarmPart
from arable.domain.ids import AccountId, BalancerId, ElementId, FarmId, MachineId, UserId, VolumeId
from arable.domain.tier import Door, Release, Tier
from arable.domain.volume_copies import SentVolume
from arable.runtime.secret import Secret
from arable.services import (
    attachments,
    balancers,
    came_volumes,
    deployments,
    farm_regions,
    farm_secrets,
    farms,
    power,
    rollouts,
    volume_copies,
    volumes,
)
from arable.services.belonging import FARM
from arable.services.call import Asked, Call, Surroundings
from arable.services.passwords import Password
from arable.services.references import References
from arable.store import accounts, farm_documents, quotas
from arable.store import volumes as kept
from arable.store.database import Tx
from arable.wire.balancers import MemberIn
from arable.wire.grid import FarmPartOut
from arable.wire.machines import DeployedOut, DeployIn, DestroyIn
from arable.wire.volumes import AttachVolumeIn, VolumeIn

_ROLE = "customer"


class Owner(Protocol):
    """In whose name is asked."""

    @property
    def account(self) -> AccountId: ...
    @property
    def farm(self) -> FarmId: ...
    @property
    def farm_name(self) -> str: ...


class KeptDisk(Protocol):
    """A volume that stays: what the farm calls it, and how it is made."""

    @property
    def part(self) -> str: ...
    @property
    def ask(self) -> VolumeIn: ...


@dataclass(frozen=True, slots=True)
class _Farm:
    account: AccountId
    farm: FarmId
    farm_name: str


@dataclass(frozen=True, slots=True)
class FarmHands:
    """Of one process. `around` is asked for each time: it is not complete when these are made."""

    around: Callable[[], Surroundings]

    def new_element(self) -> ElementId:
        return ElementId(self.around().ids.new("element"))

    def deploy(
        self, tx: Tx, owner: Owner, asks: Sequence[DeployIn]
    ) -> Sequence[DeployedOut | CloudError]:
        caller, around, given = _caller(tx, owner), self.around(), _passwords(tx, owner)
        asked = [Asked(caller, around, (ask, given)) for ask in asks]
        answers = deployments.deploy_batch(tx, asked)
        return [each if isinstance(each, CloudError) else each.machines[0] for each in answers]

    def deploy_with(
        self, tx: Tx, owner: Owner, ask: DeployIn, disks: Sequence[KeptDisk], reads: Sequence[str]
    ) -> DeployedOut:
        """It is deployed off, gets its volumes, and is started."""
        call = self._call(tx, owner)
        parts = farm_documents.parts(tx, owner.farm)
        ids = [
            VolumeId(parts.get((PartKind.VOLUME, disk.part)) or _made(call, owner, disk))
            for disk in disks
        ]
        came = [(name, came_volumes.readable(tx, owner.farm, name)) for name in reads if came_volumes.is_one(name)]  # fmt: skip
        ids += [_read(call, ask, name) for name in reads if not came_volumes.is_one(name)]
        given = _passwords(tx, owner)
        made = deployments.deploy(call, replace(ask, start=False), given).machines[0]
        for id_ in ids:
            attachments.attach(call, id_, AttachVolumeIn(machine=made.id))
        for name, part in came:
            came_volumes.give(call, MachineId(made.id), name, part)
        power.start(call, MachineId(made.id))
        return made

    def set_members(
        self, tx: Tx, owner: Owner, door: Door, weights: Mapping[MachineId, int | None]
    ) -> None:
        call = self._call(tx, owner)
        gone = [machine for machine, weight in weights.items() if weight is None]
        if gone:
            balancers.drop_members(call, door.balancer, gone)
        there = {machine: weight for machine, weight in weights.items() if weight is not None}
        if there:
            members = [MemberIn(machine=machine, port=door.port) for machine in sorted(there)]
            drains = [machine for machine, weight in there.items() if not weight]
            balancers.put_members(call, door.balancer, members, drains)

    def start(self, tx: Tx, owner: Owner, machine: MachineId) -> None:
        power.start(self._call(tx, owner), machine)

    def destroy(self, tx: Tx, owner: Owner, machine: MachineId, *, force: bool) -> None:
        power.destroy(self._call(tx, owner), machine, DestroyIn(force=force, expunge=True))

    def begin_rollout(self, tx: Tx, owner: Owner, tier: Tier, goal: Release) -> Tier:
        return rollouts.begin(self._call(tx, owner), tier, goal)

    def set_check(self, tx: Tx, owner: Owner, balancer: BalancerId, tier: Tier) -> None:
        rollouts.set_check(self._call(tx, owner), balancer, tier)

    def clear(self, tx: Tx, farm: Farm) -> bool:
        owner = _Farm(farm.account, farm.id, farm.name)
        return farms.clear(self._call(tx, owner), farm)

    def part_heard(self, tx: Tx, farm: Farm, region: str, said: FarmPartOut) -> None:
        quotas.hold(
            tx, farm.account
        )  # before all that is the farm's, as changes of its document do
        owner = _Farm(farm.account, farm.id, farm.name)
        farm_regions.heard(self._call(tx, owner), farm, region, said)

    def part_texts(self, tx: Tx, part: FarmPart) -> Mapping[str, Secret]:
        there = [name for name, number in part.spec.get("texts", {}).items() if number]
        return farm_secrets.texts(tx, self.around(), part.farm, there)

    def part_unheard(self, tx: Tx, part: FarmPart, told: str) -> None:
        farm_regions.unheard(tx, part, told, self.around().clock.now())

    def copy_volume(self, tx: Tx, sent: SentVolume) -> None:
        volume_copies.step(tx, self.around(), sent.account, sent.volume)

    def sweep_volumes(self, tx: Tx) -> int:
        return came_volumes.sweep(tx)

    def rotate_links(self, tx: Tx, farm: Farm) -> None:
        quotas.hold(tx, farm.account)
        owner = _Farm(farm.account, farm.id, farm.name)
        farm_regions.rotate(self._call(tx, owner), farm)

    def _call(self, tx: Tx, owner: Owner) -> Call:
        return Call(tx, _caller(tx, owner), self.around())


def _passwords(tx: Tx, owner: Owner) -> Sequence[Password] | None:
    """The one that was drawn when the farm was ordered: its text is known to nobody by now."""
    hashed = farm_documents.password(tx, owner.farm)
    return [Password(Secret(""), hashed)] if hashed else None


def _made(call: Call, owner: Owner, disk: KeptDisk) -> str:
    made = volumes.create(call, disk.ask)
    part = Part(farm=owner.farm, kind=PartKind.VOLUME, name=disk.part, id=made.id)
    farm_documents.put_part(call.tx, part)
    return made.id


def _read(call: Call, ask: DeployIn, name: str) -> VolumeId:
    """A volume that elements read. Raises `NotFound`, and `Conflict` for one that is not to be read by many."""
    zone = References(call.tx).zone(ask.zone).id
    found = kept.named(call.tx, call.caller.account, zone, name)
    if found is None:
        raise NotFound(f"there is no volume named {name}, which its blueprint reads")
    if not found.read_only:
        raise Conflict(
            f"{name}, which its blueprint reads, is not shared read-only (`arable volume update --share`)"
        )
    return found.id


def _caller(tx: Tx, owner: Owner) -> Caller:
    """The farm, with the rights that customers have."""
    rank, may = ROLES[_ROLE]
    account = accounts.get(tx, EVERYTHING, owner.account)
    return Caller(
        user=UserId(owner.farm),
        name=owner.farm_name,
        account=owner.account,
        domain=account.domain,
        path="",  # who sees one account alone has no need of it
        role=_ROLE,
        rank=rank,
        permissions=may,
        via=FARM,
    )
