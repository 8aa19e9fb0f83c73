"""Hands rules to the switch, through `ovs-ofctl`; reading back which it holds is `flow_stats.py`.

A bundle is atomic: a port has its old rules or its new ones. Meters can't be in a bundle; they are made before the
rules that use them, and removed after.
"""

import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from arable.domain.errors import Unavailable
from arable.drivers.network import flow_stats, flows
from arable.drivers.network.flows import Meter, Rules

_PROTOCOL = "OpenFlow14"


class OpenFlow:
    """The rules of one bridge. `rundir` is where the switch keeps its management sockets."""

    def __init__(self, rundir: Path, bridge: str, patience: float = 20.0) -> None:
        self._socket = rundir / f"{bridge}.mgmt"
        self._to = f"unix:{self._socket}"
        self._patience = patience

    def held(self) -> Counter[int]:
        """How many rules the switch holds, for each cookie of ours."""
        return flow_stats.cookies(self._socket, flows.MARK, flows.MARK_MASK, self._patience)

    def install(self, rules: Rules) -> None:
        """These rules are the port's, and no others."""
        self._set_meters(rules.meters)
        self._run("--bundle", "add-flows", self._to, "-", told=rules.bundle())

    def remove(self, number: int, *, meters: bool = True, learned: bool = True) -> None:
        """No rule and no meter of that port is left, and nothing that was `learned` from it."""
        self._run("del-flows", self._to, flows.owned_by(number))
        if learned:
            self._run("del-flows", self._to, flows.learned_from(number))
        if meters:
            self.remove_meters(number)

    def remove_meters(self, number: int) -> None:
        """No limits for that port; only after no rule needs them (it would go with its meter)."""
        started = [
            self._start("del-meters", self._to, f"meter={meter}")
            for meter in flows.meter_ids(number)
        ]
        for process in started:
            self._finish(process)

    def _set_meters(self, meters: Sequence[Meter]) -> None:
        """Made side by side: most of the time goes into starting the tool. One that is there is changed."""
        started = [(meter, self._start("add-meter", self._to, str(meter))) for meter in meters]
        for meter, process in started:
            try:
                self._finish(process)
            except Unavailable as error:
                if "METER_EXISTS" not in error.detail:
                    raise
                self._run("mod-meter", self._to, str(meter))

    def _run(self, *words: str, told: str = "") -> str:
        return self._finish(self._start(*words), told)

    def _start(self, *words: str) -> "subprocess.Popen[str]":
        try:
            return subprocess.Popen(
                # Rules name ports by number; asking the switch for their names would double the time.
                ["ovs-ofctl", "--no-names", "-O", _PROTOCOL, *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            raise Unavailable("ovs-ofctl is not installed here") from None

    def _finish(self, process: "subprocess.Popen[str]", told: str = "") -> str:
        try:
            output, errors = process.communicate(told, timeout=self._patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Unavailable("the switch does not answer") from None
        if process.returncode != 0:
            raise Unavailable("the switch refused its rules", detail=errors.strip() or output)
        return output
