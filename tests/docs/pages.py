"""Our documentation as data: its pages, the blocks in them, and what of a block can be run.

The word after a block's language says where it runs; without one, against a cloud on simulated hosts:

    ```sh                  commands; all of them must succeed
    ```console             commands after `$ `, each followed by what it prints; `…` stands for any lines
    ```sh up               brings up the cloud that the page's other blocks talk to
    ```sh lab              needs a real lab
    ```sh elsewhere        can't run in a test: its commands must exist, with their options
    ```yaml NAME           a file of that name
    ```python              a program
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FENCE = re.compile(r"^```(?P<said>.*)$")
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_TITLE = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FOR_SHELLS = ("sh", "console", "python")


@dataclass(frozen=True)
class Block:
    """What stands between two fences. `line` is that of the first fence."""

    line: int
    language: str
    tag: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether it is one of those that a page's session runs in order."""
        return self.language in _FOR_SHELLS or bool(self.language == "yaml" and self.tag)


@dataclass(frozen=True)
class Step:
    """Something to run. `prints` is what the page says it prints; None: nothing is said."""

    line: int
    text: str
    prints: tuple[str, ...] | None = None

    @property
    def refused(self) -> bool:
        """Whether the page shows it failing."""
        return any(line.startswith("error:") for line in self.prints or ())


@dataclass(frozen=True)
class Page:
    """One document."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text()

    def blocks(self) -> Iterator[Block]:
        inside: list[str] | None = None
        said, began = "", 0
        for number, line in enumerate(self.text.splitlines(), 1):
            fence = _FENCE.match(line)
            if inside is None and fence:
                inside, said, began = [], fence["said"], number
            elif inside is not None and fence:
                language, _, tag = said.partition(" ")
                yield Block(began, language, tag.strip(), "\n".join(inside))
                inside = None
            elif inside is not None:
                inside.append(line)
        assert inside is None, f"{self.name}: the block of line {began} has no end"

    def steps(self, tag: str = "") -> list[Step]:
        """What to run of the blocks with this tag; files go with those without any."""
        return [
            step
            for block in self.blocks()
            if block.runs and (block.tag == tag or (block.language == "yaml" and not tag))
            for step in steps(block)
        ]

    def prose(self) -> str:
        """Without its blocks."""
        return re.sub(r"^```.*?^```$", "", self.text, flags=re.MULTILINE | re.DOTALL)

    def spans(self) -> list[str]:
        """What stands between backticks in the prose."""
        return _SPAN.findall(self.prose())

    def links(self) -> list[str]:
        return _LINK.findall(self.prose())

    def anchors(self) -> set[str]:
        """The titles as one can link to them."""
        titles = _TITLE.findall(self.prose())
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def pages() -> list[Page]:
    return [Page(path) for path in PAGES]


def steps(block: Block) -> Iterator[Step]:
    match block.language:
        case "console":
            yield from _console(block)
        case "python":
            yield Step(block.line, f"python - <<'PROGRAM'\n{block.text}\nPROGRAM")
        case "yaml":
            yield Step(block.line, f"cat > {block.tag} <<'FILE'\n{block.text}\nFILE")
        case _:
            yield Step(block.line, block.text)


def _console(block: Block) -> Iterator[Step]:
    command, line, prints = "", 0, []
    for number, text in enumerate(block.text.splitlines(), block.line + 1):
        if text.startswith("$ "):
            if command:
                yield Step(line, command, tuple(prints))
            command, line, prints = text[2:], number, []
        else:
            prints.append(text)
    yield Step(line, command, tuple(prints))
