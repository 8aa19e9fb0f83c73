"""Farms: how soon one answers and grows, whom that costs a request, and what thousands of them cost.

In a lab with real guests (`farms_lab.py`, which takes root), and on simulated hosts (`farms_many.py`). As large as it is meant
to be: `--full`.
"""

import argparse
from collections.abc import Sequence

from arable.processes.leaving import until_told
from bench import farms_lab, farms_many
from bench.figures import Table, machine, median, percentile, ratio, result, shown

PARTS = ("lab", "many")


def main(argv: Sequence[str]) -> None:
    """See `--help`."""
    parser = argparse.ArgumentParser(prog="bench farms", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="not both")
    parser.add_argument("--times", type=int, default=3, help="farms that are applied in the lab")
    parser.add_argument("--cycles", type=int, default=1, help="how often one grows and shrinks")
    parser.add_argument("--farms", type=int, default=20, help="on simulated hosts")
    parser.add_argument("--machines", type=int, default=50, help="in each of them")
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=8, help="calls at once")
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds at rest")
    parser.add_argument(
        "--within",
        type=float,
        default=0.0,
        help="seconds at most for farms to come; 0: until all do",
    )
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--profile", action="store_true", help="say where the server's time goes")
    parser.add_argument(
        "--wait", type=float, default=0.0, help="seconds at most for the machine to be quiet"
    )
    parser.add_argument(
        "--full", action="store_true", help="2,000 farms of 50 on 10,000 hosts, on PostgreSQL"
    )
    options = parser.parse_args(argv)
    if options.full:
        options.only, options.database = ["many"], "postgresql"
        options.farms, options.machines, options.hosts = 2000, 50, 10_000
    parts = options.only or PARTS
    print(machine(), flush=True)
    lines: list[str] = []
    if "lab" in parts:
        with until_told():
            real = farms_lab.measured(options.times, options.cycles, options.wait)
            print(lab_table(real).text())
            lines += lab_results(real)
    if "many" in parts:
        many = farms_many.measured(options)
        print(many_table(many, options.database).text())
        lines += many_results(many)
    print("\n".join(lines))


def lab_table(found: farms_lab.Found) -> Table:
    """What was measured in the lab, against plain QEMU's way to an answer in the same minutes."""
    made = Table(
        "A farm of two web servers in a lab, seconds", ("what", "median", "most", "ratio to plain")
    )
    idle, busy = median(found.plain_idle), median(found.plain or found.plain_idle)
    for what, values, base in (
        ("plain QEMU, to its answer", found.plain_idle, idle),
        ("a farm is applied, to its first answer", found.answered, idle),
        ("plain QEMU under the farm's load", found.plain, busy),
        ("more load, to the policy's decision", found.decided, busy),
        ("  until the new guest runs", found.runs, busy),
        ("  until its check has passed", found.serves, busy),
        ("more load, to the third server's first answer", found.grown, busy),
        ("more load, to the first answer of one that was ready", found.stood_by, busy),
        ("more load, until five serve", found.all_grown, busy),
        ("less load, until two are left", found.shrunk, busy),
    ):
        if values:
            made.add(what, shown(median(values)), shown(max(values)), ratio(median(values), base))
    made.add("requests meanwhile", str(found.requests), "", "")
    made.add("  failed", str(found.failed), "", "")
    made.add("  the slowest, s", shown(found.slowest), "", "")
    return made


def lab_results(found: farms_lab.Found) -> list[str]:
    """The lines to be read."""
    lines = [result("apply_to_answer_s", median(found.answered), "s", "60")]
    if found.grown:
        grown = median(found.grown) / median(found.plain)
        lines.append(result("grow_ratio", grown, "ratio", "1.3"))
        ready = median(found.stood_by) / median(found.plain)
        lines.append(result("grow_ready_ratio", ready, "ratio", "1.3"))
        lines.append(result("failed_requests", found.failed, "requests", "0"))
    return lines


def many_table(found: farms_many.Found, database: str) -> Table:
    """What was measured on simulated hosts."""
    made = Table(
        f"{found.farms} farms of {found.machines} machines on {found.hosts} hosts, {database}",
        ("what", "measured", "ratio"),
    )
    busy = found.cpu / found.took
    for what, value, unit, base in (
        ("farms that come to serve", found.rate, "1/s", 0.0),
        ("  machines of them", found.rate * found.machines, "1/s", 0.0),
        ("  server's CPU for a farm", found.cpu_ms, "ms", 0.0),
        ("  for a machine", found.cpu_ms / found.machines, "ms", 0.0),
        ("the call that applies one, median", 1000 * median(found.calls), "ms", 0.0),
        ("  worst of a hundred", 1000 * percentile(found.calls, 99), "ms", 0.0),
        ("server's CPU while they come", 100 * busy, "% of a core", 0.0),
        ("  with hosts alone", 100 * found.empty, "% of a core", busy),
        ("  with all farms at rest", 100 * found.rest, "% of a core", busy),
        ("  a thousand farms at rest, each second", found.rest_ms, "ms", 0.0),
        ("  of that in rounds that look after farms", found.own_ms, "ms", 0.0),
        ("server's memory", found.memory_mb, "MB", 0.0),
    ):
        made.add(what, f"{shown(value)} {unit}", ratio(value / 100, base))
    return made


def many_results(found: farms_many.Found) -> list[str]:
    """The lines to be read."""
    return [
        result("farm_apply_rate", found.rate, "1/s", "30"),
        result("farms_rest_ms", max(found.rest_ms, 0.0), "ms", "10"),
        result("farms_own_ms", found.own_ms, "ms", "10"),
    ]
