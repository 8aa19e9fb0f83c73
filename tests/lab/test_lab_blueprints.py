"""The blueprints of a lab: made once, brought up to date, and scripts that a shell understands."""

import subprocess

import pytest
from msgspec.structs import replace

from arable.lab import setup
from arable.lab.blueprints import BLUEPRINTS
from arable.lab.guest_image import GuestImage
from arable.wire.blueprints import BlueprintQuery
from databases import fresh_sqlite
from serving import serving


def test_they_are_there_once_and_get_another_version_when_they_say_something_else(
    tmp_path, monkeypatch
):
    (tmp_path / "kernel").write_bytes(b"\x7fELF")
    (tmp_path / "initrd").write_bytes(b"070701")
    with fresh_sqlite(tmp_path) as database, serving(database, tmp_path) as served:
        operator = served.operator
        setup.offer(operator)
        setup.publish(operator, GuestImage("sim", tmp_path / "kernel", tmp_path / "initrd"))

        def versions() -> dict[str, int]:
            found = operator.blueprints.all(BlueprintQuery(public=True))
            return {each.name: len(each.versions) for each in found}

        setup.teach(operator)
        setup.teach(operator)
        assert versions() == {"web": 1, "app": 1, "db": 1, "balancer": 1, "cache": 1}
        changed = [replace(each, user_data="#!/bin/sh\n") for each in BLUEPRINTS[:1]]
        monkeypatch.setattr(setup, "BLUEPRINTS", changed)
        setup.teach(operator)
        setup.teach(operator)
        assert versions() == {"web": 2, "app": 1, "db": 1, "balancer": 1, "cache": 1}


@pytest.mark.parametrize("blueprint", BLUEPRINTS, ids=lambda each: each.name)
def test_what_they_write_is_what_a_shell_reads(blueprint):
    told = subprocess.run(
        ["busybox", "sh", "-n"], input=blueprint.user_data, text=True, capture_output=True, check=False
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "")
