"""Deploying: what is taken, what is written, what is refused, and that a refusal leaves nothing."""

import base64
import gzip
from dataclasses import replace
from email import message_from_string

import msgspec
import pytest
from make_cloud import DISK, INITRD, KERNEL, Cloud, add_image, deploy_in, make_cloud

from arable.domain.errors import (
    BadInput,
    CloudError,
    Conflict,
    Forbidden,
    LimitExceeded,
    NoRoom,
    NotFound,
)
from arable.domain.manifest import Seed
from arable.services import blueprints, deployments, farms, groups, machines, networks, volumes
from arable.store import machines as kept
from arable.wire.blueprints import BlueprintIn
from arable.wire.farms import FarmQuery
from arable.wire.groups import GroupIn
from arable.wire.machines import DeployIn, DiskIn, MachineChange, MachineQuery, NicIn
from arable.wire.networks import NetworkIn, NetworkQuery
from arable.wire.volumes import VolumeQuery

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cV0Hq3o2vDyX0gGk2uVtC0oS9aQ8lq0nWlT5Wb1cK me"


def seed_of(cloud: Cloud, machine: str) -> Seed:
    with cloud.database.read() as tx:
        return kept.seed(tx, machine)


def test_the_first_deployment_of_an_account_makes_all_that_it_needs(cloud):
    me = cloud.account("me")
    answer = cloud.deploy(me, name="web", ssh_keys=(KEY,))
    (made,) = answer.machines
    machine = cloud.do(me, machines.get, made.id)
    assert (machine.name, machine.state, machine.wish) == ("web", "waiting", "running")
    assert machine.operation == answer.operation
    assert (machine.cpus, machine.cpu_mhz, machine.memory_mib, machine.disk_mib) == (
        1,
        1000,
        512,
        1024,
    )
    (nic,) = machine.nics
    assert nic.address == "10.1.0.2"
    assert nic.mac.startswith("0a:")
    assert len(nic.mac) == 17
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    assert (network.name, network.cidr, network.gateway) == ("default", "10.1.0.0/16", "10.1.0.1")
    assert network.source_nat == "198.51.100.10"
    assert network.notice == ""
    (farm,) = cloud.do(me, farms.page, FarmQuery()).items
    assert farm.name == "default"
    assert {machine.farm, network.farm} == {farm.id}
    (volume,) = cloud.do(me, volumes.page, VolumeQuery()).items
    assert (volume.machine, volume.mib, volume.position, volume.placed) == (made.id, 1024, 0, False)
    assert cloud.used(me) == {
        "machines": 1,
        "cpus": 1,
        "memory_mib": 512,
        "volumes": 1,
        "storage_mib": 1024,
        "networks": 1,
        "addresses": 1,
    }
    assert cloud.rows("select attention, host from machine") in ([(1, None)], [(True, None)])
    kinds = cloud.rows("select kind from event order by number")
    assert kinds == [("network.created",), ("machine.created",)]
    ((kind, target, state, total, pending),) = cloud.rows(
        "select kind, target, state, total, pending from operation"
    )
    assert (kind, target, state, total, pending) == ("machine.deploy", made.id, "running", 1, 1)


def test_the_second_deployment_uses_what_the_first_made(cloud):
    me = cloud.account("me")
    cloud.deploy(me, name="a")
    second = cloud.deploy(me, name="b").machines[0]
    assert cloud.do(me, machines.get, second.id).nics[0].address == "10.1.0.3"
    assert cloud.used(me)["networks"] == 1


def test_many_alike_are_numbered_and_share_an_operation(cloud):
    me = cloud.account("me")
    answer = cloud.deploy(me, name="web", count=12)
    assert [each.name for each in answer.machines] == [f"web-{n}" for n in range(1, 13)]
    page = cloud.do(me, machines.page, MachineQuery())
    assert {each.operation for each in page.items} == {answer.operation}
    assert len({each.nics[0].address for each in page.items}) == 12
    assert len({each.nics[0].mac for each in page.items}) == 12
    assert cloud.rows("select total, pending from operation") == [(12, 12)]
    assert cloud.used(me)["cpus"] == 12


