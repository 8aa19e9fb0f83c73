"""What a deployment writes: every row of its machines, made when limits, names and addresses are theirs.

First all that a host would have to be told, without a host; then, when it is known which of them have one already, the
rows. Rows are tuples in the form of their columns: thousands a second are made here, and a value of `domain` costs as
much as everything else that is done for a machine's row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from arable.domain.event import Event
from arable.domain.ids import (
    FarmId,
    GroupId,
    MachineId,
    NetworkId,
    NicId,
    OperationId,
    StorageZoneId,
    VolumeId,
)
from arable.domain.machine import MACHINE, MachineEvent, MachineState, MachineWish
from arable.domain.network import ApplianceState, Network
from arable.domain.operation import Operation, OperationState, Step, placed
from arable.domain.rates import Rate
from arable.domain.seed import SeedAsk, seed
from arable.services import farm_secrets
from arable.services.deployment_plans import Plan
from arable.services.guest_addresses import GuestAddresses
from arable.store import events, groups, idle_pool, machines, nics, operations, volumes
from arable.store.attention import BootRow, Fresh, Landed, MachineRow, NicRow, VolumeRow
from arable.store.columns import micros, moment
from arable.store.database import Tx
from arable.store.machines import NewMachine
from arable.store.nics import NewNic
from arable.store.rates import Rates
from arable.store.rows import json_text
from arable.store.volumes import NewVolume

_STARTING = MACHINE.next(MachineState.WAITING, MachineEvent.PLACE).value
_LEAVING = ApplianceState.LEAVING
_WAITING, _STOPPED = MachineState.WAITING.value, MachineState.STOPPED.value


@dataclass(slots=True)
class Rows:
    """What will be written."""

    machines: list[NewMachine] = field(default_factory=list)
    boots: list[BootRow] = field(default_factory=list)
    volumes: list[NewVolume] = field(default_factory=list)
    nics: list[NewNic] = field(default_factory=list)
    members: list[tuple[GroupId, MachineId]] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def write(self, tx: Tx) -> None:
        """All of them."""
        machines.add_many(tx, self.machines, self.boots)
        if self.machines:
            landed = [each for each in self.machines if each.host is not None]
            idle_pool.note(tx, moment(self.machines[0].created_at), came=landed)
        volumes.add_many(tx, self.volumes, {each.id: each.farm for each in self.machines})
        nics.add_many(tx, self.nics)
        groups.add_members(tx, self.members)
        operations.add_many(tx, self.operations)
        events.add_many(tx, self.events)


@dataclass(slots=True)
class Deployment:
    """One ask, on its way to its rows. `offsets` are of its addresses, by port and by machine."""

    plan: Plan
    farm: FarmId
    storage_zone: StorageZoneId
    networks: Sequence[Network]
    offsets: Sequence[Sequence[int]]
    operation: OperationId = field(init=False)
    fresh: list[Fresh] = field(default_factory=list)
    _now: datetime = field(init=False)

    def __post_init__(self) -> None:
        around = self.plan.asked.around
        self._now = around.clock.now()
        self.operation = OperationId(around.ids.new("operation"))

    @property
    def lands(self) -> bool:
        """Whether its machines may have hosts at once: they start, stand in no relation to others, and their image is here."""
        plan = self.plan
        waits = plan.group is not None or plan.wanted is not None
        return plan.ask.start and not waits and not plan.asked.dry_run

    def make(self, rows: Rows, pools: Mapping[NetworkId, GuestAddresses], rates: Rates) -> None:
        """What hosts would be told, and the ports."""
        plan, new = self.plan, self.plan.asked.around.ids.new
        rate = rates.rate(plan.account, plan.offering.network_kbps)
        # In order: lists are by id, and ids made in the same millisecond differ by chance.
        ids = [MachineId(new("machine")) for _ in plan.names]
        if len(ids) > 1:
            ids.sort()
        for at, (id_, name) in enumerate(zip(ids, plan.names, strict=True)):
            hashed = plan.passwords[at].hash if plan.passwords else ""
            told = SeedAsk(
                plan.keys, hashed, plan.ask.user_data, plan.zone.name, plan.offering.name
            )
            data = seed(id_, name, told)
            if plan.secrets:
                words = farm_secrets.for_machine(plan.asked.around, id_, plan.secrets)
                data = replace(data, secrets=words)
            self.fresh.append(
                Fresh(
                    self.farm,
                    self._machine(id_, name),
                    BootRow(id_, plan.boot, json_text(data)),
                    self._ports(rows, id_, at, pools, rate),
                    self._disks(id_),
                )
            )

    def keep(self, rows: Rows, landed: Mapping[MachineId, Landed]) -> int:
        """The other rows, now that it is known who has a host; how many of its machines wait for one."""
        plan = self.plan
        at = micros(self._now)
        paid = [disk.offering for disk in plan.every_disk]
        found = 0
        for each in self.fresh:
            machine = each.machine
            host = landed.get(machine.id)
            offerings = dict(zip((v.id for v in each.volumes), paid, strict=True))
            found += host is not None
            rows.machines.append(self._kept(machine, host, at))
            rows.boots.append(each.boot)
            if plan.group is not None:
                rows.members.append((plan.group.id, machine.id))
            for volume in each.volumes:
                position = volume.position
                title = f"data-{position}" if position else "root"
                rows.volumes.append(
                    NewVolume(
                        volume.id,
                        plan.account,
                        plan.zone.id,
                        machine.id,
                        host and host.pool,
                        position,
                        f"{machine.name}-{title}",
                        volume.mib,
                        volume.iops,
                        volume.bytes_per_second,
                        volume.source,
                        at,
                        volume.shared,
                        offering=offerings[volume.id],
                        storage_zone=volume.storage_zone,
                        zoned=volume.zoned,
                        replicated=volume.replicated,
                    )
                )
            rows.events.append(
                Event(
                    at=self._now,
                    account=plan.account,
                    kind="machine.created",
                    subject=machine.id,
                    text=f"{machine.name}: created",
                )
            )
        rows.operations.append(self._operation(found))
        return len(self.fresh) - found if plan.ask.start else 0

    def _machine(self, id_: MachineId, name: str) -> MachineRow:
        plan = self.plan
        offering, start = plan.offering, plan.ask.start
        return MachineRow(
            id=id_,
            account=plan.account,
            zone=plan.zone.id,
            name=name,
            state=_WAITING if start else _STOPPED,
            wish=(MachineWish.RUNNING if start else MachineWish.STOPPED).value,
            host=None,
            attention=start,
            cpus=offering.cpus,
            cpu_mhz=offering.cpus * offering.cpu_mhz,
            memory_mib=offering.memory_mib,
            network_kbps=offering.network_kbps,
            disk_iops=offering.disk_iops,
            disk_bytes_per_second=offering.disk_bytes_per_second,
            boots=1,
            force=False,
            tries=0,
            told=0,
            ran=0,
            giving_up=False,
            operation=self.operation if start else None,
            generation=1,
            placement=plan.placement,
            why="{}",
            epoch=0,
            fenced=None,
            highly_available=offering.highly_available,
            recovery=None,
        )

    def _kept(self, row: MachineRow, host: Landed | None, at: int) -> NewMachine:
        """With a host it is as the placer would have left it."""
        plan = self.plan
        generation = row.generation + (host is not None)
        return NewMachine(
            id=row.id,
            account=row.account,
            farm=self.farm,
            zone=row.zone,
            name=row.name,
            state=row.state if host is None else _STARTING,
            wish=row.wish,
            host=host and host.host,
            attention=row.attention and host is None,
            offering=plan.offering.id,
            cpus=row.cpus,
            cpu_mhz=row.cpu_mhz,
            memory_mib=row.memory_mib,
            disk_mib=plan.disk_mib,
            network_kbps=row.network_kbps,
            disk_iops=row.disk_iops,
            disk_bytes_per_second=row.disk_bytes_per_second,
            image=plan.image.id,
            image_version=plan.version.number,
            placement=row.placement,
            operation=row.operation,
            told=0 if host is None else generation,
            why=row.why if host is None else host.why,
            generation=generation,
            created_at=at,
            changed_at=at,
            highly_available=row.highly_available,
        )

    def _disks(self, machine: MachineId) -> list[VolumeRow]:
        plan, new = self.plan, self.plan.asked.around.ids.new
        zoned = micros(self._now)
        ids = [VolumeId(new("volume")) for _ in plan.every_disk]
        if len(ids) > 1:
            ids.sort()
        return [
            VolumeRow(
                id=id_,
                machine=machine,
                pool=None,
                host=None,
                mib=disk.mib,
                iops=disk.iops,
                bytes_per_second=disk.bytes_per_second,
                source=disk.source,
                erasing=False,
                shared=disk.shared,
                position=position,
                storage_zone=self.storage_zone,
                zoned=zoned,
                replicated=disk.replicated,
            )
            for position, (id_, disk) in enumerate(
                zip(ids, plan.every_disk, strict=True), 1 if plan.root is None else 0
            )
        ]

    def _ports(
        self,
        rows: Rows,
        machine: MachineId,
        at: int,
        pools: Mapping[NetworkId, GuestAddresses],
        rate: Rate,
    ) -> list[NicRow]:
        plan, around = self.plan, self.plan.asked.around
        told = []
        for position, network in enumerate(self.networks):
            offset = self.offsets[position][at]
            pool = pools[network.id]
            nic = NewNic(
                NicId(around.ids.new("nic")),
                machine,
                network.id,
                plan.account,
                position,
                f"0a:{around.entropy.octets(5).hex(':')}",  # locally administered
                pool.subnet.address(offset),
                offset,
                plan.offering.network_kbps,
                is_default=position == plan.default_nic,
            )
            rows.nics.append(nic)
            held = pool.network  # as it is now, held
            told.append(
                NicRow(
                    nic.id,
                    machine,
                    network.id,
                    nic.mac,
                    nic.address,
                    rate.kbps,
                    held.vlan,
                    held.appliance_host,
                    held.appliance_state,
                    position,
                    nic.is_default,
                    standby_host=held.standby_host if held.standby_state is not _LEAVING else None,
                    ipv6_cidr=held.ipv6_cidr,
                )
            )
        return told

    def _operation(self, found: int) -> Operation:
        """Machines that are to stay stopped leave nothing to wait for."""
        plan, now = self.plan, self._now
        start, ids = plan.ask.start, [each.machine.id for each in self.fresh]
        steps: tuple[Step, ...] = ()
        if not start:
            steps = (Step(now, "done"),)
        elif found:
            steps = (Step(now, placed(found)),)
        return Operation(
            id=self.operation,
            account=plan.account,
            user=plan.asked.caller.user,
            kind="machine.deploy",
            target=ids[0] if len(ids) == 1 else "",
            state=OperationState.RUNNING if start else OperationState.DONE,
            total=len(ids),
            pending=len(ids) if start else 0,
            steps=steps,
            result={"machines": ids},
            created_at=now,
            changed_at=now,
        )
