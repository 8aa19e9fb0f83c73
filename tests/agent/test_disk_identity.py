"""The certificate for disks: another kind than a host's, kept whole, renewed in its time, good for nothing else."""

import errno
import os
import ssl
from pathlib import Path

from agent import edge
from arable.agent import disk_identity
from arable.drivers.storage.nbd import credentials
from arable.runtime import ca
from arable.runtime.ca import Authority, IdentityKind
from arable.runtime.clock import RealClock

CHANCE = edge.CHANCE


def made(folder: Path, of: Authority, hours: int = 24) -> str:
    request = ca.new_request("host-a")
    signed = of.sign(request.request, "host-a", IdentityKind.DISKS, hours)
    credentials.keep(folder / "disks", request.key, signed, of.pem, CHANCE.letters(8))
    return signed


def test_it_is_due_when_there_is_none_and_not_when_it_is_fresh(tmp_path) -> None:
    of = edge.authority(tmp_path / "authority")
    assert disk_identity.due(tmp_path, RealClock())
    credentials.prepare(tmp_path / "disks")
    assert disk_identity.due(tmp_path, RealClock())
    assert disk_identity.directory(tmp_path).is_dir(), "libvirt wants to see it before there is one"
    signed = made(tmp_path, of)
    assert not disk_identity.due(tmp_path, RealClock())
    assert disk_identity.held(tmp_path) == signed


def test_the_newest_is_found_at_the_same_place_and_nobody_else_may_read_its_key(tmp_path) -> None:
    of = edge.authority(tmp_path / "authority")
    for _ in range(3):
        signed = made(tmp_path, of)
        current = disk_identity.directory(tmp_path)
        assert (current / "server-cert.pem").read_text() == signed
        assert {path.name for path in current.iterdir()} == {
            "ca-cert.pem",
            "client-cert.pem",
            "client-key.pem",
            "dh-params.pem",
            "server-cert.pem",
            "server-key.pem",
        }
        assert {path.stat().st_mode & 0o077 for path in current.iterdir()} == {0}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(current / "server-cert.pem", current / "server-key.pem")
    assert len(list((tmp_path / "disks").iterdir())) == 2, "earlier keys are gone"


def test_a_group_that_may_read_the_directory_may_read_what_is_in_it(tmp_path) -> None:
    of = edge.authority(tmp_path / "authority")
    made(tmp_path, of)
    (tmp_path / "disks").chmod(0o2750)
    made(tmp_path, of)
    current = disk_identity.directory(tmp_path)
    assert current.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in current.iterdir()} == {0o640}
    assert {path.stat().st_gid for path in current.iterdir()} == {
        (tmp_path / "disks").stat().st_gid
    }


def test_what_a_killed_agent_left_half_done_is_in_nobodys_way(tmp_path) -> None:
    of = edge.authority(tmp_path / "authority")
    made(tmp_path, of)
    half = tmp_path / "disks" / "half.new"
    half.mkdir()
    (half / "server-key.pem").write_text("x")
    (tmp_path / "disks" / "current.new").symlink_to("nowhere")
    signed = made(tmp_path, of)
    assert disk_identity.held(tmp_path) == signed
    assert not half.exists()


def test_without_a_server_that_answers_there_is_none_and_no_harm(tmp_path) -> None:
    of = edge.authority(tmp_path / "authority")
    identity = edge.identity(of, tmp_path / "home")
    assert not disk_identity.renew(tmp_path / "home", identity, ["127.0.0.1:9"], CHANCE)
    assert disk_identity.held(tmp_path / "home") == ""


def test_on_a_full_disk_the_earlier_one_counts_and_nothing_is_left_behind(
    tmp_path, monkeypatch
) -> None:
    of = edge.authority(tmp_path / "authority")
    home = tmp_path / "home"
    identity = edge.identity(of, home)
    before = made(home, of)
    there = sorted(path.name for path in (home / "disks").iterdir())

    def signed(_identity: object, _server: str, request: str) -> str:
        return of.sign(request, "host-a", IdentityKind.DISKS, 24)

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk_identity, "ask_for_disks", signed)
    with monkeypatch.context() as broken:
        broken.setattr("arable.drivers.storage.durable.os.fsync", full)
        assert not disk_identity.renew(home, identity, ["a", "b"], CHANCE)
    assert disk_identity.held(home) == before
    assert sorted(path.name for path in (home / "disks").iterdir()) == there
    assert disk_identity.renew(home, identity, ["a"], CHANCE)
    assert disk_identity.held(home) != before
