"""Settings: what an operator may tune."""

from arable.domain.access import Permission
from arable.domain.settings import MACHINE_KBPS, SETTINGS, Setting, named
from arable.services.call import Call
from arable.store import rates, settings
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
    reset = [named(name).name for name in ask.values.keys() - values.keys()]
    of_ports = MACHINE_KBPS.name in ask.values
    if of_ports:
        rates.hold(call.tx)
    before = settings.get(call.tx, MACHINE_KBPS)
    settings.put(call.tx, values)
    for name in reset:
        settings.reset(call.tx, name)
    if settings.get(call.tx, MACHINE_KBPS) != before:
        rates.wake(call.tx)
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