def test_machines_that_should_not_start_leave_nothing_to_wait_for(lone_cloud):
    me = lone_cloud.account("me")
    answer = lone_cloud.deploy(me, start=False, count=2)
    machine = lone_cloud.do(me, machines.get, answer.machines[0].id)
    assert (machine.state, machine.wish, machine.operation) == ("stopped", "stopped", None)
    assert lone_cloud.rows("select state, pending from operation") == [("done", 0)]
    assert lone_cloud.rows("select sum(attention) from machine") == [(0,)]


def test_data_disks_are_made_blank_and_count(lone_cloud):
    me = lone_cloud.account("me")
    disks = (DiskIn(offering="ten"), DiskIn(offering="any", mib=700))
    made = lone_cloud.deploy(me, disks=disks).machines[0]
    found = lone_cloud.do(me, volumes.page, VolumeQuery(machine=made.id)).items
    assert [(each.position, each.mib) for each in found] == [(0, 1024), (1, 10240), (2, 700)]
    assert lone_cloud.used(me)["storage_mib"] == 1024 + 10240 + 700
    assert lone_cloud.do(me, machines.get, made.id).disk_mib == 1024 + 10240 + 700
    assert lone_cloud.rows("select position from volume where source is not null") == [(0,)]


def test_an_image_that_boots_by_kernel_keeps_its_parts_and_its_disk_is_blank(lone_cloud):
    me = lone_cloud.account("me")
    with lone_cloud.database.write() as tx:
        add_image(tx, lone_cloud, "mini", me.account, parts=(KERNEL, INITRD))
    lone_cloud.deploy(me, image="mini")
    ((boot,),) = lone_cloud.rows("select boot from machine_boot")
    told = msgspec.json.decode(boot)
    assert [part["role"] for part in told["parts"]] == ["kernel", "initrd"]
    assert told["command_line"] == "console=ttyS0"
    assert lone_cloud.rows("select source from volume") == [(None,)]


def test_a_machine_on_several_networks_has_a_port_on_each(cloud):
    me = cloud.account("me")
    cloud.do(me, networks.create, NetworkIn(name="back", cidr="10.9.0.0/24"))
    nics = (NicIn(), NicIn(network="back", address="10.9.0.77"))
    made = cloud.deploy(me, networks=nics).machines[0]
    found = cloud.do(me, machines.get, made.id).nics
    assert [nic.address for nic in found] == ["10.1.0.2", "10.9.0.77"]


def test_a_group_and_tags_are_kept_for_the_placer(lone_cloud):
    me = lone_cloud.account("me")
    group = lone_cloud.do(me, groups.create, GroupIn(name="db", rule="apart"))
    made = lone_cloud.deploy(
        me, offering="tagged", group="db", tags=("gpu", "big"), strategy="pack"
    )
    found = lone_cloud.do(me, machines.get, made.machines[0].id)
    assert (found.groups, found.tags, found.strategy) == ([group.id], ["big", "gpu"], "pack")
    ((placement,),) = lone_cloud.rows("select placement from machine")
    assert msgspec.json.decode(placement)["required"] == ["ssd"]
    assert lone_cloud.do(me, groups.get, group.id).members == 1


# --- cloud-init ---------------------------------------------------------------------------------------------


def test_a_machine_without_user_data_learns_its_name_and_keys(lone_cloud):
    me = lone_cloud.account("me")
    made = lone_cloud.deploy(me, name="web", ssh_keys=(KEY,)).machines[0]
    told = seed_of(lone_cloud, made.id)
    assert f"instance-id: {made.id}\nlocal-hostname: web\n" in told.meta_data
    assert f'public-keys:\n  - "{KEY}"\n' in told.meta_data
    assert told.user_data.startswith("#cloud-config\n")
    assert KEY in told.user_data


def test_a_script_of_the_owner_arrives_byte_for_byte(lone_cloud):
    me = lone_cloud.account("me")
    script = "#!/bin/sh\n\techo 'grüß gott' > /etc/motd\r\n"
    made = lone_cloud.deploy(me, user_data=script, ssh_keys=(KEY,)).machines[0]
    told = seed_of(lone_cloud, made.id)
    assert told.user_data == script
    assert KEY in told.meta_data


