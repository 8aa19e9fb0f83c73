"""Serves volumes over NBD: what serves a volume also speaks to its clients."""

from collections.abc import Callable
from pathlib import Path

from arable.domain.ids import HostId, VolumeId
from arable.drivers.storage import listening
from arable.drivers.storage.disk_process import Serving
from arable.drivers.storage.disk_servers import DiskServers, bare
from arable.drivers.storage.nbd.daemon import command, marks

PORTS = range(10809, 11833)


class NbdExports(DiskServers):
    """`Exports`. `credentials` is a directory with this host's certificate for disks (`credentials.py`)."""

    def __init__(
        self,
        directory: Path,
        path_of: Callable[[VolumeId], Path],
        bytes_of: Callable[[Path], int],
        credentials: Path,
        address: str,
        *,
        ports: range = PORTS,
        netns: str | None = None,
    ) -> None:
        super().__init__(directory, path_of, bytes_of, address, ports=ports, netns=netns)
        self._credentials = credentials

    def _marks(self, volume: VolumeId, epoch: int, holder: HostId) -> tuple[bytes, bytes]:
        return marks(volume, epoch, holder, read_only=self._is_view(volume))

    def _serve(self, serving: Serving, port: int, pidfile: Path) -> str | None:
        with listening.at(self._address, port, self._netns) as listener:
            held = listener.fileno()
            words = [*bare(), *command(serving, pidfile, held, self._credentials)]
            return self._run(words, pidfile.with_suffix(".log"), keeps=(held,))
