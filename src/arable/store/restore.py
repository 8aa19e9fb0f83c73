"""What has to be done with an older copy of a database before any management server works with it.

The copy does not know what happened since it was made, so nothing in it is acted on before hosts have said what they
run (`controllers/restored.py`), and nothing in it may erase what somebody may have needed since.
"""

from datetime import datetime

from sqlalchemy import delete, exists, select, update

from arable.domain.host import HostState
from arable.domain.manifest import ItemKind
from arable.store import incarnations
from arable.store import schema as t
from arable.store.database import Tx


def renew(tx: Tx, name: str, at: datetime) -> None:
    """Make ready a copy that was restored just now; `name` is drawn for it. No server may run on it yet."""
    incarnations.draw(tx, name, at)
    tx.execute(update(t.host).values(awaited=True, server=""))
    tx.execute(delete(t.hearing))
    tx.execute(delete(t.export))
    tx.execute(delete(t.sighting))
    # Hosts may have been powered on since, and what was to be switched then is nothing to switch now.
    tx.execute(update(t.host).values(powered_off=False))
    down = update(t.host).where(t.host.c.state == HostState.DOWN)
    tx.execute(down.values(state=HostState.SILENT, told="", excused_until=None))
    tx.execute(update(t.bmc).values(wanted=None))
    tx.execute(update(t.network).values(idle_since=None))
    item, volume, machine = t.manifest_item.c, t.volume.c, t.machine.c
    # Disks of machines that went elsewhere before they ran may be in use by now; those of expunged ones can't be.
    expunged = exists(select(volume.id).where(volume.id == item.id, volume.erasing))
    tx.execute(delete(t.manifest_item).where(item.kind == ItemKind.SCRAP, ~expunged))
    # Their owners may have recovered them since, and have the whole time to do so again.
    destroyed = update(t.machine).where(machine.destroyed_at.is_not(None))
    tx.execute(destroyed.values(destroyed_at=at))
