"""Who this region is in the grid: its name, the grid's authority, and the certificate that it shows at both ends.

Kept in a folder `grid` of the data directory by whoever enrols the region, complete or not at all: one file. A region
that is in no grid has none. A certificate is renewed by keeping another one; what is open goes on with the old one.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from arable.domain.errors import BadInput, Corrupt
from arable.runtime.ca import client_context, keep, server_context, until
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

FOLDER = "grid"
_FILE = "identity.json"
_PEM = "region.pem"


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    region: str
    authorities: tuple[str, ...]
    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class GridIdentity:
    """A region in its grid. `certificate` is of the kind `REGION` (the grid manager's own: `GRID`), for `region`."""

    region: str
    authorities: tuple[str, ...]  # of the grid, PEM: two of them while one replaces another
    certificate: str
    key: Secret
    folder: Path

    @property
    def until(self) -> datetime:
        """When the certificate's life ends."""
        return until(self.certificate)

    def listening(self) -> ssl.SSLContext:
        """For a port where only those get in whom the grid's authority certified."""
        return server_context(self._pem, self._pem, "".join(self.authorities))

    def asking(self) -> ssl.SSLContext:
        """For a client: give the name of the region that you expect as the server's name, whatever its address."""
        return client_context("".join(self.authorities), self._pem, self._pem)

    @property
    def _pem(self) -> Path:
        return self.folder / _PEM


def keep_identity(
    data: Path,
    region: str,
    authorities: Sequence[str],
    certificate: str,
    key: Secret,
    entropy: Entropy,
) -> GridIdentity:
    """Be that region from now on; PEM all of them."""
    if not authorities:
        raise BadInput("a grid has an authority", field="authorities")
    folder = data / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = _Kept(
        region=region, authorities=tuple(authorities), certificate=certificate, key=key.reveal()
    )
    keep(folder / _FILE, msgspec.json.encode(made).decode(), entropy)
    found = identity(data, entropy)
    assert found is not None, "it was just kept"
    return found


def identity(data: Path, entropy: Entropy) -> GridIdentity | None:
    """Who we are; None: in no grid. Raises `Corrupt` for what nobody can be."""
    folder = data / FOLDER
    try:
        kept = msgspec.json.decode((folder / _FILE).read_bytes(), type=_Kept)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Corrupt(f"{folder / _FILE} is no grid identity", detail=str(error)) from error
    keep(folder / _PEM, kept.key + kept.certificate, entropy)  # as OpenSSL wants it: a file
    return GridIdentity(kept.region, kept.authorities, kept.certificate, Secret(kept.key), folder)
