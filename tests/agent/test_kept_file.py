"""What an agent must be able to write also when guests have taken the last byte of the disk that it lives on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from agent import make_agent as make
from arable.agent.deadlines import Deadline, DeadlineFiles
from arable.agent.kept_file import KeptFile
from arable.agent.ledger import FileLedger, Held
from arable.domain.manifest import HostManifest


def test_what_is_there_is_what_was_written_last_and_blanks(tmp_path) -> None:
    file = KeptFile(tmp_path / "kept")
    for content in (b"one", b"another", b"x" * 50_000, b"short", b""):
        file.write(content)
        assert (tmp_path / "kept").read_bytes().rstrip() == content
    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".kept.spare"}


@pytest.mark.parametrize("call", ["open", "fsync", "link", "replace"])
def test_whoever_dies_on_the_way_leaves_one_or_the_other(tmp_path, monkeypatch, call) -> None:
    class Dies(BaseException):
        """The process is gone."""

    path = tmp_path / "kept"
    KeptFile(path).write(b"first")
    for at in range(4):
        with monkeypatch.context() as patch:
            left, really = [at], getattr(os, call)

            def dies(*args, left=left, really=really, **more):
                if left[0] == 0:
                    raise Dies
                left[0] -= 1
                return really(*args, **more)

            patch.setattr(os, call, dies)
            with suppress(Dies):
                KeptFile(path).write(b"second")
        assert path.read_bytes().rstrip() in (b"first", b"second")
        KeptFile(path).write(b"first")
        assert path.read_bytes().rstrip() == b"first"
        assert {one.name for one in tmp_path.iterdir()} == {"kept", ".kept.spare"}


@pytest.mark.real
class TestOnAFullDisk:
    @pytest.fixture
    def home(self, tmp_path_factory) -> Iterator[Path]:
        folder = tmp_path_factory.mktemp("full")
        words = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(folder)]
        subprocess.run(words, check=True)
        yield folder
        subprocess.run(["umount", "--lazy", str(folder)], check=True)

    def fill(self, home: Path) -> None:
        with (home / "of-guests").open("ab", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass

    def test_the_ledger_is_written_so_that_room_can_be_made(self, home) -> None:
        ledger = FileLedger(home / "ledger.json")
        manifest = HostManifest(make.HOST, 1, guests={make.machine("a"): make.guest("a")})
        ledger.save(Held(manifest=manifest))
        self.fill(home)
        for generation in range(2, 9):
            scraps = {make.volume(str(n)): make.scrap(str(n)) for n in range(generation)}
            manifest = replace(manifest, generation=generation, scraps=scraps)
            ledger.save(Held(manifest=manifest))
            self.fill(home)
            assert FileLedger(home / "ledger.json").load() == Held(manifest=manifest)

    def test_the_deadlines_of_guests_that_run_are_moved_on(self, home) -> None:
        files = DeadlineFiles(home / "deadlines")
        deadline = Deadline(machine=make.machine("a"), epoch=1, at=1.0, marks=("guest=a", "uuid"))
        files.set(deadline)
        self.fill(home)
        for at in range(2, 9):
            files.set(replace(deadline, at=float(at)))
            self.fill(home)
            assert f'"deadline": {at}.0' in (home / "deadlines" / deadline.name).read_text()
        files.drop(deadline.name)
        assert not list((home / "deadlines").iterdir())
