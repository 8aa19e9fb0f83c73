"""Settings: what an operator may tune."""

from arable.domain.access import Permission
from arable.domain.settings import SETTINGS, Setting, named
from arable.services.call import Call
from arable.store import settings
from arable.wire.settings import SettingOut, SettingsChange, SettingsOut


def get(call: Call) -> SettingsOut:
    """All of them."""
    call.caller.needs(Permission.INFRA_READ)
    return _out(call)


def update(call: Call, ask: SettingsChange) -> SettingsOut:
    """All that is named, or nothing."""
    call.caller.needs(Permission.INFRA_WRITE)
    values = {
        name: named(name).check(value) for name, value in ask.values.items() if value is not None
    }
    settings.put(call.tx, values)
    for name in ask.values.keys() - values.keys():
        settings.reset(call.tx, named(name).name)
    return _out(call)


def _out(call: Call) -> SettingsOut:
    now = settings.all_of(call.tx)
    return SettingsOut(
        settings=tuple(_setting(setting, now[name]) for name, setting in SETTINGS.items())
    )


def _setting(setting: Setting[int] | Setting[str], value: int | str) -> SettingOut:
    number = isinstance(setting.default, int)
    return SettingOut(
        name=setting.name,
        value=value,
        default=setting.default,
        about=setting.about,
        minimum=setting.minimum if number else None,
        maximum=setting.maximum if number else None,
        choices=setting.choices,
    )