def test_packed_user_data_is_told_as_what_is_in_it(lone_cloud):
    me = lone_cloud.account("me")
    script = "#!/bin/sh\necho packed\n"
    packed = base64.b64encode(gzip.compress(script.encode())).decode()
    made = lone_cloud.deploy(me, user_data=packed).machines[0]
    assert seed_of(lone_cloud, made.id).user_data == script
    bomb = base64.b64encode(gzip.compress(bytes(1 << 20))).decode()
    refused = lone_cloud.refused(me, deployments.deploy, deploy_in(user_data=bomb), ())
    assert (type(refused), refused.field) == (BadInput, "user_data")
    word = BlueprintIn(name="web", image="tiny", offering="small", user_data=packed)
    assert lone_cloud.refused(me, blueprints.create, word).field == "user_data"


@pytest.mark.parametrize("user_data", ["", "#!/bin/sh\necho\n", "#cloud-config\nruncmd: []\n"])
def test_a_generated_password_is_in_the_answer_and_only_its_hash_in_the_store(
    lone_cloud, user_data
):
    me = lone_cloud.account("me")
    answer = lone_cloud.deploy(me, count=2, password=True, user_data=user_data)
    assert answer.passwords is not None
    texts = [answer.passwords[each.id] for each in answer.machines]
    assert len(set(texts)) == 2
    assert all(len(text) == 20 for text in texts)
    told = seed_of(lone_cloud, answer.machines[0].id).user_data
    assert "$6$" in told
    assert user_data in told
    everything = repr(lone_cloud.everything())
    assert not any(text in everything for text in texts)


def test_a_password_beside_a_script_is_a_message_of_two_parts(lone_cloud):
    me = lone_cloud.account("me")
    script = "#!/bin/sh\necho hi\n"
    made = lone_cloud.deploy(me, password=True, user_data=script).machines[0]
    message = message_from_string(seed_of(lone_cloud, made.id).user_data)
    parts = [part for part in message.walk() if not part.is_multipart()]
    assert [p.get_content_type() for p in parts] == ["text/cloud-config", "text/x-shellscript"]
    assert parts[1].get_payload().strip() == script.strip()


def test_a_password_beside_what_we_do_not_understand_is_refused(lone_cloud):
    me = lone_cloud.account("me")
    error = lone_cloud.refused(
        me, deployments.deploy, deploy_in(password=True, user_data="#include\nhttp://x\n"), ()
    )
    assert isinstance(error, BadInput)
    assert error.field == "password"


# --- refusals -------------------------------------------------------------------------------------------------


BAD = [
    ({"offering": "huge"}, NotFound, "offering"),
    ({"image": "nothing"}, NotFound, "image"),
    ({"image": "image-0000"}, NotFound, "image"),
    ({"version": 7}, NotFound, "version"),
    ({"zone": "elsewhere"}, NotFound, "zone"),
    ({"group": "nobody"}, NotFound, "group"),
    ({"farm": "none"}, NotFound, "farm"),
    ({"networks": (NicIn(network="nowhere"),)}, NotFound, "networks.0.network"),
    ({"networks": (NicIn(), NicIn())}, BadInput, "networks"),
    ({"networks": (NicIn(address="10.1.0.1"),)}, BadInput, "networks.0.address"),
    ({"networks": (NicIn(address="10.1.0.0"),)}, BadInput, "networks.0.address"),
    ({"networks": (NicIn(address="10.1.255.255"),)}, BadInput, "networks.0.address"),
    ({"networks": (NicIn(address="10.2.0.5"),)}, BadInput, "networks.0.address"),
    ({"networks": (NicIn(address="999.1.1.1"),)}, BadInput, "networks.0.address"),
    ({"networks": (NicIn(address="10.1.0.9"),), "count": 2}, BadInput, "networks.0.address"),
    ({"disks": (DiskIn(offering="any"),)}, BadInput, "disks.0.mib"),
    ({"disks": (DiskIn(offering="ten", mib=3),)}, BadInput, "disks.0.mib"),
    ({"disks": (DiskIn(offering="none"),)}, NotFound, "disks.0.offering"),
    ({"name": "n" * 62, "count": 10}, BadInput, "name"),
    ({"user_data": "#!" + "ü" * 8192}, BadInput, "user_data"),
    ({"password": True, "count": 101}, BadInput, "password"),
]


