"""Public keys are read by the library and written anew: nothing but a key and its comment comes through."""

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from arable.domain.errors import BadInput
from arable.runtime.entropy import Entropy
from arable.runtime.ssh_keys import new_pair, public_key

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0cV0Hq3o2vDyX0gGk2uVtC0oS9aQ8lq0nWlT5Wb1cK"


def written(private) -> str:
    return (
        private.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def test_a_key_is_known_by_its_type_size_fingerprint_and_comment():
    key = public_key(f"{KEY}  me at home \n")
    assert (key.kind, key.bits, key.line) == ("ssh-ed25519", 256, f"{KEY} me at home")
    told = subprocess.run(
        [shutil.which("ssh-keygen") or "ssh-keygen", "-l", "-f", "-"],
        input=key.line,
        capture_output=True,
        text=True,
        check=True,
    )
    assert key.fingerprint == told.stdout.split()[1]


def test_the_usual_kinds_are_taken():
    assert public_key(written(ec.generate_private_key(ec.SECP384R1()))).bits == 384
    assert public_key(written(rsa.generate_private_key(65537, 2048))).kind == "ssh-rsa"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "one line"),
        ("ssh-ed25519", "one line"),
        (f"{KEY}\n{KEY}", "one line"),
        (f'command="rm" {KEY}', "not taken"),
        (f"{KEY[:-8]}", "can be read"),
        (f"ssh-rsa {KEY.split()[1]}", "can be read"),
        (f"{KEY} {'x' * 256}", "255"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "not taken"),
    ],
)
def test_what_is_no_public_key_is_refused_in_words(text, why):
    with pytest.raises(BadInput, match=why):
        public_key(text)


def test_a_short_key_is_refused():
    with pytest.raises(BadInput, match="2048"):
        public_key(written(rsa.generate_private_key(65537, 1024)))


@given(st.text())
def test_whatever_comes_in_a_line_comes_out_or_nothing(text):
    try:
        key = public_key(f"{KEY} {text}")
    except BadInput:
        return
    assert len(key.line.splitlines()) == 1
    assert key.line.startswith(KEY)


def test_a_new_pair_fits_together_and_is_another_each_time():
    entropy = Entropy("x")
    private, public = new_pair(entropy, "laptop")
    read = serialization.load_ssh_private_key(private.reveal().encode(), None)
    assert public.line == f"{written(read)} laptop"
    assert new_pair(entropy, "laptop")[1].fingerprint != public.fingerprint
