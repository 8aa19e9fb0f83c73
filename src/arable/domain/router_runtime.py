"""What a routing appliance is on its host."""

from enum import StrEnum

OVERHEAD_MIB = 64
"""What a router that is a virtual machine takes of its host beyond its own memory."""
MEMORY_MIB = 256 + OVERHEAD_MIB
"""What one takes in all, where its host does not say."""


class RouterRuntime(StrEnum):
    """Chosen by the operator for each zone (docs/decisions/0050)."""

    NAMESPACE = "namespace"  # a network namespace: starts at once, takes a few megabytes
    VM = "vm"  # a virtual machine: a kernel of its own between customers and the host
