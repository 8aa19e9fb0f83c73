"""Contract suites are no test modules by name; their assertions should explain themselves all the same."""

import pytest

pytest.register_assert_rewrite(
    "drivers.contract_hypervisor",
    "drivers.contract_moves",
    "drivers.contract_network",
    "drivers.contract_storage",
    "drivers.contract_shared",
    "drivers.contract_appliance",
)
