"""What a guest network and its routing appliance may be."""

from enum import StrEnum


class NetworkState(StrEnum):
    """A network holds its VLAN until every host has said that nothing of it is left."""

    READY = "ready"
    LEAVING = "leaving"  # deleted by its owner; the row stays until no host has anything of it


class ApplianceState(StrEnum):
    """A network's routing appliance. It runs from before the first machine until some time after the last."""

    ABSENT = "absent"
    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"  # waits until its host says it is gone
