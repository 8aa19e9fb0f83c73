"""Documentation that can't be wrong for long: its commands run, its links lead somewhere."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import ROOT, Page, pages
from reader import Reader
from typed_commands import commands, fault
from warm import warm

from arable.agent.config import File, Iscsi, Libvirt, Local, Nbd, read

NAMES = [page.name for page in pages()]
UP = [page.name for page in pages() if page.steps("up")]
LAB = [page.name for page in pages() if page.steps("lab")]


def page(name: str) -> Page:
    return Page(ROOT / name)


@pytest.fixture
def home() -> Iterator[Path]:
    """Short enough for the paths of sockets in it."""
    made = Path(tempfile.mkdtemp(prefix="arable-docs-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def tools() -> Iterator[Path]:
    """With an `arable` that need not import what it did for the command before."""
    with tempfile.TemporaryDirectory(prefix="arable-docs-") as made, warm(Path(made)) as folder:
        yield folder


@pytest.mark.parametrize("name", [name for name in UP if name != "README.md"])
def test_a_page_does_what_it_says(name: str, home: Path, tools: Path) -> None:
    (up,) = page(name).steps("up")
    with Reader(home, tools=tools).cloud(up.text) as reader:
        reader.read(page(name).steps())


def test_the_readme_does_what_it_says(home: Path) -> None:
    """With the program as it is installed."""
    readme = page("README.md")
    (up,) = readme.steps("up")
    with Reader(home).cloud(up.text) as reader:
        reader.read(readme.steps())


@pytest.mark.real
def test_pages_do_what_they_say_in_a_real_lab(home: Path) -> None:
    with Reader(home).cloud("arable up") as reader:
        for name in LAB:
            reader.read(page(name).steps("lab"))


def test_no_command_is_left_out_but_by_its_page_own_word() -> None:
    known = {"", "up", "lab", "elsewhere"}
    for each in pages():
        run = bool(each.steps("up"))
        for block in each.blocks():
            where = f"{each.name}:{block.line}"
            if block.language in ("sh", "console", "python"):
                assert block.tag in known, where
                assert run or block.tag in ("lab", "elsewhere"), f"{where}: no cloud is up"
            else:
                assert block.language not in ("bash", "shell", "shell-session"), where


@pytest.mark.parametrize("name", NAMES)
def test_commands_for_elsewhere_exist(name: str) -> None:
    for block in page(name).blocks():
        if block.tag == "elsewhere":
            for words in commands(block.text):
                assert not fault(words), f"{name}:{block.line}: {fault(words)}"


@pytest.mark.parametrize("name", NAMES)
def test_commands_within_sentences_exist(name: str) -> None:
    for span in page(name).spans():
        for words in commands(span) if span.startswith("arable ") and "…" not in span else ():
            assert not fault(words), f"{name}: {fault(words)}"


def test_an_agents_configuration_is_one_that_agents_read(tmp_path) -> None:
    blocks = [b for each in pages() for b in each.blocks() if b.language == "yaml"]
    found = {b.tag: b for b in blocks if b.tag.endswith("agent.yaml")}
    configs = {}
    for tag, block in found.items():
        file = tmp_path / tag
        file.write_text(block.text)
        configs[tag] = read(file)
    assert isinstance(configs["agent.yaml"].hypervisor, Libvirt)
    assert {type(each.storage) for each in configs.values()} == {Local, Nbd, Iscsi, File}
    assert configs["compute-with-files-agent.yaml"].file_pools == [
        configs["keeper-agent.yaml"].storage.directory
    ]


def test_verbs_of_make_exist() -> None:
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for each in pages():
        text = "\n".join([*each.spans(), *(block.text for block in each.blocks())])
        named = set(re.findall(r"^(?:\$ )?make ([a-z]+)", text, re.MULTILINE))
        assert named <= verbs, each.name


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    assert not fault(["machine", "deploy", "web", "--count", "3"])
    assert not fault(["lab", "fail", "WHAT", "NAME"])
    assert "frob" in fault(["machine", "frob"])
    assert "--nope" in fault(["machine", "list", "--nope"])


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    this = page(name)
    for link in this.links():
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = (this.path.parent / file).resolve() if file else this.path
        assert target.exists(), f"{name}: {link}"
        assert target.is_relative_to(ROOT), f"{name}: {link}"
        if anchor:
            assert anchor in Page(target).anchors(), f"{name}: {link}"


def test_every_page_can_be_found() -> None:
    """From the README, by links."""
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path in seen or path.suffix != ".md" or not path.exists():
            continue
        seen.add(path)
        links = [link.partition("#")[0] for link in Page(path).links() if ":" not in link]
        for target in ((path.parent / link).resolve() for link in links if link):
            ahead += sorted(target.glob("*.md")) if target.is_dir() else [target]
    assert {each.path for each in pages()} <= seen
