"""Files of volumes that go from pool to pool: QEMU's locks, and what other hosts may send."""

import hashlib
import subprocess
from contextlib import nullcontext
from pathlib import Path

import pytest
from test_local_storage import reads, write

from arable.domain.errors import Corrupt
from arable.domain.units import MIB
from arable.drivers.storage.local import LocalStorage
from arable.drivers.storage.protocol import InUse, Passing
from arable.runtime.clock import RealClock
from drivers import make_drivers as make
from drivers.contract_snapshots import operation

pytestmark = pytest.mark.real


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "pool", make.pool(), RealClock())


def test_who_has_it_open_and_who_reads_it_keep_each_other_out(storage) -> None:
    volume = make.volume()
    path = storage.ensure(volume, 8 * MIB, None).path
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as guest:
        assert guest.stdin
        assert guest.stdout
        guest.stdin.write(b"write -P 7 0 64k\n")
        guest.stdin.flush()
        while b"wrote" not in guest.stdout.readline():
            pass
        with pytest.raises(InUse), storage.lend(volume):
            pass
        guest.stdin.close()
        guest.wait()
    with storage.lend(volume) as sent:
        opened = ["qemu-io", "-f", "qcow2", "-c", "write -P 8 0 64k", str(path)]
        refused = subprocess.run(opened, check=False, capture_output=True, text=True)
        assert "lock" in refused.stdout + refused.stderr
        assert b"".join(sent.pieces) == path.read_bytes()
    assert reads(path, 7)
    write(path, 8)


def test_a_file_that_leads_elsewhere_is_not_taken_in(storage) -> None:
    """Whatever another host sends: this one has not made it, and would follow what it says."""
    other, content = make.volume(), make.qcow2(backing=b"/etc/passwd")
    for bytes_, image in ((content, None), (b"no volume".ljust(4096), None)):
        sent = Passing(len(bytes_), 0, iter([bytes_]), hashlib.sha256(bytes_).hexdigest())
        with pytest.raises(Corrupt):
            storage.take_in(other, MIB, image, lambda sent=sent: nullcontext(sent), operation())
    assert not storage.volumes()
