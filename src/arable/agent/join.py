"""How a host gets its identity, and keeps it.

The join token names the authority by its fingerprint. So the agent first looks at the certificates that the server
shows, takes the authority from among them only if it is the one, and then connects again, now verifying the server
as ever after; nothing secret leaves before that. (The server's chain must therefore include the authority.) The
private key is made here and never leaves. Key and certificate are one file, so they always belong together.

A token works once, but its answer may be lost, with a connection or with this process. So the request that goes with
it is kept until there is an identity: whoever brings the very same one is answered again.

A certificate lives for a day. Whoever was off for longer can't renew any more and needs another token, made for that
host; it then is who it was before, with what its directory holds (ledger, volumes), and says so to be made no other.
"""

import asyncio
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from arable.domain import ids
from arable.domain.errors import BadInput, CloudError, Forbidden, NotFound, Unavailable
from arable.domain.ids import HostId, PoolId
from arable.domain.manifest import Inventory
from arable.runtime.ca import (
    Request,
    client_context,
    keep,
    new_request,
    pinned,
    should_renew,
    until,
)
from arable.runtime.clock import Clock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret
from arable.runtime.showing import shown_by
from arable.runtime.tokens import join_token
from arable.wire.agent import JoinIn, JoinOut, RenewIn

log = logging.getLogger(__name__)

_WITHIN = 30.0
_PEM = "-----BEGIN CERTIFICATE-----"
_REQUEST = "-----BEGIN CERTIFICATE REQUEST-----"
_PENDING = "joining.pem"  # a file's name: key and request


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this host is. Read anew from its directory whenever it may have changed."""

    host: HostId
    pool: PoolId
    authority: str
    file: Path  # key and certificate

    @classmethod
    def load(cls, directory: Path) -> "Identity":
        """The one kept there; raises `NotFound` for a host that has not joined."""
        file, authority, pool = (directory / n for n in ("identity.pem", "authority.pem", "pool"))
        try:
            certificate = x509.load_pem_x509_certificate(_certificate(file.read_text()).encode())
            (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            host = HostId(ids.check("host", str(name.value)))
            return cls(host, PoolId(pool.read_text().strip()), authority.read_text(), file)
        except FileNotFoundError as error:
            raise NotFound("this host has not joined yet; give it a join token") from error
        except ValueError as error:
            raise BadInput(f"{file} is no identity of a host: join anew") from error

    def context(self) -> ssl.SSLContext:
        """TLS as this host, with servers of its own cloud and nobody else."""
        return client_context(self.authority, self.file, self.file)

    def over(self, clock: Clock, margin: timedelta = timedelta()) -> bool:
        """Whether the certificate counts no more, or will not in a moment."""
        return clock.now() + margin >= until(_certificate(self.file.read_text()))

    def renewable(self, clock: Clock) -> bool:
        """Whether half of the certificate's life is over."""
        return should_renew(_certificate(self.file.read_text()), clock)


def join(
    directory: Path,
    server: str,
    token: Secret,
    name: str,
    inventory: Inventory,
    *,
    entropy: Entropy,
    again: HostId | None = None,
) -> Identity:
    """Become a host of the cloud that gave the token; or `again` the one that this is. `server` is HOST:PORT.

    Raises `Unauthenticated` for what is no token, `Forbidden` for a server of another cloud or a refusal.
    """
    fingerprint = join_token(token.reveal()).authority
    authority = pinned(shown_by(server, fingerprint, _WITHIN), fingerprint)
    name = name or socket.gethostname()
    made = _pending(directory, name, entropy)
    ask = JoinIn(
        token=token.reveal(),
        name=name,
        request=made.request,
        inventory=inventory,
        host=again or "",
    )
    answer = _post(server, "join", client_context(authority), ask)
    if again and answer.host != again:
        raise Forbidden(f"asked to be {again} again, was made {answer.host}")
    keep(directory / "authority.pem", authority, entropy)
    keep(directory / "pool", answer.pool, entropy)
    _keep_identity(directory, made.key, answer, entropy)
    (directory / _PENDING).unlink(missing_ok=True)
    log.info("joined %sas %s", "anew " if again else "", answer.host)
    return Identity.load(directory)


