"""What a server says of itself, and that it says nothing when it is well."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from arable.controllers import alerts as controller
from arable.controllers.health import Health
from arable.controllers.loop import Loop
from arable.controllers.registry import Controller
from arable.controllers.underway import STALLED
from arable.domain.alert import AlertKind, Severity
from arable.domain.errors import Conflict
from arable.domain.settings import ALERT_IMAGES_PERCENT
from arable.runtime.clock import VirtualClock
from arable.runtime.metrics import Figures
from arable.store import alerts, settings
from arable.store import schema as t
from arable.store.alerts import AlertFilter
from arable.store.writer import Writer

CLOCK = VirtualClock()


@pytest.fixture
def health(database, tmp_path):
    writer = Writer(database)
    with database.write() as tx:
        settings.put(tx, {ALERT_IMAGES_PERCENT.name: 100})
    writer.start()
    yield Health(database, writer, VirtualClock(), "s1", Figures(), tmp_path, {})
    writer.stop()


def found(health: Health) -> dict[AlertKind, tuple[str, Severity]]:
    with health.database.read() as tx:
        return {each.kind: (each.subject, each.severity) for each in health.look(tx)}


def signals(health: Health) -> int:
    with health.database.read() as tx:
        return tx.execute(select(func.count()).select_from(t.alert_signal)).scalar_one()


def test_a_server_that_is_well_writes_nothing(health: Health) -> None:
    health.step()  # an earlier process of it may have said something
    commits = health.writer.figures.pieces.count
    for _ in range(3):
        health.step()
    assert health.writer.figures.pieces.count == commits
    assert signals(health) == 0


def test_a_certificate_is_told_of_before_it_ends(health: Health) -> None:
    now = health.clock.now()
    health.certificates = {"API": now + timedelta(days=15)}
    assert found(health) == {}
    health.certificates = {"API": now + timedelta(days=13)}
    assert found(health) == {AlertKind.CERTIFICATE_ENDING: ("s1/API", Severity.WARNING)}
    health.certificates = {"API": now + timedelta(days=1)}
    assert found(health) == {AlertKind.CERTIFICATE_ENDING: ("s1/API", Severity.CRITICAL)}


def test_a_full_disk_of_the_image_store_is_told_of(health: Health) -> None:
    with health.database.write() as tx:
        settings.put(tx, {ALERT_IMAGES_PERCENT.name: 1})
    assert AlertKind.IMAGE_STORE_FULL in found(health)


def test_a_controller_that_fails_again_and_again_is_told_of_until_it_succeeds(
    health: Health,
) -> None:
    broken = [True]

    def work(_tx: object, _at: object) -> int:
        if broken[0]:
            raise Conflict("it can't")
        return 0

    loop = Loop(
        health.writer,
        health.clock,
        "s1",
        acting=lambda: 1,
        controllers=[Controller("odd", work, 1)],
        figures=health.figures,
    )
    with health.database.write() as tx:
        tx.execute(
            t.lease.insert().values(
                name="master", holder="s1", epoch=1, until=CLOCK.now() + timedelta(days=1)
            )
        )
    for _ in range(3):
        assert found(health) == {}
        loop.step()
        health.clock.wait(timedelta(seconds=2))
    assert found(health) == {AlertKind.CONTROLLER_FAILING: ("odd", Severity.CRITICAL)}
    assert health.figures.controller("odd").told == "it can't"
    broken[0] = False
    loop.step()
    assert found(health) == {}
    assert (health.figures.controller("odd").rounds, health.figures.controller("odd").failures) == (
        4,
        3,
    )


def test_a_round_that_stands_still_is_told_of_while_it_does(health: Health) -> None:
    figures = health.figures.controller("machines")
    figures.since, figures.about = health.clock.monotonic(), "farm-a"
    health.clock.wait(timedelta(seconds=STALLED - 1))
    assert found(health) == {}
    health.clock.wait(timedelta(seconds=2))
    assert found(health) == {AlertKind.CONTROLLER_FAILING: ("machines", Severity.CRITICAL)}
    with health.database.read() as tx:
        (finding,) = health.look(tx)
    assert "machines (farm-a) stands still at s1 since 11 seconds" in finding.text
    figures.since = None
    assert found(health) == {}


def test_it_is_told_though_nothing_gets_through_the_writer(postgresql, tmp_path) -> None:
    with postgresql.one() as database:
        writer, clock, goes_on = Writer(database), VirtualClock(), threading.Event()
        health = Health(database, writer, clock, "s1", Figures(), tmp_path, {})
        with database.write() as tx:
            settings.put(tx, {ALERT_IMAGES_PERCENT.name: 100})
        writer.start()
        stuck = writer.submit(lambda _tx: goes_on.wait(60))
        health.figures.controller("machines").since = clock.monotonic()
        clock.wait(timedelta(seconds=STALLED + 1))
        health.step()
        assert signals(health) == 1
        goes_on.set()
        assert stuck.result()
        writer.stop()


def test_a_writer_that_fails_is_told_of_and_becomes_an_alert(health: Health) -> None:
    health.figures.writer.failures = 2
    assert found(health) == {}
    health.figures.writer.failures = 10
    health.step()
    assert signals(health) == 1
    with health.database.write() as tx:
        controller.watch(tx, health.clock.now())
        (alert,) = alerts.page(tx, AlertFilter(is_open=True))
    assert (alert.kind, alert.subject) == (AlertKind.WRITER_FAILING, "s1")
    health.step()
    assert signals(health) == 0, "no more failures since"
