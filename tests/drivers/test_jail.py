"""The jail is proven by what gets out of it: each test first shows that the same thing works outside."""

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from arable.domain.errors import Unavailable
from arable.domain.units import MIB
from arable.drivers.storage import jail as jails
from arable.drivers.storage.jail import Bounds, Jail
from arable.runtime.clock import RealClock
from arable.runtime.entropy import Entropy
from drivers.make_drivers import wait_until

pytestmark = pytest.mark.real


@pytest.fixture
def jail() -> Jail:
    return Jail(RealClock(), Bounds(seconds=120))


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """A server on this machine's loopback, that answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def outside(*command: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, timeout=120
    )


def secret_disk(folder: Path) -> Path:
    path = folder / "secret.raw"
    path.write_bytes(b"the host's own secret".ljust(MIB, b"\0"))
    return path


def runs(marker: str, program: str = "") -> bool:
    """Whether any process, of that program, has this among its arguments."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
            if marker.encode() in words and words[0].startswith(program.encode()):
                return True
        except OSError:
            continue
    return False


def test_a_tool_works_on_the_files_it_was_given(jail, tmp_path) -> None:
    path = tmp_path / "disk"
    path.touch()
    made = jail.run(
        "qemu-img", ["create", "-q", "-f", "qcow2", "--", str(path), "1M"], write=[path]
    )
    assert made.ok
    told = jail.run("qemu-img", ["info", "-f", "qcow2", str(path)], read=[path])
    assert b"virtual size: 1 MiB" in told.out


def test_an_image_over_a_file_of_the_host_does_not_show_it(jail, tmp_path) -> None:
    secret, image, copy = secret_disk(tmp_path), tmp_path / "image", tmp_path / "copy"
    made = outside("qemu-img", "create", "-f", "qcow2", "-b", secret, "-F", "raw", image)
    assert made.returncode == 0, made.stderr
    convert = ["convert", "-f", "qcow2", "-O", "raw", str(image), str(copy)]
    assert outside("qemu-img", *convert).returncode == 0
    assert b"the host's own secret" in copy.read_bytes()

    copy.write_bytes(b"")
    done = jail.run("qemu-img", convert, read=[image], write=[copy])
    assert not done.ok
    assert "secret.raw': No such file" in done.told
    assert copy.read_bytes() == b""


def test_an_image_with_its_data_in_a_file_of_the_host_does_not_show_it(jail, tmp_path) -> None:
    secret, image, copy = secret_disk(tmp_path), tmp_path / "image", tmp_path / "copy"
    empty = tmp_path / "empty"
    options = f"data_file={empty},data_file_raw=on"
    outside("qemu-img", "create", "-f", "qcow2", "-o", options, image, "1M")
    secret.rename(empty)
    convert = ["convert", "-f", "qcow2", "-O", "raw", str(image), str(copy)]
    outside("qemu-img", *convert)
    assert b"the host's own secret" in copy.read_bytes()

    copy.write_bytes(b"")
    assert not jail.run("qemu-img", convert, read=[image], write=[copy]).ok
    assert copy.read_bytes() == b""


def test_there_is_no_network(jail, listening) -> None:
    port = listening.getsockname()[1]
    command = ["info", f"nbd://127.0.0.1:{port}/x"]
    with subprocess.Popen(["qemu-img", *command], stderr=subprocess.DEVNULL) as reaches:
        listening.accept()[0].close()
        reaches.wait(60)

    done = jail.run("qemu-img", command)
    assert not done.ok
    devices = jail.run("cat", ["/proc/net/dev"]).out.decode().splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in devices] == ["lo"]
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.accept()


