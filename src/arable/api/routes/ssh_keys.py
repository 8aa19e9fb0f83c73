"""SSH keys over HTTP."""

from arable.api.operation import Op
from arable.domain.access import Permission
from arable.services import ssh_keys
from arable.wire.ssh_keys import SshKeyImport, SshKeyIn, SshKeyQuery

OPERATIONS = (
    Op(
        method="GET",
        path="/v1/ssh-keys",
        does=ssh_keys.page,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="List SSH keys",
        query=SshKeyQuery,
    ),
    Op(
        method="POST",
        path="/v1/ssh-keys",
        does=ssh_keys.create,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        summary="Make a new pair of SSH keys",
        takes=SshKeyIn,
        status=201,
        secrets=("private_key",),
        example={"name": "laptop"},
    ),
    Op(
        method="POST",
        path="/v1/ssh-keys/import",
        does=ssh_keys.import_key,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        summary="Import a public SSH key",
        takes=SshKeyImport,
        status=201,
        name="ssh_keys.import_key",
        example={
            "name": "laptop",
            "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cV0Hq3o2vDyX0gGk2uVtC0oS9aQ8lq0nWlT5Wb1cK me",
        },
    ),
    Op(
        method="GET",
        path="/v1/ssh-keys/{sshkey}",
        does=ssh_keys.get,
        permission=Permission.MACHINE_READ,
        writes=False,
        summary="Show an SSH key",
    ),
    Op(
        method="DELETE",
        path="/v1/ssh-keys/{sshkey}",
        does=ssh_keys.delete,
        permission=Permission.MACHINE_WRITE,
        writes=True,
        conditions=False,
        summary="Delete an SSH key",
        status=204,
        about="Machines that were deployed with it keep it: it is on their disks.",
    ),
)
