"""A small cloud with an image and sizes, its operator and a customer, both at the command line."""

import pytest

from arable.wire.images import FromPartsIn, ImageIn, UploadQuery
from arable.wire.offerings import OfferingIn
from arable.wire.pods import PodIn
from arable.wire.public_ranges import PublicRangeIn
from arable.wire.zones import VlanRange, ZoneIn
from cli.command_line import Arable, as_user
from serving import Served


@pytest.fixture
def operator(served: Served, tmp_path) -> Arable:
    home = tmp_path / "operator"
    home.mkdir()
    return as_user(served, home, served.token(served.operator))


def furnish(served: Served) -> None:
    """A zone with public addresses, sizes, and the image `tiny`."""
    cloud = served.operator
    cloud.zones.create(ZoneIn(name="east", vlans=VlanRange(first=100, last=109)))
    cloud.pods.create(PodIn(zone="east", name="pod-a", cidr="10.20.1.0/24"))
    cloud.public_ranges.create(
        PublicRangeIn(
            zone="east", cidr="203.0.113.0/24", gateway="203.0.113.1",
            first="203.0.113.10", last="203.0.113.29", vlan=901,
        )
    )  # fmt: skip
    for name, cpus in (("tiny", 1), ("small", 2)):
        cloud.offerings.create(
            OfferingIn(name=name, cpus=cpus, cpu_mhz=500, memory_mib=64, root_mib=64)
        )
    image = cloud.images.create(ImageIn(name="tiny", public=True))
    parts = [
        cloud.image_parts.upload([content], UploadQuery(format="blob", role=role)).sha256
        for role, content in (("kernel", b"\x7fELF a kernel"), ("initrd", b"070701 an initrd"))
    ]
    cloud.images.create_from_parts(image.id, FromPartsIn(parts=tuple(parts)))


@pytest.fixture
def furnished(served: Served) -> Served:
    furnish(served)
    return served


@pytest.fixture
def customer(furnished: Served, tmp_path) -> Arable:
    home = tmp_path / "customer"
    home.mkdir()
    client = furnished.customer("acme")
    return as_user(furnished, home, furnished.token(client))