def test_the_host_s_unix_sockets_are_not_there(jail, tmp_path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.setblocking(False)
        # Even one that is given can't be spoken to.
        command = ["info", f"nbd+unix:///x?socket={tmp_path / 's'}"]
        assert not jail.run("qemu-img", command, write=[tmp_path]).ok
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_file_given_to_be_read_can_not_be_written(jail, tmp_path) -> None:
    path = tmp_path / "disk"
    outside("qemu-img", "create", "-f", "qcow2", path, "1M")
    before = path.read_bytes()
    done = jail.run("qemu-img", ["resize", "-f", "qcow2", str(path), "2M"], read=[path])
    assert not done.ok
    assert path.read_bytes() == before


def test_nothing_of_the_host_is_there_but_programs(jail, tmp_path) -> None:
    secret = secret_disk(tmp_path)
    assert jail.run("ls", ["/"]).out.split() == [
        name.encode()
        for name in sorted(["dev", "etc", "lib", "lib64", "proc", "tmp", "usr"])
        if name != "lib64" or Path("/lib64").exists()
    ]
    assert jail.run("ls", ["/etc"]).out.split() == [b"ld.so.cache"]
    assert jail.run("ls", ["/usr/bin"]).out.split() == [b"ls"]
    assert not jail.run("cat", [str(secret)]).ok
    assert not jail.run("cat", ["/etc/passwd"]).ok


def test_other_processes_are_not_seen(jail) -> None:
    pids = [name for name in jail.run("ls", ["/proc"]).out.split() if name.isdigit()]
    assert len(pids) <= 2


def test_neither_open_files_nor_the_environment_get_in(jail, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ARABLE_TEST_SECRET", "x")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert b"open" not in jail.run("ls", ["-l", "/proc/self/fd"]).out
    assert b"ARABLE_TEST_SECRET" not in jail.run("printenv", []).out


def test_there_are_no_privileges_and_no_way_to_new_ones(jail) -> None:
    status = dict(
        line.split(":\t")
        for line in jail.run("cat", ["/proc/self/status"]).out.decode().splitlines()
    )
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert outside("unshare", "--user", "true").returncode == 0
    assert "Operation not permitted" in jail.run("unshare", ["--user", "true"]).told


def test_a_tool_that_does_not_end_is_ended(jail) -> None:
    marker = f"{10**9 + Entropy.system().random.randrange(10**9)}"
    with pytest.raises(Unavailable, match="did not end within 1 s"):
        jail.run("sleep", [marker], bounds=Bounds(seconds=1))
    wait_until(lambda: not runs(marker), "the tool is gone")


def test_a_tool_that_talks_without_end_is_ended(jail) -> None:
    marker = Entropy.system().letters(20)
    with pytest.raises(Unavailable, match="said more"):
        jail.run("yes", [marker], bounds=Bounds(seconds=100))
    wait_until(lambda: not runs(marker), "the tool is gone")


def test_a_tool_dies_with_whoever_started_it(jail) -> None:
    marker = f"{10**9 + Entropy.system().random.randrange(10**9)}"
    child = os.fork()
    if child == 0:
        try:
            jail.run("sleep", [marker])
        finally:
            os._exit(1)
    try:
        # The tool itself, inside its walls: they have learnt by then whom they are not to outlive.
        wait_until(lambda: runs(marker, "/usr/bin/sleep"), "the tool runs")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    wait_until(lambda: not runs(marker), "the tool is gone")


def test_memory_is_bounded(jail, tmp_path) -> None:
    path = tmp_path / "disk"
    path.touch()
    command = ["create", "-q", "-f", "qcow2", str(path), "1M"]
    assert not jail.run("qemu-img", command, write=[path], bounds=Bounds(memory_bytes=16 * MIB)).ok
    assert jail.run("qemu-img", command, write=[path]).ok


def test_the_size_of_files_is_bounded(jail, tmp_path) -> None:
    path = tmp_path / "disk"
    path.touch()
    command = ["create", "-q", "-f", "raw", "-o", "preallocation=full", str(path), "8M"]
    done = jail.run("qemu-img", command, write=[path], bounds=Bounds(file_bytes=MIB))
    assert not done.ok
    assert path.stat().st_size <= MIB
    assert jail.run("qemu-img", command, write=[path]).ok


def test_cpu_time_is_bounded_and_no_core_is_left(jail) -> None:
    told = jail.run("cat", ["/proc/self/limits"]).out.decode()
    limits = {line[:26].strip(): line[26:].split()[1] for line in told.splitlines()}
    assert limits["Max cpu time"] == "120"
    assert limits["Max core file size"] == "0"


@pytest.mark.parametrize("there", [(), ("prlimit",), ("bwrap",)])
def test_without_the_jail_nothing_runs(jail, tmp_path, monkeypatch, there) -> None:
    for name in there:
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "disk"
    path.touch()
    with pytest.raises(Unavailable, match="is missing"):
        jail.run("qemu-img", ["create", "-f", "qcow2", str(path), "1M"], write=[path])
    assert path.read_bytes() == b""
    assert not jails.is_there()


def test_a_tool_that_is_not_there_is_named(jail) -> None:
    with pytest.raises(Unavailable, match="no-such-tool is not installed"):
        jail.run("no-such-tool", [])


def test_a_jail_that_can_not_be_built_is_told_from_a_tool_that_failed(jail, tmp_path) -> None:
    with pytest.raises(Unavailable, match="jail"):
        jail.run("ls", [], read=[tmp_path / "absent"])
    assert jail.run("ls", ["/absent"]).code == 2
