"""Images: what accounts bring, what they may make of it, and what stays while it is used."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from arable.controllers.image_keeping import ImageKeeping
from arable.domain.errors import (
    BadInput,
    CloudError,
    Conflict,
    Forbidden,
    LimitExceeded,
    NotFound,
    TooLarge,
    Unavailable,
)
from arable.domain.image import digest
from arable.domain.manifest import ImagePart, PartFormat, PartRole
from arable.services import images, settings
from arable.services.call import Call
from arable.store import images as kept
from arable.wire.images import (
    FileIn,
    FromFilesIn,
    FromPartsIn,
    ImageChange,
    ImageIn,
    ImageQuery,
    UploadQuery,
    VersionQuery,
)
from arable.wire.settings import SettingsChange

MIB = 1 << 20
KERNEL = b"\x7fELF" + b"\0" * 4096
INITRD = b"070701" + b"\0" * 4096


def raw(letter: str = "a", mib: int = 1) -> bytes:
    return letter.encode() * (mib * MIB)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def new_image(infra, by=None, name="mine", **more) -> str:
    return infra.ask(images.create, ImageIn(name=name, **more), by=by).id


def upload(infra, image, data: bytes, by=None, **query):
    asked = UploadQuery(**{"format": "raw"} | query)
    receiver = images.begin_version(infra.prelude(by), image, asked)
    try:
        receiver.write(data)
        received = receiver.done()
    except CloudError:
        receiver.abort()
        raise
    return infra.ask(images.upload_version, image, asked, received, by=by)


def upload_part(infra, data: bytes, role: str, by=None):
    asked = UploadQuery(role=role, format="raw" if role == "disk" else "blob")
    receiver = images.begin_part(infra.prelude(by), asked)
    receiver.write(data)
    return infra.ask(images.upload_part, asked, receiver.done(), by=by)


def files(infra) -> set[str]:
    return set(infra.around.images.parts())


def test_a_version_is_the_file_that_was_uploaded(infra):
    image = new_image(infra)
    made = upload(infra, image, raw(), sha256=sha(raw()))
    assert (made.number, made.digest, made.bytes) == (1, sha(raw()), MIB)
    assert made.parts[0].virtual_bytes == MIB
    assert infra.around.images.path(made.digest).read_bytes() == raw()
    assert infra.ask(images.get, image).versions == (made,)


def test_versions_are_numbered_and_the_latest_comes_first(infra):
    image = new_image(infra)
    for letter in "abc":
        upload(infra, image, raw(letter))
    found = infra.ask(images.get, image)
    assert [version.number for version in found.versions] == [3, 2, 1]
    with infra.cloud.database.read() as tx:
        assert kept.version(tx, image).digest == sha(raw("c"))
        assert kept.version(tx, image, 1).digest == sha(raw("a"))
        with pytest.raises(NotFound):
            kept.version(tx, image, 4)


def test_the_number_of_a_deleted_version_is_not_given_again(infra):
    image = new_image(infra)
    upload(infra, image, raw("a"))
    upload(infra, image, raw("b"))
    infra.ask(images.delete_version, image, VersionQuery(number=2))
    assert upload(infra, image, raw("c")).number == 3


@pytest.mark.parametrize(
    ("data", "query"),
    [
        (raw(), {"sha256": sha(b"something else")}),
        (raw(), {"format": "qcow2"}),
        (b"QFI\xfb" + raw(), {}),  # a qcow2 image said to be raw
        (b"", {}),
        (b"x" * 1000, {}),  # no whole sectors
    ],
)
def test_a_file_that_is_not_what_was_said_leaves_nothing_behind(lone_infra, data, query):
    image = new_image(lone_infra)
    with pytest.raises(CloudError):
        upload(lone_infra, image, data, **query)
    assert files(lone_infra) == set()
    assert lone_infra.ask(images.get, image).versions == ()
    assert lone_infra.cloud.rows("select * from image_part") == []


def test_an_upload_that_breaks_off_leaves_nothing_behind(lone_infra):
    image = new_image(lone_infra)
    receiver = images.begin_version(lone_infra.prelude(), image, UploadQuery(format="raw"))
    receiver.write(raw())
    receiver.abort()
    assert files(lone_infra) == set()
    assert list((lone_infra.directory / "images").iterdir()) == []


def test_an_upload_is_not_larger_than_the_setting_allows(lone_infra):
    lone_infra.ask(settings.update, SettingsChange(values={"image_upload_mib": 1}))
    image = new_image(lone_infra)
    with pytest.raises(TooLarge):
        upload(lone_infra, image, raw(mib=2))
    assert files(lone_infra) == set()
    upload(lone_infra, image, raw(mib=1))


def test_an_accounts_files_together_stay_within_its_limit_also_when_many_come_at_once(infra):
    infra.ask(settings.update, SettingsChange(values={"account_image_mib": 3}))
    image = new_image(infra)
    asked = UploadQuery(format="raw")
    received = []
    for letter in "abcdef":
        receiver = images.begin_version(infra.prelude(), image, asked)
        receiver.write(raw(letter))
        received.append(receiver.done())

    def attempt(part) -> str:
        try:
            with infra.cloud.database.write() as tx:
                images.upload_version(Call(tx, infra.o, infra.around), image, asked, part)
        except LimitExceeded:
            return "refused"
        return "made"

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(attempt, received))
    assert (done.count("made"), done.count("refused")) == (3, 3)
    again = infra.ask(images.get, image).versions[0].parts[0]
    letter = next(letter for letter in "abcdef" if sha(raw(letter)) == again.sha256)
    upload(infra, image, raw(letter))  # the same bytes take no more room
    with pytest.raises(LimitExceeded):
        upload(infra, image, raw("z"))


def test_kernel_and_initrd_become_a_version_together(infra):
    image = new_image(infra, command_line="console=ttyS0")
    kernel = upload_part(infra, KERNEL, "kernel")
    initrd = upload_part(infra, INITRD, "initrd")
    made = infra.ask(
        images.create_from_parts, image, FromPartsIn(parts=(kernel.sha256, initrd.sha256))
    )
    assert [part.role for part in made.parts] == ["initrd", "kernel"]
    joined = (initrd.sha256 + kernel.sha256).encode()
    assert made.digest == hashlib.sha256(joined).hexdigest()
    assert made.bytes == kernel.bytes + initrd.bytes


def test_a_digest_does_not_depend_on_the_order_in_which_parts_are_named():
    parts = [
        ImagePart(role=role, sha256=letter * 64, bytes=1, format=PartFormat.BLOB)
        for role, letter in zip(PartRole, "abc", strict=True)
    ]
    assert digest(parts) == digest(reversed(parts)) != digest(parts[:2])
    assert digest(parts[:1]) == "a" * 64


def test_parts_that_do_not_boot_are_no_version(infra):
    image = new_image(infra)
    kernel = upload_part(infra, KERNEL, "kernel").sha256
    other = upload_part(infra, KERNEL + b"other", "kernel").sha256
    initrd = upload_part(infra, INITRD, "initrd").sha256
    for parts in ((kernel,), (initrd,), (kernel, other, initrd)):
        error = infra.refused(images.create_from_parts, image, FromPartsIn(parts=parts))
        assert isinstance(error, BadInput)


def test_another_accounts_part_is_as_good_as_absent(infra):
    acme, beta = infra.cloud.account("acme"), infra.cloud.account("beta")
    kernel = upload_part(infra, KERNEL, "kernel", by=acme).sha256
    initrd = upload_part(infra, INITRD, "initrd", by=beta).sha256
    image = new_image(infra, by=beta)
    theirs = infra.refused(
        images.create_from_parts, image, FromPartsIn(parts=(kernel, initrd)), by=beta
    )
    absent = infra.refused(
        images.create_from_parts, image, FromPartsIn(parts=("0" * 64, initrd)), by=beta
    )
    assert (theirs.public, theirs.field) == (absent.public, absent.field)
    upload_part(infra, KERNEL, "kernel", by=beta)  # who brings the bytes may use them
    infra.ask(images.create_from_parts, image, FromPartsIn(parts=(kernel, initrd)), by=beta)


def test_an_account_sees_its_own_images_and_the_public_ones(infra):
    acme, beta = infra.cloud.account("acme"), infra.cloud.account("beta")
    mine, theirs = new_image(infra, by=acme), new_image(infra, by=beta)
    for query in (ImageQuery(), ImageQuery(name="mine"), ImageQuery(account="account-beta")):
        assert theirs not in [image.id for image in infra.ask(images.page, query, by=acme).items]
    seen = {image.id for image in infra.ask(images.page, ImageQuery(), by=acme).items}
    assert seen == {mine, "image-tiny"}
    for image in (theirs, "image-nowhere"):
        told = {
            infra.refused(images.get, image, by=acme).public,
            infra.refused(images.update, image, ImageChange(), by=acme).public,
            infra.refused(images.delete, image, by=acme).public,
        }
        assert told == {"there is no such image"}
        with pytest.raises(NotFound):
            images.begin_version(infra.prelude(acme), image, UploadQuery(format="raw"))


def test_a_public_image_is_used_by_all_and_changed_by_its_owner_alone(infra):
    acme = infra.cloud.account("acme")
    assert infra.ask(images.get, "image-tiny", by=acme).public
    for use_case, *args in (
        (images.update, ImageChange(name="x")),
        (images.delete,),
        (images.delete_version, VersionQuery(number=1)),
    ):
        assert isinstance(infra.refused(use_case, "image-tiny", *args, by=acme), NotFound)


def test_only_operators_publish(infra):
    acme = infra.cloud.account("acme")
    image = new_image(infra, by=acme)
    assert isinstance(
        infra.refused(images.create, ImageIn(name="x", public=True), by=acme), Forbidden
    )
    assert isinstance(
        infra.refused(images.update, image, ImageChange(public=True), by=acme), Forbidden
    )
    assert infra.ask(images.update, image, ImageChange(public=True)).public
    assert not infra.ask(images.update, image, ImageChange(public=False), by=acme).public


def test_a_version_stays_while_machines_are_made_of_it(infra):
    acme = infra.cloud.account("acme")
    infra.cloud.deploy(acme)
    refused = infra.refused(images.delete_version, "image-tiny", VersionQuery(number=1))
    assert isinstance(refused, Conflict)
    assert "web" not in refused.public, "whose machines they are is nobody's business"
    assert isinstance(infra.refused(images.delete, "image-tiny"), Conflict)


def test_a_version_stays_while_a_volume_lies_over_it(infra):
    image = new_image(infra)
    made = upload(infra, image, raw())
    infra.cloud.run(
        """insert into volume (id, account, zone, name, source, created_at)
           values ('volume-a', 'account-root', 'zone-here', 'a', :source, 0)""",
        source=f'{{"role":"disk","sha256":"{made.digest}"}}',
    )
    assert isinstance(infra.refused(images.delete_version, image, VersionQuery(number=1)), Conflict)
    infra.cloud.run("delete from volume")
    infra.ask(images.delete_version, image, VersionQuery(number=1))
    infra.ask(images.delete, image)


def test_a_file_in_the_servers_directory_becomes_a_version(infra):
    (infra.directory / "inbox" / "sub").mkdir()
    (infra.directory / "inbox" / "sub" / "a.raw").write_bytes(raw())
    image = new_image(infra)
    ask = FromFilesIn(files=(FileIn(path="sub/a.raw", format="raw", sha256=sha(raw())),))
    copied = images.copy_files(infra.prelude(), image, ask)
    made = infra.ask(images.create_from_files, image, ask, copied)
    assert (made.digest, made.parts[0].format) == (sha(raw()), "raw")
    (infra.directory / "inbox" / "sub" / "a.raw").write_bytes(b"changed")
    assert infra.around.images.path(made.digest).read_bytes() == raw()


@pytest.mark.parametrize(
    "path",
    ["../outside", "/etc/passwd", "link", "sub/../../outside", ".", "nowhere", "a\0b", "pipe"],
)
def test_no_path_leads_out_of_the_servers_directory(lone_infra, path):
    (lone_infra.directory / "outside").write_bytes(raw())
    inbox = lone_infra.directory / "inbox"
    (inbox / "link").symlink_to("../outside")
    (inbox / "sub").mkdir()
    os.mkfifo(inbox / "pipe")
    ask = FromFilesIn(files=(FileIn(path=path, format="raw"),))
    with pytest.raises(BadInput) as error:
        images.copy_files(lone_infra.prelude(), new_image(lone_infra), ask)
    assert error.value.field == "files.0.path"
    assert files(lone_infra) == set()


def test_only_operators_use_files_of_the_server(infra):
    acme = infra.cloud.account("acme")
    (infra.directory / "inbox" / "a.raw").write_bytes(raw())
    image = new_image(infra, by=acme)
    ask = FromFilesIn(files=(FileIn(path="a.raw", format="raw"),))
    with pytest.raises(Forbidden):
        images.copy_files(infra.prelude(acme), image, ask)
    assert isinstance(infra.refused(images.create_from_files, image, ask, (), by=acme), Forbidden)


def test_what_nobody_uses_is_swept_away_after_a_day_and_nothing_else(infra):
    image = new_image(infra)
    made = upload(infra, image, raw("a"))
    part = upload_part(infra, KERNEL, "kernel")
    refused = images.begin_part(infra.prelude(), UploadQuery(role="initrd", format="blob"))
    refused.write(INITRD + b"nobody's")
    orphan = refused.done()  # complete, and then its transaction was refused

    def sweep() -> int:
        database, around = infra.cloud.database, infra.around

        def transact(work):
            with database.write() as tx:
                return work(tx)

        keeping = ImageKeeping(
            *(database.read, transact, around.clock, around.ids, around.images),
            *(lambda: (1, 0), lambda: lambda _tx: None),
        )
        return keeping.sweep(lambda _tx: None)

    for name in files(infra):
        at = infra.around.clock.now().timestamp()
        os.utime(infra.around.images.path(name), (at, at))
    assert sweep() == 0
    infra.around.clock.wait(timedelta(hours=25))
    assert sweep() > 0
    assert files(infra) == {made.digest}
    gone = infra.refused(images.create_from_parts, image, FromPartsIn(parts=(part.sha256,)))
    assert gone.field == "parts.0"
    assert orphan.sha256 not in files(infra)


def test_bytes_that_were_swept_away_meanwhile_make_no_version(infra):
    image = new_image(infra)
    asked = UploadQuery(format="raw")
    receiver = images.begin_version(infra.prelude(), image, asked)
    receiver.write(raw())
    received = receiver.done()
    infra.around.images.remove(received.sha256)
    assert isinstance(infra.refused(images.upload_version, image, asked, received), Unavailable)
