"""Hosts that are lost, rightly or not, under the dice: no machine ever runs twice, and all that should run does."""

import pytest

from arable.sim.lost_hosts import LostHosts


@pytest.mark.parametrize("seed", ["1", "5", "11", "103", "119"])
def test_whoever_is_declared_lost_no_machine_runs_twice_and_all_come_back(seed: str) -> None:
    LostHosts(seed).run(600)
