"""A pool whose volumes are units of iSCSI targets."""

from pathlib import Path

from arable.domain.ids import PoolId
from arable.drivers.storage.iscsi.exports import PORTS, IscsiExports
from arable.drivers.storage.served import LEASE_SECONDS, ServedStorage
from arable.runtime.boottime import BootTime
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy


class IscsiStorage(ServedStorage):
    """`Storage` and `Shares`. `address` is this host's on the network for storage, where nobody else listens in."""

    name = "iscsi (qcow2)"

    def __init__(
        self,
        directory: Path,
        pool: PoolId,
        clock: Clock,
        time: BootTime,
        entropy: Entropy,
        *,
        address: str,
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
            lambda folder, path_of, bytes_of: IscsiExports(
                folder, path_of, bytes_of, entropy, address, ports=ports, netns=netns
            ),
            lease_seconds=lease_seconds,
            capacity_bytes=capacity_bytes,
            reserve_bytes=reserve_bytes,
        )
