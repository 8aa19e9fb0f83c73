"""SSH keys of accounts: made, imported, used by name in deployments, and nobody else's."""

import json

import pytest

from arable.domain.errors import Conflict, NotFound
from arable.services import ssh_keys
from arable.store import machines as kept
from arable.wire.ssh_keys import SshKeyImport, SshKeyIn, SshKeyQuery

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cV0Hq3o2vDyX0gGk2uVtC0oS9aQ8lq0nWlT5Wb1cK me"


def test_a_key_that_was_made_shows_its_private_half_once_and_keeps_it_nowhere(lone_cloud):
    me = lone_cloud.account("me")
    made = lone_cloud.do(me, ssh_keys.create, SshKeyIn(name="laptop"))
    assert made.private_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "private" not in json.dumps(lone_cloud.everything(), default=str).lower()
    (listed,) = lone_cloud.do(me, ssh_keys.page, SshKeyQuery()).items
    assert (listed.fingerprint, listed.public_key) == (made.fingerprint, made.public_key)


def test_machines_get_keys_by_name_by_id_and_in_full(cloud):
    me = cloud.account("me")
    kept_key = cloud.do(me, ssh_keys.import_key, SshKeyImport(name="mine", public_key=KEY))
    made = cloud.do(me, ssh_keys.create, SshKeyIn(name="made"))
    other = f"{KEY} too"
    answer = cloud.deploy(me, ssh_keys=("made", kept_key.id, other), count=2)
    for each in answer.machines:
        with cloud.database.read() as tx:
            told = kept.seed(tx, each.id).meta_data
        for key in (made.public_key, KEY, other):
            assert f"  - {json.dumps(key)}\n" in told


def test_names_are_unique_in_an_account_and_free_in_another(cloud):
    me, other = cloud.account("me"), cloud.account("other")
    ask = SshKeyImport(name="laptop", public_key=KEY)
    mine = cloud.do(me, ssh_keys.import_key, ask)
    assert isinstance(cloud.refused(me, ssh_keys.import_key, ask), Conflict)
    assert isinstance(cloud.refused(me, ssh_keys.create, SshKeyIn(name="laptop")), Conflict)
    cloud.do(other, ssh_keys.import_key, ask)
    cloud.do(me, ssh_keys.delete, mine.id)
    cloud.do(me, ssh_keys.import_key, ask)


def test_another_account_s_key_is_like_one_that_is_not_there(cloud):
    me, other = cloud.account("me"), cloud.account("other")
    ask = SshKeyImport(name="theirs", public_key=KEY)
    theirs = cloud.do(other, ssh_keys.import_key, ask)
    for ref in ("theirs", theirs.id, "nobody"):
        with pytest.raises(NotFound) as refused:
            cloud.deploy(me, ssh_keys=(KEY, ref))
        assert refused.value.field == "ssh_keys.1"
    assert isinstance(cloud.refused(me, ssh_keys.get, theirs.id), NotFound)
    assert isinstance(cloud.refused(me, ssh_keys.delete, theirs.id), NotFound)
    assert cloud.do(me, ssh_keys.page, SshKeyQuery()).items == []
