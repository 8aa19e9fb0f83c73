"""Settings over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import settings
from arable.wire.settings import SettingsChange

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/settings",
        does=settings.get,
        permission=Permission.INFRA_READ,
        writes=False,
        summary="Show all settings",
    ),
    Op(
        method="PATCH",
        path="/v1/settings",
        does=settings.update,
        permission=Permission.INFRA_WRITE,
        writes=True,
        takes=SettingsChange,
        summary="Change settings",
        about="All of what is named is changed, or nothing. Null brings a default back.",
        example={"values": {"expunge_seconds": 3600, "placement_strategy": None}},
    ),
)
