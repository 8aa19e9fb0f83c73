"""Settings: typed, within bounds, all or nothing."""

import pytest
from sqlalchemy import text

from arable.domain.errors import BadInput, Forbidden
from arable.domain.settings import EXPUNGE_SECONDS, PLACEMENT_STRATEGY, SETTINGS
from arable.services import settings
from arable.store import settings as kept
from arable.wire.settings import SettingsChange


def values(answer) -> dict[str, int | str]:
    return {setting.name: setting.value for setting in answer.settings}


def test_what_nobody_set_has_its_default(infra):
    found = infra.ask(settings.get)
    assert values(found) == {name: setting.default for name, setting in SETTINGS.items()}
    assert all(setting.check(setting.default) == setting.default for setting in SETTINGS.values())


def test_a_setting_is_changed_and_brought_back(infra):
    change = SettingsChange(values={"expunge_seconds": 60, "placement_strategy": "pack"})
    found = values(infra.ask(settings.update, change))
    assert (found["expunge_seconds"], found["placement_strategy"]) == (60, "pack")
    with infra.cloud.database.read() as tx:
        assert kept.get(tx, EXPUNGE_SECONDS) == 60
        assert kept.get(tx, PLACEMENT_STRATEGY) == "pack"
    back = infra.ask(settings.update, SettingsChange(values={"expunge_seconds": None}))
    assert values(back)["expunge_seconds"] == EXPUNGE_SECONDS.default
    assert values(back)["placement_strategy"] == "pack"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("expunge_seconds", -1),
        ("expunge_seconds", 1 << 40),
        ("expunge_seconds", "60"),
        ("expunge_seconds", True),
        ("placement_strategy", "random"),
        ("placement_strategy", 1),
        ("no_such_thing", 1),
        ("no_such_thing", None),
    ],
)
def test_one_bad_value_refuses_the_whole_change(lone_infra, name, value):
    change = SettingsChange(values={"report_seconds": 5, name: value})
    error = lone_infra.refused(settings.update, change)
    assert isinstance(error, BadInput)
    assert error.field == name
    assert values(lone_infra.ask(settings.get))["report_seconds"] == 10


def test_what_an_older_version_stored_and_does_not_fit_counts_as_not_stored(infra):
    with infra.cloud.database.write() as tx:
        tx.execute(text("""insert into setting (name, value) values ('expunge_seconds', '"x"')"""))
        tx.execute(text("insert into setting (name, value) values ('long_gone', '1')"))
        assert kept.get(tx, EXPUNGE_SECONDS) == EXPUNGE_SECONDS.default
    assert values(infra.ask(settings.get))["expunge_seconds"] == EXPUNGE_SECONDS.default


def test_customers_neither_see_nor_change_settings(infra):
    customer = infra.cloud.account("acme")
    change = SettingsChange(values={"report_seconds": 5})
    assert isinstance(infra.refused(settings.get, by=customer), Forbidden)
    assert isinstance(infra.refused(settings.update, change, by=customer), Forbidden)
