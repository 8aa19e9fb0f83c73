"""The command line of the lab, used on a real one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lab_traffic import listening, reaches
from typer.testing import CliRunner

from arable.lab.plan import OUTSIDE
from arable.lab.power import Site
from arable.processes.lab_commands import app

RUNNER = CliRunner()


def lab(site: Site | Path, *words: str):
    data = site.place.data if isinstance(site, Site) else site
    return RUNNER.invoke(app, [*words], env={"ARABLE_DATA": str(data), "COLUMNS": "160"})


def test_without_a_lab_each_command_says_so(tmp_path: Path) -> None:
    for words in (["status"], ["fail", "link", "a1"], ["curl", "http://x"], ["exec", "a1", "true"]):
        done = lab(tmp_path, *words)
        assert done.exit_code == 1
        assert "no lab is up" in done.output


@pytest.mark.real
def test_status_shows_devices_links_and_addresses(two_pods: Site) -> None:
    done = lab(two_pods, "status")
    assert done.exit_code == 0
    assert "172.30.2.12/24" in done.output
    seen = json.loads(lab(two_pods, "status", "--output", "json").output)
    assert {device["state"] for device in seen["devices"]} == {"on"}
    assert {link["name"] for link in seen["links"]} >= {"a1", "pod-a", "zone1", "zone1.public"}


@pytest.mark.real
def test_a_link_is_cut_and_mended(two_pods: Site) -> None:
    with listening(two_pods, "a2", 99):
        assert lab(two_pods, "fail", "link", "a1").exit_code == 0
        assert not reaches(two_pods, "a1", "172.30.1.12", 99, patience=1)
        assert lab(two_pods, "mend", "link", "a1").exit_code == 0
        assert reaches(two_pods, "a1", "172.30.1.12", 99, patience=30)


@pytest.mark.real
@pytest.mark.parametrize("word", ["link", "agent", "freeze", "power", "server"])
@pytest.mark.parametrize("verb", ["fail", "mend"])
def test_a_name_that_is_not_there_is_refused(two_pods: Site, verb: str, word: str) -> None:
    done = lab(two_pods, verb, word, "nobody")
    assert done.exit_code == 1
    assert "there are" in done.output


@pytest.mark.real
def test_curl_asks_from_the_internet(two_pods: Site) -> None:
    done = lab(two_pods, "curl", f"http://{OUTSIDE}/x")
    assert json.loads(done.output) == {"caller": OUTSIDE, "path": "/x"}
    assert lab(two_pods, "curl", "http://172.30.1.11/").exit_code == 1
    assert lab(two_pods, "curl", "not a url").exit_code == 1


@pytest.mark.real
def test_a_program_runs_on_a_device_with_its_output_and_status(two_pods: Site) -> None:
    main = "from arable.processes.lab_commands import app; app()"
    argv = [sys.executable, "-c", main, "exec", "b1", "--", "sh", "-c", "hostname; exit 7"]
    done = subprocess.run(
        argv,
        env=os.environ | {"ARABLE_DATA": str(two_pods.place.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "b1\n")