@pytest.mark.parametrize(("ask", "kind", "field"), BAD, ids=[str(ask)[:60] for ask, _, _ in BAD])
def test_a_bad_ask_is_refused_with_its_field_and_changes_nothing(lone_cloud, ask, kind, field):
    me = lone_cloud.account("me")
    error = lone_cloud.refused(me, deployments.deploy, deploy_in(**ask), None)
    assert (type(error), error.field) == (kind, field)


@pytest.mark.parametrize(
    "raw",
    [
        '{"name": "a", "offering": "small", "image": "tiny", "count": 0}',
        '{"name": "a", "offering": "small", "image": "tiny", "count": 1001}',
        '{"name": "a", "offering": "small", "image": "tiny", "count": 1.5}',
        '{"name": "A", "offering": "small", "image": "tiny"}',
        '{"name": "a\\n", "offering": "small", "image": "tiny"}',
        '{"name": "a\\u0000", "offering": "small", "image": "tiny"}',
        '{"name": "", "offering": "small", "image": "tiny"}',
        '{"name": "a", "offering": "small", "image": "tiny", "typo": 1}',
        '{"name": "a", "offering": "small", "image": "tiny", "user_data": "a\\u0000b"}',
        '{"name": "a", "offering": "small", "image": "tiny", "ssh_keys": ["ssh-rsa AAAAB3NzaC1yc2EAAAAD\\nrm"]}',
        '{"name": "a", "offering": "small", "image": "tiny", "ssh_keys": ["command=\\"x\\" ssh-rsa AAAAB3NzaC1yc2EAAAAD"]}',
        '{"name": "a", "offering": "small", "image": "tiny", "networks": [{"network": "a", "vlan": 3}]}',
        '{"name": "a", "offering": "small", "image": "tiny", "disks": [{"offering": "any", "mib": 99999999999}]}',
        '{"name": "a", "offering": "small", "image": "tiny", "tags": ["a b"]}',
        '{"name": "a", "offering": "small", "image": "tiny", "strategy": "random"}',
    ],
)
def test_what_makes_no_sense_does_not_come_in(raw):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(raw, type=DeployIn)


def test_user_data_over_the_limit_does_not_come_in():
    body = {"name": "a", "offering": "small", "image": "tiny", "user_data": "x" * 16385}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, DeployIn)


def test_a_name_is_unique_among_the_living_of_an_account_and_zone(cloud):
    me, you = cloud.account("me"), cloud.account("you")
    cloud.deploy(me, name="web")
    error = cloud.refused(me, deployments.deploy, deploy_in(name="web"), None)
    assert isinstance(error, Conflict)
    assert error.field == "name"
    cloud.deploy(you, name="web")
    assert isinstance(
        cloud.refused(me, deployments.deploy, deploy_in(name="web", count=1), None), Conflict
    )


def test_an_address_that_is_taken_is_refused(cloud):
    me = cloud.account("me")
    asked = {"networks": (NicIn(address="10.1.0.9"),)}
    cloud.deploy(me, name="a", **asked)
    error = cloud.refused(me, deployments.deploy, deploy_in(name="b", **asked), None)
    assert isinstance(error, Conflict)


def test_what_is_someone_elses_does_not_exist(cloud):
    me, you = cloud.account("me"), cloud.account("you")
    yours = cloud.do(you, networks.create, NetworkIn(name="yours"))
    group = cloud.do(you, groups.create, GroupIn(name="yours", rule="apart"))
    with cloud.database.write() as tx:
        image = add_image(tx, cloud, "private", you.account)
    for ask in (
        {"networks": (NicIn(network=yours.id),)},
        {"networks": (NicIn(network="yours"),)},
        {"group": group.id},
        {"group": "yours"},
        {"image": image},
        {"image": "private"},
        {"farm": yours.farm},
    ):
        error = cloud.refused(me, deployments.deploy, deploy_in(**ask), None)
        assert type(error) is NotFound, ask
        absent = {"network": "network-0", "group": "group-0", "image": "image-0", "farm": "farm-0"}
        key = next(iter(ask))
        other = (NicIn(network=absent["network"]),) if key == "networks" else absent[key]
        same = cloud.refused(me, deployments.deploy, deploy_in(**{key: other}), None)
        assert (same.public, same.field) == (error.public, error.field)


