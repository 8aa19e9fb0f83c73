"""Whether an image can become a machine of a size: one answer, for deploying, resizing and whatever else makes one."""

from arable.domain.errors import BadInput
from arable.domain.image import Image, ImageVersion
from arable.domain.offering import Offering
from arable.domain.units import MIB


def check_memory(image: Image, offering: Offering) -> None:
    """Raises `BadInput` when the image needs more memory than the offering has."""
    if offering.memory_mib < image.minimum_memory_mib:
        raise BadInput(
            f"{image.name} needs {image.minimum_memory_mib} MiB of memory, "
            f"{offering.name} has {offering.memory_mib}",
            field="offering",
        )


def root_mib(offering: Offering, version: ImageVersion) -> int:
    """How large the root disk will be; 0 when there is none, because the image boots into its initrd alone.

    An offering without a size of its own takes the image's. Raises `BadInput` when the image does not fit.
    """
    needed = -(-version.virtual_bytes // MIB)
    if 0 < offering.root_mib < needed:
        raise BadInput(
            f"the image's disk has {needed} MiB, the root disk of {offering.name} {offering.root_mib}",
            field="offering",
        )
    return offering.root_mib or needed
