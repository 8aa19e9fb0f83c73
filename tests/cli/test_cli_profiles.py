"""Signing in, and the file that remembers it: who can read it, and to whom its credentials go."""

import stat
from pathlib import Path

import pytest
import yaml

from arable.cli import profiles
from arable.cli.faults import Failed
from cli.command_line import PASSWORD, Arable, signed_out
from serving import Served


@pytest.fixture
def nobody(served: Served, tmp_path) -> Arable:
    served.customer("ann")
    home = tmp_path / "home"
    home.mkdir()
    return signed_out(served, home)


def config(user: Arable) -> Path:
    return user.home / ".config" / "arable" / "config.yaml"


def test_signing_in_is_remembered_where_nobody_else_can_read_it(nobody: Arable) -> None:
    ran = nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert "signed in" in ran.err
    assert stat.S_IMODE(config(nobody).stat().st_mode) == 0o600
    assert stat.S_IMODE(config(nobody).parent.stat().st_mode) == 0o700
    assert PASSWORD not in config(nobody).read_text()
    del nobody.environment["ARABLE_URL"]
    assert nobody.json("whoami")["name"] == "ann"


def test_signing_out_ends_the_session_and_forgets_it(nobody: Arable, served: Served) -> None:
    nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    token = yaml.safe_load(config(nobody).read_text())["profiles"]["default"]["token"]
    nobody("logout")
    assert token not in config(nobody).read_text()
    with served.http(token) as http:
        assert http.get("/v1/whoami").status_code == 401
    assert "arable login" in nobody("whoami", status=1).err
    assert "not signed in" in nobody("logout", status=1).err


def test_a_wrong_password_leaves_no_profile(nobody: Arable) -> None:
    nobody("login", "ann", "--password-stdin", stdin="wrong\n", status=1)
    nobody("login", "ann", "--password-stdin", stdin="", status=2)
    nobody("login", "ann", status=2)
    assert not config(nobody).exists()


def test_credentials_come_from_the_file_that_up_writes(nobody: Arable, served: Served) -> None:
    file = nobody.home / "operator.json"
    file.write_text(
        f'{{"name": "{served.first.name}", "password": "{served.first.password.reveal()}"}}'
    )
    nobody("login", "--credentials", str(file))
    assert nobody.json("whoami")["role"] == "operator"
    file.write_text("{}")
    nobody("login", "--credentials", str(file), status=1)


def test_the_file_is_used_where_its_server_answers(served: Served, nobody: Arable) -> None:
    file = nobody.home / "operator.json"
    file.write_text(
        f'{{"name": "{served.first.name}", "password": "{served.first.password.reveal()}"}}'
    )
    url = nobody.environment.pop("ARABLE_URL")
    (nobody.home / "server.json").write_text(f'{{"api": "{url}", "gateway": "x", "pid": 1}}')
    said = nobody("login", "--credentials", str(file))
    assert f"signed in to {url}" in said.err
    (nobody.home / "server.json").write_text('{"api": "http://127.0.0.1:1"}')
    assert "127.0.0.1:1" in nobody("login", "--credentials", str(file), status=1).err
    nobody("login", "--credentials", str(file), "--url", url)


def test_an_api_key_can_be_kept_instead(nobody: Arable, served: Served) -> None:
    key = served.key(served.operator)
    nobody("login", "--key-stdin", stdin=f"{key}\n")
    assert nobody.json("whoami")["name"] == served.first.name
    nobody("logout")
    with served.http(key) as http:
        assert http.get("/v1/whoami").status_code == 200, "a key outlives its profile"


def test_profiles_are_listed_used_and_removed(nobody: Arable) -> None:
    for name in ("one", "two"):
        nobody("login", "ann", "--profile", name, "--password-stdin", stdin=f"{PASSWORD}\n")
    nobody("profile", "use", "two")
    listed = {row["name"]: row["used"] for row in nobody.json("profile", "list")}
    assert listed == {"one": False, "two": True}
    nobody("profile", "remove", "one")
    assert [row["name"] for row in nobody.json("profile", "list")] == ["two"]
    nobody("profile", "use", "one", status=1)


def test_a_credential_is_sent_to_its_own_cloud_only() -> None:
    home = profiles.Profile(url="https://cloud.example.org", token="t", ca="/ca")
    kept = profiles.Profiles(profile="home", profiles={"home": home})
    assert profiles.chosen(kept, {}).token == "t"
    assert profiles.chosen(kept, {}, url="https://cloud.example.org:443/").token == "t"
    for other in ("https://evil.example.org", "http://cloud.example.org", "https://cloud.example.org:8443"):  # fmt: skip
        assert profiles.chosen(kept, {}, url=other).token == ""
        assert profiles.chosen(kept, {"ARABLE_URL": other}).token == ""
    assert profiles.chosen(kept, {"ARABLE_TOKEN": "x"}, url="https://evil.example.org").token == "x"
    assert "t'" not in repr(profiles.chosen(kept, {}))


def test_what_is_said_counts_more_than_the_environment_and_that_more_than_the_file() -> None:
    kept = profiles.Profiles(
        profile="a",
        profiles={name: profiles.Profile(url=f"http://{name}", token=name) for name in "abc"},
    )
    assert profiles.chosen(kept, {}).url == "http://a"
    assert profiles.chosen(kept, {"ARABLE_PROFILE": "b"}).token == "b"
    assert profiles.chosen(kept, {"ARABLE_PROFILE": "b"}, profile="c").token == "c"
    assert profiles.chosen(kept, {"ARABLE_URL": "http://x"}, url="http://y").url == "http://y"
    with pytest.raises(Failed):
        profiles.chosen(kept, {}, profile="nope")


@pytest.mark.parametrize("url", ["", "cloud", "ftp://x", "http://", "http://x:99999", "http://[x"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Failed):
        profiles.origin(url)


def test_a_file_that_others_can_read_is_warned_of(nobody: Arable) -> None:
    nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    config(nobody).chmod(0o644)
    assert "others can read" in nobody("whoami").err
    nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert stat.S_IMODE(config(nobody).stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["[", "profiles: 3", "nope: 1", "profiles: {a: {urls: x}}"])
def test_a_broken_file_is_an_error_that_names_it(nobody: Arable, text: str) -> None:
    config(nobody).parent.mkdir(parents=True)
    config(nobody).write_text(text)
    config(nobody).chmod(0o600)
    assert "config.yaml is not understood" in nobody("whoami", status=1).err


def test_xdg_says_where_the_file_is(nobody: Arable, tmp_path) -> None:
    nobody.environment["XDG_CONFIG_HOME"] = str(tmp_path / "elsewhere")
    nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (tmp_path / "elsewhere" / "arable" / "config.yaml").exists()


def test_a_password_is_changed_from_standard_input(nobody: Arable) -> None:
    nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n")
    new = "another password"
    nobody("user", "change-password", "--password-stdin", stdin=f"{PASSWORD}\n{new}\n")
    nobody("login", "ann", "--password-stdin", stdin=f"{PASSWORD}\n", status=1)
    nobody("login", "ann", "--password-stdin", stdin=f"{new}\n")