def test_an_operator_does_not_deploy_from_customers_private_images(lone_cloud):
    operator, you = lone_cloud.account("op", role="operator"), lone_cloud.account("you")
    with lone_cloud.database.write() as tx:
        add_image(tx, lone_cloud, "private", you.account)
    error = lone_cloud.refused(operator, deployments.deploy, deploy_in(image="private"), None)
    assert type(error) is NotFound


def test_reading_is_not_deploying(lone_cloud):
    reader = lone_cloud.account("reader", role="read-only")
    assert isinstance(lone_cloud.refused(reader, deployments.deploy, deploy_in(), None), Forbidden)


@pytest.mark.parametrize(
    "limits",
    [
        {"machines": 2},
        {"cpus": 2},
        {"memory_mib": 1535},
        {"volumes": 2},
        {"storage_mib": 3071},
        {"networks": 0},
    ],
)
def test_no_limit_is_passed_and_the_refusal_names_it(cloud, limits):
    me = cloud.account("me", **limits)
    error = cloud.refused(me, deployments.deploy, deploy_in(count=3), None)
    assert isinstance(error, LimitExceeded)
    assert error.why["resource"] == next(iter(limits))


def test_a_network_without_a_free_public_address_works_and_says_what_it_lacks(cloud):
    me = cloud.account("me", addresses=0)
    cloud.deploy(me)
    (network,) = cloud.do(me, networks.page, NetworkQuery()).items
    assert network.source_nat is None
    assert "no way out" in network.notice


def test_a_full_network_refuses_and_an_expunged_address_is_used_again(database):
    cloud = make_cloud(database, guest_cidr="10.1.1.0/29")
    me = cloud.account("me")
    made = [cloud.deploy(me, name=f"m{n}").machines[0] for n in range(5)]
    error = cloud.refused(me, deployments.deploy, deploy_in(name="m5"), None)
    assert isinstance(error, NoRoom)
    cloud.run("delete from nic where machine = :id", id=made[2].id)
    again = cloud.deploy(me, name="m5").machines[0]
    assert cloud.do(me, machines.get, again.id).nics[0].address == "10.1.1.4"


def test_more_machines_than_the_new_default_network_holds_make_no_network(database):
    cloud = make_cloud(database, guest_cidr="10.1.1.0/29")
    me = cloud.account("me")
    assert isinstance(cloud.refused(me, deployments.deploy, deploy_in(count=6), None), NoRoom)


def test_an_image_that_needs_more_than_the_offering_has_is_refused(lone_cloud):
    me = lone_cloud.account("me")
    with lone_cloud.database.write() as tx:
        add_image(tx, lone_cloud, "fat", me.account, minimum_memory_mib=513)
    error = lone_cloud.refused(me, deployments.deploy, deploy_in(image="fat"), None)
    assert isinstance(error, BadInput)
    assert error.field == "offering"


# --- batches --------------------------------------------------------------------------------------------------


def test_a_refused_ask_in_a_batch_spoils_nobody_and_writes_nothing(cloud):
    me = cloud.account("me", machines=5)
    you = cloud.account("you")
    answers = cloud.batch(
        cloud.asked(me, name="a"),
        cloud.asked(me, name="a"),
        cloud.asked(you, name="a"),
        cloud.asked(me, name="b", image="nothing"),
        cloud.asked(me, name="c", count=5),
        cloud.asked(me, name="d", networks=(NicIn(address="10.1.0.50"),)),
        cloud.asked(me, name="e", networks=(NicIn(address="10.1.0.50"),)),
        cloud.asked(me, name="f", count=2),
    )
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == [
        *("DeployOut", "Conflict", "DeployOut", "NotFound"),
        *("LimitExceeded", "DeployOut", "Conflict", "LimitExceeded"),
    ]
    # the one that was refused for its address had its place in the limit until it was refused
    assert cloud.used(me)["machines"] == 2
    names = cloud.rows("select account, name from machine order by account, name")
    assert names == [("account-me", "a"), ("account-me", "d"), ("account-you", "a")]
    assert cloud.rows("select count(*) from operation") == [(3,)]


