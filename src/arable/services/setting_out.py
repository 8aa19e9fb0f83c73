"""A volume that sets out for another storage pool, whether anything runs with it or not."""

from arable.domain.ids import MachineId
from arable.domain.operation import Operation
from arable.domain.pool import Pool
from arable.domain.volume import Change, Volume
from arable.services.asks import begin, tell
from arable.services.call import Call
from arable.store import carries, volumes
from arable.store.carries import Carry


def set_out(
    call: Call,
    volume: Volume,
    source: Pool,
    target: Pool,
    mib: int,
    *,
    machine: MachineId | None = None,
    how: str = "",
) -> tuple[Operation, Carry, Volume]:
    """It is on its way from now on, by that operation; the volume as it is then. `mib` is the room that was taken for it.

    `machine` is the one that runs with it meanwhile; `how` goes behind what its owner is told.
    """
    operation = begin(call, "volume.migrate", volume.id, volume.account, done=False)
    after = volume.changed(change=Change.MIGRATE, operation=operation.id, told="")
    volumes.save(call.tx, after)
    row = Carry(
        volume=volume.id,
        operation=operation.id,
        account=volume.account,
        name=volume.name or volume.id,
        source=source.id,
        target=target.id,
        left=None,
        mib=mib,
        copied_mib=0,
        told="",
        source_host=source.host,
        target_host=target.host,
        there=volume.pool,
        erasing=False,
        machine=machine,
    )
    carries.add(call.tx, row, call.around.clock.now())
    text = f"{row.name}: is being carried to another storage pool{how}"
    tell(call, volume.account, "volume.migrating", volume.id, text)
    return operation, row, after