def renew(identity: Identity, server: str, *, entropy: Entropy) -> Identity:
    """A fresh key and certificate for the same host; raises `Unavailable` or `Forbidden`, and the old ones stay."""
    made = new_request(identity.host)
    answer = _post(server, "renew", identity.context(), RenewIn(request=made.request))
    if answer.host != identity.host:
        raise Forbidden(f"asked for {identity.host}, was given {answer.host}")
    _keep_identity(identity.file.parent, made.key, answer, entropy)
    log.info("the certificate was renewed")
    return Identity.load(identity.file.parent)


def ask_for_disks(identity: Identity, server: str, request: str) -> str:
    """The certificate for this host's disks' connections (`agent/disk_identity.py`). Raises as `renew` does."""
    answer = _post(server, "renew", identity.context(), RenewIn(request=request, disks=True))
    if answer.host != identity.host:
        raise Forbidden(f"asked for {identity.host}, was given {answer.host}")
    return answer.certificate


def _pending(directory: Path, name: str, entropy: Entropy) -> Request:
    """The request that was sent and not answered yet, or else a new one, kept before it is sent."""
    path = directory / _PENDING
    with suppress(FileNotFoundError, UnicodeDecodeError):
        key, begin, rest = path.read_text().partition(_REQUEST)
        if begin and not _in_use(directory, key):
            return Request(Secret(key), begin + rest)
    made = new_request(name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep(path, Secret(made.key.reveal() + made.request), entropy)
    return made


def _in_use(directory: Path, key: str) -> bool:
    """Whether the request was answered, and only was not removed: another identity needs another key."""
    try:
        return (directory / "identity.pem").read_text().startswith(key)
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _keep_identity(directory: Path, key: Secret, answer: JoinOut, entropy: Entropy) -> None:
    keep(directory / "identity.pem", Secret(key.reveal() + answer.certificate), entropy)


def _certificate(pem: str) -> str:
    """The certificate of a file that begins with a key."""
    return _PEM + pem.partition(_PEM)[2]


def _post(server: str, what: str, context: ssl.SSLContext, ask: JoinIn | RenewIn) -> JoinOut:
    url = f"https://{server}/agent/v1/{what}"
    try:
        with httpx.Client(verify=context, trust_env=False, timeout=_WITHIN) as client:
            answer = client.post(
                url, content=msgspec.json.encode(ask), headers={"content-type": "application/json"}
            )
    except httpx.HTTPError as error:
        raise Unavailable(f"{server} can't be asked to {what}: {error}") from error
    if answer.status_code >= 500 or answer.status_code == 429:
        raise Unavailable(f"{server} can't {what} now: {_problem(answer)}")
    if answer.is_error:
        raise Forbidden(f"{server} refused to {what}: {_problem(answer)}")
    try:
        return msgspec.json.decode(answer.content, type=JoinOut)
    except msgspec.DecodeError as error:
        raise Unavailable(f"{server} answered something else: {error}") from error


def _problem(answer: httpx.Response) -> str:
    try:
        told = answer.json()
        return str(told.get("detail") or told.get("title") or answer.status_code)
    except (ValueError, AttributeError):
        return f"status {answer.status_code}"


async def renewed(
    identity: Identity, servers: list[str], clock: Clock, entropy: Entropy
) -> Identity:
    """The same identity, or a fresh one when it is time and some server gives it."""
    if not identity.renewable(clock):
        return identity
    for server in servers:
        try:
            return await asyncio.to_thread(renew, identity, server, entropy=entropy)
        except CloudError as error:
            log.warning("the certificate was not renewed: %s", error.public)
    return identity
