"""What one may ask of SSH keys. Machines get copies when they are deployed; a key that goes takes nobody's access away."""

from arable.domain.access import Permission
from arable.domain.errors import Conflict
from arable.domain.ids import AccountId, SshKeyId
from arable.domain.ssh_key import MOST, SshKey
from arable.runtime import ssh_keys as pairs
from arable.runtime.ssh_keys import PublicKey
from arable.services.asks import tell
from arable.services.call import Call
from arable.services.pages import paged
from arable.store import ssh_keys
from arable.wire.common import Page
from arable.wire.ssh_keys import NewSshKeyOut, SshKeyImport, SshKeyIn, SshKeyOut, SshKeyQuery


def page(call: Call, query: SshKeyQuery) -> Page[SshKeyOut]:
    """Keys in sight, by age."""
    call.caller.needs(Permission.MACHINE_READ)
    where = ssh_keys.SshKeyFilter(
        account=AccountId(query.account) if query.account else None, name=query.name or ""
    )
    found = ssh_keys.page(
        call.tx, call.caller.scope, where, after=query.after, limit=query.limit + 1
    )
    return paged(found, query, _shape)


def get(call: Call, ssh_key: SshKeyId) -> SshKeyOut:
    """One."""
    call.caller.needs(Permission.MACHINE_READ)
    return _shape(ssh_keys.get(call.tx, call.caller.scope, ssh_key))


def create(call: Call, ask: SshKeyIn) -> NewSshKeyOut:
    """A new pair. Its private half is in this answer, and nowhere else."""
    _check(call, ask.name)
    private, public = pairs.new_pair(call.around.entropy, ask.name)
    kept = _shape(_keep(call, ask.name, public))
    fields = {name: getattr(kept, name) for name in kept.__struct_fields__}
    return NewSshKeyOut(**fields, private_key=private.reveal())


def import_key(call: Call, ask: SshKeyImport) -> SshKeyOut:
    """A public key that its owner has already."""
    _check(call, ask.name)
    return _shape(_keep(call, ask.name, pairs.public_key(ask.public_key)))


def delete(call: Call, ssh_key: SshKeyId) -> None:
    """New machines don't get it any more. Those that have it keep it: it is in their disks."""
    call.caller.needs(Permission.MACHINE_WRITE)
    found = ssh_keys.get(call.tx, call.caller.scope, ssh_key)
    ssh_keys.remove(call.tx, found.id)
    tell(call, found.account, "sshkey.deleted", found.id, f"{found.name}: deleted")


def _check(call: Call, name: str) -> None:
    call.caller.needs(Permission.MACHINE_WRITE)
    account = call.caller.account
    if ssh_keys.named(call.tx, account, name) is not None:
        raise Conflict(f"you have an SSH key named {name} already", field="name")
    if ssh_keys.count(call.tx, account) >= MOST:
        raise Conflict(f"the account has {MOST} SSH keys already; delete one first")


def _keep(call: Call, name: str, public: PublicKey) -> SshKey:
    made = SshKey(
        id=SshKeyId(call.around.ids.new("sshkey")),
        account=call.caller.account,
        name=name,
        kind=public.kind,
        bits=public.bits,
        fingerprint=public.fingerprint,
        line=public.line,
        created_at=call.around.clock.now(),
    )
    ssh_keys.add(call.tx, made)
    tell(call, made.account, "sshkey.created", made.id, f"{name}: {public.fingerprint}")
    return made


def _shape(key: SshKey) -> SshKeyOut:
    return SshKeyOut(
        id=key.id,
        account=key.account,
        name=key.name,
        kind=key.kind,
        bits=key.bits,
        fingerprint=key.fingerprint,
        public_key=key.line,
        created_at=key.created_at,
    )
