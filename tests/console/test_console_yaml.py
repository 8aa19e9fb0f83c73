"""The console reads a part of YAML. Whatever it takes has to mean what it means for the command line, or be refused."""

import json
from collections.abc import Iterator
from random import Random  # noqa: TID251
from typing import Any

import pytest
import yaml

from arable.cli.documents import _loader

pytestmark = pytest.mark.real

SAMPLES = (
    """\
kind: farm
name: shop   # a comment
networks:
  - {name: front}
  - {name: back, cidr: 10.20.0.0/24, isolated: true}
tiers:
- name: web
  blueprint: 'it''s'
  networks: [front, "back"]
  least: 2
  windows:
    - {days: mon-fri, begin: "08:00",
       end: "18:00", least: 4}   # goes on
""",
    'kind: farm\npolicy:\n  targets:\n    - metric: cpu-percent\n      value: 60\n  steps: []\nempty: {}\nnone:\n"a b": ~\n',
    "---\n# nothing\na:\n  -\n    b: 1\n  - - c\n    - -5\nd: {e: [1, {f: null}], g: -0}\n",
    'a: "\\u00e4\\n\\\\ \\" \\U0001f600 \\t"\nb: [a b, c:d, "x"]\nc: ssh-ed25519 AAAA+/= me@here\n',
)
AWKWARD = (
    *("yes", "No", "ON", "off", "y", "0o17", "017", "0x1f", "1_000", "1e3", "1.5", ".5", "+1", "-1", "0", "00"),
    *("12:30", "08:00", "2026-11-23", "~", "Null", "TRUE", "true", "=", "<<", ".inf", "-.INF", ".nan", "1.2.3.4"),
    *("10.0.0.0/8", "a#b", "a #b", "a: b", "a:b", "- a", "-a", "? a", "?a", ":a", "&a b", "*a", "!a b", "!!int 3"),
    *("|", ">", "%a", "@a", "`a`", '"a" b', "'a", "[a", "{a}", "{a: b}}", "[a: b]", "[,]", "[a,,b]", "[a,]", "{a,}"),
    *("{a:b}", '{"a":b}', '"\\x41"', '"\\q"', '"\\ud800"', "__proto__", "constructor", "\u00a0", "\ufeff", "\x85", "a\tb"),
    *("-", "--", "---", "...", ",", "a,b", "[-]", "[?]", "[-1]", "{-: 1}", "{1: 2}", "1", "9007199254740993", "{? a: b}"),
    *('""', "''", "'a''b'", '"a\\\nb"', "a\n  b", "[a\n b]", "[a,\nb]", "{a: [b, {c: d}]}", "\ud7ff", "\U0001f600", '{"a" : 1}'),
)  # fmt: skip
LETTERS = " \n -:#,[]{}'\"\\&*!|>%@`~?019._exyno\t=<+\u00e9\u2028"
READ = """async (texts) => {
  const { read, write, Unreadable } = await import("/console/yaml.js");
  return texts.map((text) => {
    try {
      const value = read(text);
      const mapping = value !== null && typeof value === "object" && !Array.isArray(value);
      return [JSON.stringify(value), mapping ? write(value) : null];
    } catch (error) {
      if (!(error instanceof Unreadable)) throw error;
      return [null, error.message];
    }
  });
}"""


def strictly(text: str) -> Any:
    """As the command line reads it; the exception itself where it does not."""
    try:
        return yaml.load(text, Loader=_loader())
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a day that is in no calendar
        return error


def texts(rng: Random) -> Iterator[str]:
    yield from SAMPLES
    for each in AWKWARD:
        for around in ("{}", "a: {}", "a: [{}]", "a: {{b: {}, c: d}}", "{}: a", "- {}\n- b", "a:\n  {}\nb: c"):  # fmt: skip
            yield around.format(each)
    for _ in range(1000):
        text = rng.choice(SAMPLES)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(text))
            new = "".join(rng.choices(LETTERS, k=rng.randint(0, 3)))
            text = text[:at] + new + text[at + rng.choice((0, 0, 1, 2)) :]
        yield text


def test_what_is_read_is_what_the_command_line_reads(window):
    asked = list(texts(Random("console")))
    answers = window.page.evaluate(READ, asked)
    assert [said is not None for said, _ in answers[: len(SAMPLES)]] == [True] * len(SAMPLES)
    taken = 0
    for text, (said, written) in zip(asked, answers, strict=True):
        if said is None:
            assert written.startswith("line "), (text, written)
            continue
        taken += 1
        value = json.loads(said)
        meant = strictly(text)
        assert not isinstance(meant, Exception), (text, said, meant)
        assert json.dumps(value) == json.dumps(meant), (text, said)
        if written is not None:
            assert json.dumps(strictly(written)) == json.dumps(value), (text, written)
    assert 200 < taken < len(asked) - 200


def test_what_is_written_is_read_again_as_it_was(window):
    rng = Random("written")
    words = [each for each in AWKWARD if "\ud800" not in each] + ["a" * 90, "x y", "ä", "\n", ""]
    documents = [
        {
            "name": rng.choice(words),
            "tiers": [
                {rng.choice("abcdef"): rng.choice([1, -7, True, None, *words]) for _ in range(3)}
                for _ in range(rng.randint(0, 3))
            ],
            "deep": {"list": [[rng.choice(words)], {"of": [{"words": rng.choices(words, k=9)}]}]},
        }
        for _ in range(200)
    ]
    write = "async (all) => { const { write } = await import('/console/yaml.js'); return all.map(write); }"
    written = window.page.evaluate(write, documents)
    for document, text in zip(documents, written, strict=True):
        assert strictly(text) == document, text
    for document, (said, _) in zip(documents, window.page.evaluate(READ, written), strict=True):
        assert said is not None, (document, _)
        assert json.loads(said) == document
