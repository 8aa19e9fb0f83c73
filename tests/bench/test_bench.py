"""The benchmarks' own arithmetic, and tiny runs of those that need no quiet machine: they measure, and say it so."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # `bench` is beside `src`, and installed nowhere

from bench.cloud import HAS, Joined  # noqa: E402
from bench.figures import Table, median, percentile, ratio, result, shown  # noqa: E402

from arable.processes import demo_farm  # noqa: E402
from bench import (  # noqa: E402
    farms,
    farms_lab,
    limit,
    load,
    quiet,
    regions,
    regions_lab,
    scale,
    swarm,
    usage,
)

LINE = re.compile(r"RESULT [a-z0-9_]+ [0-9]+(\.[0-9]+)? \S+ goal [0-9.]+")
times = st.lists(st.floats(min_value=0, max_value=1e6), min_size=1)


@settings(deadline=None)
@given(times, st.floats(min_value=0, max_value=100))
def test_a_percentile_was_measured_and_enough_are_not_above_it(
    values: list[float], percent: float
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9
    assert sum(value < found for value in values) <= len(values) * percent / 100


@settings(deadline=None)
@given(times)
def test_half_of_what_was_measured_is_on_either_side_of_the_median(values: list[float]) -> None:
    found = median(values)
    assert sum(value < found for value in values) <= len(values) / 2
    assert sum(value > found for value in values) <= len(values) / 2


def test_known_figures_come_out() -> None:
    assert [percentile(range(1, 101), p) for p in (50, 99, 100)] == [50, 99, 100]
    assert percentile([7.0], 99) == 7.0
    assert median([3, 1, 2]) == 2
    assert median([4, 1, 2, 3]) == 2.5
    assert [shown(value) for value in (1234.5, 99.96, 12.34, 0.614)] == [
        *("1234", "100.0", "12.3", "0.61"),
    ]
    assert ratio(3.0, 2.0) == "1.50"
    assert ratio(3.0, 0.0) == "-"


@pytest.mark.parametrize("measure", [median, lambda values: percentile(values, 50)])
def test_nothing_measured_is_no_figure(measure) -> None:
    with pytest.raises(ValueError, match="nothing"):
        measure([])


def test_a_result_is_a_line_that_a_program_reads() -> None:
    assert result("memory_mb", 111.77, "MB", "120") == "RESULT memory_mb 112 MB goal 120"
    assert LINE.fullmatch(result("start_overhead_ratio", 1.049, "ratio", "1.10"))


def test_a_table_stands_in_columns_and_takes_no_row_of_another_width() -> None:
    table = Table("Fruit", ("name", "n"))
    table.add("apples", "1")
    table.add("figs", "100")
    assert table.text().splitlines()[2:6] == [
        "name      n",
        "------  ---",
        "apples    1",
        "figs    100",
    ]
    with pytest.raises(ValueError, match="3 cells"):
        table.add("a", "b", "c")


@settings(deadline=None)
@given(st.binary(max_size=70_000), st.integers(min_value=1, max_value=30))
def test_a_frame_is_taken_whole_however_it_comes(payload: bytes, piece: int) -> None:
    masked = swarm.frame(0x1, payload)
    at = len(masked) - len(payload) - 4
    assert masked[at : at + 4] == b"\0\0\0\0"
    sent = bytes([masked[0], masked[1] & 0x7F]) + masked[2:at] + payload  # as a server says it
    buffer = bytearray()
    found = []
    for start in range(0, len(sent) * 2, max(piece * len(sent) // 30, 1)):
        buffer += (sent * 2)[start : start + max(piece * len(sent) // 30, 1)]
        while (taken := swarm.take_frame(buffer)) is not None:
            found.append(taken)
    assert found == [(0x1, payload)] * 2
    assert not buffer


def test_an_answer_is_read_when_all_of_it_is_there() -> None:
    answer = b'HTTP/1.1 202 Accepted\r\nServer: x\r\nContent-Length: 4\r\n\r\n{"a"'
    assert [load.parsed(answer[:end]) for end in (10, len(answer) - 1)] == [None, None]
    assert load.parsed(answer) == (202, b'{"a"')


def test_a_group_of_rows_is_each_row_once() -> None:
    rows = limit.Rows(10, {"machine": [(n,) for n in range(10)], "event": []})
    groups = [rows.group("machine", at, 3) for at in range(3)]
    assert [row for group in groups for row in group] == rows.tables["machine"]
    assert rows.group("event", 1, 3) == []


def test_a_process_that_works_is_seen_to() -> None:
    source = "x = bytearray(b'x' * 50_000_000); print(flush=True)\nwhile True: x[0] = 0"
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as worker:
        try:
            assert worker.stdout
            worker.stdout.readline()
            before = usage.cpu_seconds(worker.pid)
            while usage.cpu_seconds(worker.pid) < before + 0.05:
                assert worker.poll() is None
            found = usage.memory(worker.pid)
        finally:
            worker.kill()
    assert found.rss > 50
    assert 0 < found.pss <= found.rss


def test_the_machine_is_never_more_than_busy() -> None:
    assert 0 <= quiet.busy(0.05) <= 1


def test_hosts_go_to_the_swarm_as_they_are() -> None:
    hosts = [Joined("host-1", "pool-1", "/tmp/x.pem", HAS)]
    assert msgspec.json.decode(msgspec.json.encode(hosts), type=list[Joined]) == hosts


def bench(*argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics(said: str) -> list[str]:
    lines = [line for line in said.splitlines() if line.startswith("RESULT")]
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert said.rstrip().endswith(lines[-1])
    return [line.split()[1] for line in lines]


def test_a_tiny_cloud_has_a_deployment_rate() -> None:
    said = bench(
        *("deploy-rate", "--hosts", "40", "--seconds", "0.5", "--warm", "0.5", "--accounts", "2"),
        *("--in-flight", "8", "--bulk-in-flight", "2", "--database", "sqlite"),
    )
    assert metrics(said) == ["deploy_rate_sqlite", "deploy_rate_bulk", "deploy_cpu_ms"]


def test_a_tiny_list_has_a_latency() -> None:
    said = bench(
        *("list-latency", "--machines", "200", "--hosts", "10", "--calls", "5"),
        *("--database", "sqlite"),
    )
    assert metrics(said) == ["page_p99_ms", "get_p99_ms"]


SMALL = ("scale", "--hosts", "6", "--machines", "20", "--farms", "2", "--quiet", "0.5")
SCALE = ["deploy_rate", "memory_mb", "agent_cpu_percent", "manifest_p99_ms"]


def test_a_small_region_has_its_rates_costs_and_delays() -> None:
    said = bench(*SMALL, "--changes", "4", "--servers", "1", "--database", "sqlite")
    assert metrics(said) == SCALE
    assert re.search(r"all agents back +-", said), "nobody was killed"
    assert len(re.findall(r"^(?:10|[1-9])  +[0-9.]+", said, re.MULTILINE)) == 10


@pytest.mark.real
def test_of_two_servers_one_is_killed_and_the_other_has_its_farms_and_agents() -> None:
    said = bench(*SMALL, "--changes", "2", "--servers", "2")
    assert metrics(said) == SCALE
    assert re.search(r"farms served again after a crash +[0-9.]+ s", said)
    assert re.search(r"all agents back +[0-9.]+ s", said)


def test_what_was_used_grows_evenly_between_two_looks() -> None:
    samples = [scale.Sample(0, 1.0, 0.0), scale.Sample(10, 2.0, 5.0), scale.Sample(30, 2.0, 9.0)]
    assert scale._used(samples, 0) == (1.0, 0.0)
    assert scale._used(samples, 5) == (1.5, 2.5)
    assert scale._used(samples, 20) == (2.0, 7.0)
    assert scale._used(samples, 99) == (2.0, 9.0)
    tenths = list(scale._tenths([float(n) for n in range(1, 31)], 0.0, samples, 0))
    assert [rate for rate, _, _ in tenths] == [1.0] * 10
    assert sum(cpu for _, cpu, _ in tenths) * 3 / 1000 == pytest.approx(1.0)


def test_a_process_and_its_children_are_a_family() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:  # fmt: skip
        assert {os.getpid(), child.pid} <= set(scale._family(os.getpid()))
        assert scale._family(child.pid) == [child.pid]
        assert child.stdin
        child.stdin.close()


def test_an_idle_server_has_a_cost() -> None:
    said = bench("idle-cost", "--seconds", "1", "--quiet", "0", "--repeat", "1")
    assert metrics(said) == ["memory_mb", "idle_cpu_percent"]


def test_a_few_small_farms_have_a_rate_and_a_cost() -> None:
    said = bench("farms", "--only", "many", "--farms", "2", "--machines", "2", "--hosts", "4", "--quiet", "0.5")  # fmt: skip
    assert metrics(said) == ["farm_apply_rate", "farms_rest_ms", "farms_own_ms"]
    assert "2 farms of 2 machines on 4 hosts" in said


def test_growing_is_told_against_plain_starts_under_the_same_load() -> None:
    found = farms_lab.Found(
        answered=[14.0, 12.0, 13.0],
        plain_idle=[10.0, 10.0, 10.0],
        grown=[14.3],
        plain=[12.0, 10.0],
        stood_by=[5.5],
    )
    found.requests, found.failed = 2000, 1
    assert farms.lab_results(found) == [
        "RESULT apply_to_answer_s 13.0 s goal 60",
        "RESULT grow_ratio 1.30 ratio goal 1.3",
        "RESULT grow_ready_ratio 0.50 ratio goal 1.3",
        "RESULT failed_requests 1.00 requests goal 0",
    ]
    assert "to the third server's first answer           14.3  14.3            1.30" in farms.lab_table(found).text()  # fmt: skip


def test_the_demonstrations_farm_is_what_is_measured() -> None:
    blueprint, farm = farms_lab._documents()
    (tier,) = farm.tiers
    assert (farm.name, tier.blueprint) == (demo_farm.FARM, blueprint.name)
    assert (tier.least, tier.most) == (2, farms_lab.SOME)
    assert tier.policy
    (target,) = tier.policy.targets
    wanted = [math.ceil(rate / target.value) for rate in (demo_farm.CALM, demo_farm.RUSH, farms_lab.RUSH)]  # fmt: skip
    assert wanted == [1, 3, 5]


def test_a_start_elsewhere_is_told_against_a_copy_and_a_start_of_the_same_turn() -> None:
    found = regions_lab.Found(
        mib=64,
        mbit=100,
        copied=[6.0, 6.0, 6.0],
        plain=[4.0, 14.0, 3.0],
        cold=[11.0, 22.0, 9.9],
        fetched=[6.5, 6.5, 6.5],
        again=[2.0, 4.0, 2.0],
        warm=[2.1, 4.0, 2.2],
        shared=[0.05, 0.06, 0.05],
    )
    assert regions.lab_results(found) == [
        "RESULT cold_ratio 1.10 ratio goal 1.15",
        "RESULT warm_ratio 1.05 ratio goal 1.05",
        "RESULT shared_bytes_ratio 0.06 ratio goal 0.10",
    ]
    assert "64 MiB over links of 100 Mbit/s" in regions.lab_table(found).text()


def test_a_small_catalogue_is_asked_and_agrees_after_a_cut() -> None:
    said = bench("global", "--only", "catalogue", "--regions", "4", "--versions", "40", "--questions", "10", "--stores", "1")  # fmt: skip
    assert metrics(said) == ["catalogue_p99_ms"]
    assert re.search(r"cut off +40\.0$", said, re.MULTILINE)
    assert re.search(r"message each five\) +5\.00$", said, re.MULTILINE)


def test_an_unknown_benchmark_is_told_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "deploy-rate" in done.stderr
