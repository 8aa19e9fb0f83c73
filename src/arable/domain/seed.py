"""What a machine's guest is told at its first boot: cloud-init NoCloud data, made from what its owner asked for.

Host name and SSH keys are in the meta-data, so a script or a cloud-config of the owner's own works with them as it
is, byte for byte; and the name stands nowhere else, so a machine is renamed by changing one line. Only a generated
password needs a cloud-config of ours beside the owner's document: both are then parts of one MIME message, which is
how cloud-init takes several.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from arable.domain.errors import BadInput
from arable.domain.ids import MachineId
from arable.domain.manifest import Seed

USER_DATA_BYTES = 16 * 1024
"""The limit that EC2 and the tools made for it expect."""

_GZIP = "H4sI"  # how base64 of gzip begins, and no document that cloud-init knows
_GZIP_WINDOW = 31  # of zlib: gzip alone
_HOSTNAME = "local-hostname: "
_ZONE, _OFFERING = "availability-zone: ", "service-offering: "
_KEY = "  - "
_KINDS = {"#cloud-config": "text/cloud-config", "#!": "text/x-shellscript"}


def check_size(user_data: str) -> None:
    """Raises `BadInput` for more than fits."""
    if len(user_data) > USER_DATA_BYTES // 4 and len(user_data.encode()) > USER_DATA_BYTES:
        raise BadInput(
            f"more than {USER_DATA_BYTES} bytes; have it fetch the rest (#include, or a script)",
            field="user_data",
        )


def unpacked(user_data: str) -> str:
    """User-data as text: what is given as base64 of gzip is opened, the rest is as it was. No more is opened than fits.

    Raises `BadInput` for what is cut off, is no text, or would be more than fits.
    """
    if not user_data.startswith(_GZIP):
        return user_data
    opener = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        packed = base64.b64decode("".join(user_data.split()), validate=True)
        text = opener.decompress(packed, USER_DATA_BYTES + 1)
    except (binascii.Error, zlib.error) as error:
        raise _unreadable(str(error)) from error
    if len(text) > USER_DATA_BYTES:
        raise BadInput(
            f"more than {USER_DATA_BYTES} bytes when it is unpacked; have it fetch the rest (#include, or a script)",
            field="user_data",
        )
    if not opener.eof:
        raise _unreadable("its end is missing")
    if opener.unused_data:
        raise _unreadable("something follows its end")
    try:
        plain = text.decode()
    except UnicodeDecodeError as error:
        raise _unreadable("what is in it is no text") from error
    if "\0" in plain or plain.startswith(_GZIP):
        raise _unreadable("what is in it is no text")
    return plain


def _unreadable(why: str) -> BadInput:
    return BadInput(
        f"this begins as base64 of gzip does, and can't be unpacked: {why}", field="user_data"
    )


@dataclass(frozen=True, slots=True)
class SeedAsk:
    """What the owner asked for. `password` is a hash as `/etc/shadow` has it, for the image's default user."""

    keys: tuple[str, ...] = ()
    password: str = ""
    user_data: str = ""
    zone: str = ""
    offering: str = ""


def takes_password(user_data: str) -> bool:
    """Whether a generated password can be put beside this user-data: cloud-config, scripts, and none at all."""
    return not user_data or _kind(user_data) is not None


def seed(machine: MachineId, name: str, ask: SeedAsk) -> Seed:
    """The two documents. `instance-id` never changes, so that a guest does its first-boot work once."""
    meta = [f"instance-id: {machine}", f"{_HOSTNAME}{name}"]
    if ask.zone:
        meta.append(f"{_ZONE}{ask.zone}")
    if ask.offering:
        meta.append(f"{_OFFERING}{ask.offering}")
    if ask.keys:
        meta += ["public-keys:", *map(_quoted, ask.keys)]
    return Seed(meta_data="\n".join(meta) + "\n", user_data=_user_data(machine, ask))


def renamed(old: Seed, name: str) -> Seed:
    """The same data for a machine with another name."""
    return _changed(old, _HOSTNAME, name)


def resized(old: Seed, offering: str) -> Seed:
    """The same data for a machine of another offering."""
    return _changed(old, _OFFERING, offering)


def taught(old: Seed, machine: MachineId, user_data: str) -> Seed:
    """The same machine with other user-data; without any, its keys are in a document of ours as at first."""
    ask = SeedAsk(keys=facts(old).keys, user_data=user_data)
    return Seed(meta_data=old.meta_data, user_data=_user_data(machine, ask))


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands in meta-data that was made here: single values by their name, and keys."""

    values: Mapping[str, str]
    keys: tuple[str, ...]


def facts(told: Seed) -> Facts:
    """Meta-data read again."""
    values, keys = {}, []
    for line in told.meta_data.split("\n"):
        if line.startswith(_KEY):
            keys.append(str(json.loads(line.removeprefix(_KEY))))
        else:
            name, colon, value = line.partition(": ")
            if colon:
                values[name] = value
    return Facts(values, tuple(keys))


def _changed(old: Seed, head: str, value: str) -> Seed:
    lines = old.meta_data.split("\n")
    told = [f"{head}{value}" if line.startswith(head) else line for line in lines]
    return replace(old, meta_data="\n".join(told))


def _user_data(machine: MachineId, ask: SeedAsk) -> str:
    if not ask.user_data:
        keys = ["ssh_authorized_keys:", *map(_quoted, ask.keys)] if ask.keys else []
        return _config(*keys, *_password(ask))
    if ask.password:
        return _multipart(machine, [_config(*_password(ask)), ask.user_data])
    return ask.user_data


def _quoted(key: str) -> str:
    return f"{_KEY}{json.dumps(key, ensure_ascii=False)}"


def _config(*lines: str) -> str:
    return "\n".join(("#cloud-config", *lines)) + "\n"


def _password(ask: SeedAsk) -> list[str]:
    if not ask.password:
        return []
    return [f'password: "{ask.password}"', "chpasswd: {expire: false}", "ssh_pwauth: true"]


def _multipart(machine: MachineId, parts: list[str]) -> str:
    """Several user-data documents in one; of two cloud-configs that set the same key, the first wins."""
    border = f"==={machine}==="
    while any(border in part for part in parts):
        border += "="
    lines = ["MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{border}"', ""]
    for part in parts:
        lines += [f"--{border}", f'Content-Type: {_kind(part)}; charset="utf-8"', "", part]
    return "\n".join([*lines, f"--{border}--", ""])


def _kind(text: str) -> str | None:
    return next((kind for head, kind in _KINDS.items() if text.startswith(head)), None)
