"""A region's management server that was killed comes back where it was."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest

from arable.drivers import namespaces
from arable.lab import build, fail, servers, topology
from arable.lab.power import Site
from arable.runtime.clock import RealClock

EXAMPLES = Path(__file__).parents[2] / "examples"
STEP = timedelta(milliseconds=50)
SERVER = """
import pathlib, signal, sys
pathlib.Path(sys.argv[1]).write_text("\\n".join(sys.argv[2:]))
signal.pause()
"""


@pytest.mark.real
def test_a_server_that_chose_its_port_has_it_again_after_it_was_mended(tmp_path: Path) -> None:
    with build.lab(topology.load(EXAMPLES / "lab-small.yaml"), tmp_path, RealClock()) as site:
        (region,) = site.place.read().topology.regions
        (server,) = region.management
        said = tmp_path / "words"
        argv = [sys.executable, "-c", SERVER, str(said), "--api", "127.0.0.1:0"]
        first = servers.start(site, server, argv)
        servers.answers(site, server, first, "http://127.0.0.1:4711")
        fail.kill_server(site, region.name)
        assert not first.alive
        said.unlink(missing_ok=True)
        fail.start_server(site, region.name)
        assert words(site, said)[:2] == ["--api", "127.0.0.1:4711"]
        fail.start_server(site, region.name)  # it runs: nothing to do
        fail.kill_server(site, region.name)
    assert not namespaces.names(site.place.id)


def words(site: Site, file: Path) -> list[str]:
    """What it was started with, once it has said so."""
    for _ in range(200):
        if file.exists() and file.read_text():
            return file.read_text().splitlines()
        site.clock.wait(STEP)
    raise AssertionError("it never started")
