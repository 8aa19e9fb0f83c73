"""A pool whose volumes are served over NBD."""

from pathlib import Path

from arable.domain.ids import PoolId
from arable.drivers.storage.nbd.exports import PORTS, NbdExports
from arable.drivers.storage.served import LEASE_SECONDS, ServedStorage
from arable.runtime.boottime import BootTime
from arable.runtime.clock import Clock


class NbdStorage(ServedStorage):
    """`Storage` and `Shares`. `address` is this host's on the management network, `credentials` the directory of its
    certificate for disks (`agent/disk_identity.py`).
    """

    name = "nbd (qcow2)"

    def __init__(
        self,
        directory: Path,
        pool: PoolId,
        clock: Clock,
        time: BootTime,
        *,
        address: str,
        credentials: Path,
        lease_seconds: float = LEASE_SECONDS,
        ports: range = PORTS,
        netns: str | None = None,
        capacity_bytes: int | None = None,
        reserve_bytes: int | None = None,
    ) -> None:
        super().__init__(
            directory,
            pool,
            clock,
            time,
            lambda folder, path_of, bytes_of: NbdExports(
                folder, path_of, bytes_of, credentials, address, ports=ports, netns=netns
            ),
            lease_seconds=lease_seconds,
            capacity_bytes=capacity_bytes,
            reserve_bytes=reserve_bytes,
        )
