"""What a routing appliance is on its host."""

from enum import StrEnum


class RouterRuntime(StrEnum):
    """Chosen by the operator for each zone (docs/decisions/0050)."""

    NAMESPACE = "namespace"  # a network namespace: starts at once, takes a few megabytes
    VM = "vm"  # a virtual machine: a kernel of its own between customers and the host
