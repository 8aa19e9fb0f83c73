"""What Prometheus reads: the names are promised in docs/operators.md, and what we ship to read them asks for no others."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from arable.api.figures import ServerFigures, StoreFigures, register
from arable.api.metrics import Metrics
from arable.runtime.clock import VirtualClock
from arable.runtime.metrics import Figures, Tally
from arable.services.figures import KEPT, Counting
from arable.store import schema as t
from arable.store.database import Database

ROOT = Path(__file__).parents[2]
NOW = VirtualClock().now()
_ROW = re.compile(
    r"^\| `(arable_\w+)` \| (counter|gauge|histogram) \| ([a-z, ]*?) ?\|", re.MULTILINE
)
_FIRST = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_OTHERS = {"up"}  # Prometheus' own


def metrics(database: Database, figures: Figures | None = None) -> Metrics:
    made = Metrics()
    figures = figures or Figures()
    figures.controller("machines")
    made.call("machines.page").ended(200, 0.1)
    server = ServerFigures(figures, lambda: 3, lambda: 2, lambda: 1)
    register(made.registry, server, StoreFigures(Counting(database, VirtualClock())))
    return made


def families(made: Metrics) -> dict[str, Metric]:
    """As they are scraped: by the names that one writes in a query."""
    found = text_string_to_metric_families(made.text().decode())
    return {each.name + ("_total" if each.type == "counter" else ""): each for each in found}


def samples(made: Metrics, name: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(v for _, v in sorted(s.labels.items())): s.value
        for s in families(made)[name].samples
        if s.name == name
    }


def asked(query: str) -> set[str]:
    """The metrics that a query names: words that are followed by no bracket, outside of braces, text and label lists."""
    bare = re.sub(r'"[^"]*"', "", query)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    words = {match for match in _FIRST.finditer(bare)}  # noqa: C416
    named = {m[0] for m in words if not bare[m.end() :].lstrip().startswith("(")}
    return named - {"or", "and", "unless", "e", "bool"}


def labels(query: str) -> set[str]:
    """The labels that a query chooses or groups by."""
    bare = re.sub(r'"[^"]*"', '""', query)
    chosen = {
        each
        for braces in re.findall(r"\{([^}]*)\}", bare)
        for each in re.findall(r"(\w+)\s*[=!]", braces)
    }
    grouped = {
        word.strip()
        for each in re.findall(r"\bby\s*\(([^)]*)\)", bare)
        for word in each.split(",")
        if word.strip()
    }
    return chosen | grouped


def dashboard() -> dict[str, Any]:
    return json.loads((ROOT / "examples/grafana/arable.json").read_text())


def rules() -> list[dict[str, Any]]:
    written = yaml.safe_load((ROOT / "examples/prometheus/arable-rules.yml").read_text())
    return [rule for group in written["groups"] for rule in group["rules"]]


def queries() -> list[str]:
    drawn = [
        target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])
    ]
    return [*drawn, *(rule["expr"] for rule in rules())]


@pytest.fixture(scope="module")
def known(tmp_path_factory) -> Iterator[dict[str, Metric]]:
    from databases import fresh_sqlite

    with fresh_sqlite(tmp_path_factory.mktemp("metrics")) as database:
        yield families(metrics(database))


def test_the_table_in_the_documentation_is_what_a_server_tells(known: dict[str, Metric]) -> None:
    told = {name: each.type for name, each in known.items() if name.startswith("arable_")}
    rows = _ROW.findall((ROOT / "docs/operators.md").read_text())
    assert {name: kind for name, kind, _ in rows} == told
    assert len(rows) == len(told), "a name is there twice"


def test_labels_are_those_of_the_documentation(sqlite) -> None:
    fill(sqlite)
    rows = _ROW.findall((ROOT / "docs/operators.md").read_text())
    documented = {
        name: {word.strip() for word in said.split(",") if word.strip()} for name, _, said in rows
    }
    for name, family in families(metrics(sqlite)).items():
        for sample in family.samples:
            if name.startswith("arable_"):
                assert set(sample.labels) - {"le"} == documented[name], name


@pytest.mark.parametrize("query", queries())
def test_a_query_that_we_ship_names_what_there_is(query: str, known: dict[str, Metric]) -> None:
    names = {
        f"{name}{end}"
        for name, each in known.items()
        for end in (("_bucket", "_sum", "_count") if each.type == "histogram" else ("",))
    }
    named = asked(query)
    assert named, query
    assert named <= names | _OTHERS
    rows = _ROW.findall((ROOT / "docs/operators.md").read_text())
    every = {word.strip() for _, _, said in rows for word in said.split(",")}
    assert labels(query) <= every | {"job", "instance", "le", "generation"}
    for opening, closing in ("()", "{}", "[]"):
        assert query.count(opening) == query.count(closing)


def test_a_query_that_names_nothing_would_be_noticed() -> None:
    query = 'histogram_quantile(0.99, sum by (le) (rate(arable_nope_bucket{job="$job"}[5m]))) > 1'
    assert asked(query) == {"arable_nope_bucket"}
    assert labels(query) == {"le", "job"}


def test_the_dashboard_shows_every_metric_of_ours(known: dict[str, Metric]) -> None:
    shown = " ".join(queries())
    assert [name for name in known if name.startswith("arable_") and name not in shown] == []


def test_panels_of_the_dashboard_have_names_of_their_own_and_do_not_overlap() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_rules_say_how_bad_and_what_is_the_matter() -> None:
    written = yaml.safe_load((ROOT / "examples/prometheus/prometheus.yml").read_text())
    assert written["rule_files"] == ["arable-rules.yml"]
    assert [job["job_name"] for job in written["scrape_configs"]] == ["arable"]
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"]
        assert rule["annotations"]["summary"]


def fill(database: Database) -> None:
    zone = {"zone": "zone-1"}
    usual = {"cpus": 8, "cpu_mhz": 8000, "memory_mib": 1000, "disk_mib": 500, "created_at": NOW}
    rows: list[tuple[Any, dict[str, Any]]] = [
        (t.zone, {"id": "zone-1", "name": "north", "created_at": NOW}),
        (t.pod, {"id": "pod-1", **zone, "name": "a", "cidr": "10.0.0.0/24", "created_at": NOW}),
        *(
            (
                t.host,
                {
                    "id": f"host-{name}",
                    **zone,
                    "pod": "pod-1",
                    "name": name,
                    "state": state,
                    "reserved_memory_mib": 100,
                    "reserved_disk_mib": 20 * (state == "up"),
                    "disk_full": name == "c",
                    "memory_percent": 200,
                    **usual,
                },
            )
            for name, state in (("a", "up"), ("b", "up"), ("c", "silent"))
        ),
        *(
            (
                t.operation,
                {
                    "id": f"operation-{n}",
                    "account": "a",
                    "user": "u",
                    "kind": "x",
                    "target": "",
                    "state": state,
                    "created_at": NOW,
                    "changed_at": NOW,
                },
            )
            for n, state in enumerate(("running", "done", "failed", "failed"))
        ),
        *(
            (
                t.pool,
                {
                    "id": f"pool-{name}",
                    **zone,
                    "host": f"host-{host}",
                    "name": name,
                    "kind": kind,
                    "total_mib": total,
                    "used_mib": used,
                    "created_at": NOW,
                },
            )
            for name, host, kind, total, used in (
                ("x", "a", "local", 400, 60),
                ("y", "b", "local", 600, 40),
                ("s", "c", "nbd", 700, 690),
            )
        ),
        (
            t.alert,
            {
                "id": "alert-1",
                "kind": "host-silent",
                "subject": "host-c",
                "name": "c",
                "severity": "warning",
                "text": "",
                "since": NOW,
                "opened_at": NOW,
            },
        ),
    ]
    with database.write() as tx:
        for table, row in rows:
            tx.execute(table.insert().values(**row))


def test_what_the_store_holds_is_counted(database) -> None:
    fill(database)
    made = metrics(database)
    assert samples(made, "arable_hosts") == {("no", "up", "north"): 2, ("no", "silent", "north"): 1}
    assert samples(made, "arable_zone_installed")["memory_mib", "north"] == 3000
    assert samples(made, "arable_zone_reservable")["memory_mib", "north"] == 6000
    assert samples(made, "arable_zone_reserved")["memory_mib", "north"] == 300
    assert samples(made, "arable_pool_mib") == {
        ("local", "", "total", "north"): 1000,
        ("local", "", "used", "north"): 100,
        ("local", "", "allocated", "north"): 40,
        ("local", "", "reservable", "north"): 2000,
        ("nbd", "s", "total", "north"): 700,
        ("nbd", "s", "used", "north"): 690,
        ("nbd", "s", "allocated", "north"): 0,
        ("nbd", "s", "reservable", "north"): 1000,
    }
    assert samples(made, "arable_pools_full") == {("local", "north"): 0, ("nbd", "north"): 1}
    assert samples(made, "arable_operations") == {("running",): 1, ("failed",): 2}
    assert samples(made, "arable_alerts") == {("host-silent", "warning"): 1}
    assert samples(made, "arable_store_answers") == {(): 1}


def test_counting_again_at_once_costs_nothing(sqlite) -> None:
    clock = VirtualClock()
    counting = Counting(sqlite, clock)
    first = counting.figures()
    assert counting.figures() is first
    from datetime import timedelta

    clock.wait(timedelta(seconds=KEPT + 1))
    assert counting.figures() is not first


def test_a_store_that_is_away_is_told_and_fails_no_scrape(tmp_path) -> None:
    away = Database("postgresql+psycopg://nobody@127.0.0.1:9/nothing")
    made = metrics(away)
    assert samples(made, "arable_store_answers") == {(): 0}
    assert samples(made, "arable_hosts") == {}
    assert samples(made, "arable_gateway_channels") == {(): 2}
    away.close()


def test_a_tally_is_told_as_a_histogram_whose_buckets_add_up(sqlite) -> None:
    figures = Figures()
    for value in (0.0001, 0.001, 0.002, 20.0):
        figures.writer.seconds.add(value)
    family = families(metrics(sqlite, figures))["arable_writer_commit_seconds"]
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert (buckets["0.0005"], buckets["0.001"], buckets["0.0025"], buckets["+Inf"]) == (1, 2, 3, 4)
    assert list(buckets.values()) == sorted(buckets.values())


def test_a_tally_counts_a_bound_itself_below_it() -> None:
    tally = Tally([1.0, 2.0])
    for value in (1.0, 1.5, 2.0, 2.5):
        tally.add(value)
    assert tally.counts == [1, 2, 1]
    assert tally.count == 4


def test_a_server_is_scraped_while_its_store_is_slow(served) -> None:
    """Looking is done on a thread, so calls go on meanwhile."""
    held = threading.Event()
    looked = threading.Event()
    text = served.server.metrics.text

    def slow() -> bytes:
        looked.set()
        assert held.wait(60)
        return text()

    served.server.metrics.text = slow
    with served.http() as scraper, served.http() as other:
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(scraper.get("/metrics")))
        thread.start()
        assert looked.wait(60)
        assert other.get("/healthz").status_code == 200
        held.set()
        thread.join()
    assert "arable_api_calls_total" in answers[0].text
