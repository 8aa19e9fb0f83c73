"""The certificate by which a host's disks are known: got with the host's identity, kept for as long as it counts.

See `IdentityKind.DISKS` for why it is another one. It is asked for as soon as a management server answers, and anew
when half of its life is over; meanwhile the earlier one counts.
"""

import logging
from pathlib import Path

from arable.agent.join import Identity, ask_for_disks
from arable.domain.errors import CloudError
from arable.drivers.storage.nbd import credentials
from arable.drivers.storage.nbd.credentials import FOLDER
from arable.runtime.ca import new_request, should_renew
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.runtime.full_disk import or_no_room

log = logging.getLogger(__name__)


def directory(home: Path) -> Path:
    """Where QEMU finds the newest one (there may be none yet), below an agent's directory."""
    return home / FOLDER / credentials.CURRENT


def held(home: Path) -> str:
    """The newest one, or empty for none."""
    return credentials.certificate(home / FOLDER)


def due(home: Path, clock: Clock) -> bool:
    """Whether there is none, or it is time for a new one."""
    newest = held(home)
    return not newest or should_renew(newest, clock)


def renew(home: Path, identity: Identity, servers: list[str], entropy: Entropy) -> bool:
    """Get a new one from any of the servers; whether that was done."""
    request = new_request(identity.host)
    for server in servers:
        try:
            signed = ask_for_disks(identity, server, request.request)
            with or_no_room():
                credentials.keep(
                    home / FOLDER, request.key, signed, identity.authority, entropy.letters(12)
                )
        except CloudError as error:
            log.warning("no certificate for disks yet: %s", error.public)
            continue
        log.info("the certificate for disks was renewed")
        return True
    return False
