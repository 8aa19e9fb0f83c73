"""Snapshots over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import snapshots
from arable.wire.snapshots import SnapshotIn, SnapshotQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/snapshots",
        does=snapshots.page,
        permission=Permission.VOLUME_READ,
        writes=False,
        summary="List snapshots",
        query=SnapshotQuery,
    ),
    Op(
        method="POST",
        path="/v1/snapshots",
        does=snapshots.create,
        permission=Permission.VOLUME_WRITE,
        writes=True,
        summary="Take a snapshot of a volume",
        takes=SnapshotIn,
        status=202,
        about="Of what is on it at one moment, as if its machine had lost its power then; nothing stands still for it. "
        "It lies beside its volume and goes with it. It counts as much as its volume has.",
        example={"name": "before-update", "volume": "volume-0mh5z1x2k3q8w7e6r5t4"},
    ),
    Op(
        method="GET",
        path="/v1/snapshots/{snapshot}",
        does=snapshots.get,
        permission=Permission.VOLUME_READ,
        writes=False,
        summary="Show a snapshot",
    ),
    Op(
        method="POST",
        path="/v1/snapshots/{snapshot}/restore",
        does=snapshots.restore,
        permission=Permission.VOLUME_WRITE,
        writes=True,
        summary="Set a volume back to a snapshot",
        status=202,
        about="What was written to the volume since is lost, but what other snapshots keep. Its machine has to be stopped, "
        "or it has none. It stays as large as it is: what is beyond the snapshot's end is blank.",
        name="snapshots.restore",
    ),
    Op(
        method="DELETE",
        path="/v1/snapshots/{snapshot}",
        does=snapshots.delete,
        permission=Permission.VOLUME_WRITE,
        writes=True,
        summary="Delete a snapshot",
        status=202,
        about="Any one, in any order: its volume and its other snapshots stay as they are. One that is still being taken "
        "is given up.",
    ),
)