def test_asks_that_differ_in_name_and_user_data_alone_are_each_as_they_say(lone_cloud):
    me = lone_cloud.account("me")
    other = lone_cloud.account("other")
    asks = [
        lone_cloud.asked(me, name="a", user_data="of a"),
        lone_cloud.asked(me, name="b", user_data="of b"),
        lone_cloud.asked(me, name="b", user_data="of b again"),
        lone_cloud.asked(me, name="c", user_data="x" * 40_000),
        lone_cloud.asked(me, name="d", count=2),
        lone_cloud.asked(me, name="e", offering="no-such"),
        lone_cloud.asked(other, name="a", user_data="of another"),
        lone_cloud.asked(me, name="f", user_data="of f"),
    ]
    a, b, twice, large, several, unknown, strange, f = lone_cloud.batch(*asks)
    assert isinstance(twice, Conflict)
    assert isinstance(large, BadInput)
    assert isinstance(unknown, NotFound)
    assert [each.name for each in several.machines] == ["d-1", "d-2"]
    for made, name in ((a, "of a"), (b, "of b"), (strange, "of another"), (f, "of f")):
        assert seed_of(lone_cloud, made.machines[0].id).user_data == name
    assert lone_cloud.used(me)["machines"] == 5
    assert lone_cloud.used(other)["machines"] == 1


def test_a_batch_of_first_deployments_makes_one_default_network(cloud):
    me = cloud.account("me")
    answers = cloud.batch(*(cloud.asked(me, name=f"m{n}") for n in range(30)))
    assert not [answer for answer in answers if isinstance(answer, CloudError)]
    assert cloud.used(me)["networks"] == 1
    assert cloud.rows('select count(distinct "offset") from nic') == [(30,)]


def test_where_no_vlan_is_left_those_who_need_a_network_are_refused_and_others_served(database):
    cloud = make_cloud(database, vlans=1)
    me, you = cloud.account("me"), cloud.account("you")
    cloud.deploy(me, name="first")
    before = cloud.used(you)
    answers = cloud.batch(
        cloud.asked(you, name="a"), cloud.asked(me, name="b"), cloud.asked(you, name="c")
    )
    assert [type(answer).__name__ for answer in answers] == ["NoRoom", "DeployOut", "NoRoom"]
    assert cloud.used(you) == before == {}
    assert cloud.rows("select count(*) from farm where account = 'account-you'") == [(0,)]


def test_a_root_disk_smaller_than_the_image_is_refused(lone_cloud):
    me = lone_cloud.account("me")
    part = replace(DISK, sha256="e" * 64, virtual_bytes=2 << 30)
    with lone_cloud.database.write() as tx:
        add_image(tx, lone_cloud, "big", me.account, parts=(part,))
    error = lone_cloud.refused(me, deployments.deploy, deploy_in(image="big"), None)
    assert isinstance(error, BadInput)
    assert error.field == "offering"


def test_user_data_is_changed_while_a_machine_is_stopped_and_its_keys_stay(lone_cloud):
    me = lone_cloud.account("me")
    made = lone_cloud.deploy(me, ssh_keys=(KEY,), user_data="#!/bin/sh\n", start=False).machines[0]
    before = seed_of(lone_cloud, made.id)
    script = "#!/bin/sh\necho again\n"
    lone_cloud.do(me, machines.update, made.id, MachineChange(user_data=script))
    after = seed_of(lone_cloud, made.id)
    assert (after.user_data, after.meta_data) == (script, before.meta_data)
    lone_cloud.do(me, machines.update, made.id, MachineChange(user_data=""))
    assert KEY in seed_of(lone_cloud, made.id).user_data  # as at first, in a cloud-config
    assert script not in str(lone_cloud.rows("select text from event"))
    too_much = MachineChange(user_data="ü" * 8193)
    assert lone_cloud.refused(me, machines.update, made.id, too_much).field == "user_data"
    lone_cloud.run("update machine set state = 'running', wish = 'running'")
    refused = lone_cloud.refused(me, machines.update, made.id, MachineChange(user_data=script))
    assert isinstance(refused, Conflict)
