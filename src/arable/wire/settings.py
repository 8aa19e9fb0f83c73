"""How settings look outside. `domain/settings.py` has what they mean and their bounds."""

from typing import Annotated

from msgspec import Meta

from arable.wire.common import In, Out, Plain

SettingName = Annotated[str, Meta(max_length=63, pattern=r"^[a-z_]+$(?!\n)")]
SettingValue = Annotated[int, Meta(ge=-1, le=1 << 40)] | Annotated[Plain, Meta(max_length=63)]


class SettingOut(Out, frozen=True, kw_only=True):
    """One setting."""

    name: Annotated[str, Meta(examples=["expunge_seconds"])]
    value: int | str
    default: int | str
    about: str
    minimum: Annotated[int | None, Meta(description="Of a number.")] = None
    maximum: Annotated[int | None, Meta(description="Of a number.")] = None
    choices: Annotated[tuple[str, ...], Meta(description="Of a word.")] = ()


class SettingsOut(Out, frozen=True, kw_only=True):
    """All settings, as they are."""

    settings: tuple[SettingOut, ...]


class SettingsChange(In, frozen=True, kw_only=True):
    """Settings by name. What is not named stays; null brings the default back."""

    values: Annotated[
        dict[SettingName, SettingValue | None],
        Meta(min_length=1, max_length=64, examples=[{"placement_strategy": "pack"}]),
    ]
