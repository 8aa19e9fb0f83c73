"""A person's laptop in a customer's network, in a real lab: from the API to a web page by a private address, and cut off."""

from pathlib import Path

import pytest

from arable.wire.remote_accesses import RemoteAccessIn, VpnClientIn
from drivers import services
from drivers.tunnelling import client
from e2e.customers import Customer
from e2e.lab_cloud import LabCloud
from e2e.patience import until

pytestmark = pytest.mark.real


def test_a_laptop_reaches_machines_with_the_file_it_is_given_until_it_is_revoked(
    cloud: LabCloud, red: Customer, tmp_path: Path
) -> None:
    outside = cloud.netns("internet")
    source_nat = next(one for one in red.api.addresses.all() if one.source_nat)
    machine = red.machine("red-1").nics[0].address
    asked = RemoteAccessIn(name="staff", address=source_nat.id, cidr="172.29.0.0/24")
    access = red.api.remote_accesses.create(asked)
    red.wait(access.operation)
    try:
        ask = VpnClientIn(access=access.access.id, name="laptop")
        laptop = red.api.vpn_clients.create(ask)
        red.wait(laptop.operation)
        assert laptop.configuration is not None
        with client(outside, laptop.configuration, tmp_path):
            services.call(outside, machine, 80).close()

            def is_up() -> bool:
                told = red.api.vpn_clients.get(laptop.client.id).status
                return told is not None and told.up and told.received_bytes > 0

            until(is_up, "the cloud knows that it is there")
            red.wait(red.api.vpn_clients.delete(laptop.client.id).id)
            assert services.is_closed(outside, machine, 80)
    finally:
        red.wait(red.api.remote_accesses.delete(access.access.id).id)
