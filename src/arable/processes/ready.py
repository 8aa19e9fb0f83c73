"""What servers write into their data directory for whoever started them: where they answer, and the first operator's password.

Apart from the servers, so that who only reads it need not import a whole server.
"""

from pathlib import Path

import msgspec

from arable.domain.errors import NotFound

SERVER = "server.json"
GRID = "grid.json"
OPERATOR = "operator.json"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What a running server writes into `server.json`: where it answers, and who it is."""

    api: str
    gateway: str
    pid: int
    fingerprint: str  # SHA-256 of the authority's certificate


class GridReady(msgspec.Struct, frozen=True, kw_only=True):
    """What a running grid manager writes into `grid.json`: where it answers, and who it is."""

    api: str
    listen: str
    pid: int
    fingerprint: str  # SHA-256 of the authority's certificate


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The first operator's, as they are kept in `operator.json`."""

    name: str
    password: str


def credentials(data: Path) -> Credentials:
    """Those of the first operator, from the data directory; raises `NotFound`."""
    try:
        return msgspec.json.decode((data / OPERATOR).read_bytes(), type=Credentials)
    except FileNotFoundError as error:
        raise NotFound(
            f"no operator's credentials in {data}: its server has not started yet"
        ) from error
