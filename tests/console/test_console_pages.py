"""What the server gives browsers: the console's files and no others, under a policy that leaves scripts nothing to play with."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder

from arable.api.routes import OPERATIONS
from arable.console.pages import FILES, routes
from databases import fresh_sqlite
from serving import serving

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.name for path in FILES.iterdir())
SCRIPTS = [name for name in NAMES if name.endswith(".js")]
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
RISKY = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|Function\(|DOMParser|"
    r"createContextualFragment|srcdoc|javascript:|setHTML|createPolicy|localStorage|document\.cookie|postMessage|"
    r"\.style\b|setAttribute\(\"(?:style|on)|import\(|EventSource|sendBeacon|window\.open"
)
CALLERS = re.compile(r"\bfetch\(|WebSocket\(|XMLHttpRequest\(")
CALLED = re.compile(r'(?:call\("([A-Z]+)", |list\()(["`])(/v1/[^"`]*)\2')


@pytest.fixture(scope="module")
def http(tmp_path_factory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("console")
    with (
        fresh_sqlite(directory) as database,
        serving(database, directory, routes=lambda _around: routes()) as served,
        served.http() as client,
    ):
        yield client


def test_there_is_something_to_look_at():
    assert {"index.html", "main.js", "console.css", "icon.svg"} <= set(NAMES)
    assert {path.suffix for path in FILES.iterdir()} <= set(TYPES)


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_served_under_the_policy(http, name):
    answer = http.get("/console/" if name == "index.html" else f"/console/{name}")
    assert answer.status_code == 200
    assert answer.content == (FILES / name).read_bytes()
    assert answer.headers["content-type"] == TYPES[Path(name).suffix]
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))  # fmt: skip
    assert policy == {
        **dict.fromkeys(("script-src", "style-src", "connect-src", "img-src"), "'self'"),
        **dict.fromkeys(("default-src", "form-action", "frame-ancestors", "base-uri"), "'none'"),
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "set-cookie" not in answer.headers


def test_the_page_is_not_kept_and_its_parts_are_sent_once(http):
    assert http.get("/console/").headers["cache-control"] == "no-store"
    first = http.get("/console/main.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    again = http.get("/console/main.js", headers={"if-none-match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "content-security-policy" in again.headers
    assert http.get("/console/main.js", headers={"if-none-match": '"other"'}).status_code == 200
    assert http.get("/console/api.js").headers["etag"] != tag


@pytest.mark.parametrize("path", ["/", "/console"])
def test_who_knows_the_address_alone_comes_to_the_console(http, path):
    answer = http.get(path)
    assert (answer.status_code, answer.headers["location"]) == (307, "/console/")


@pytest.mark.parametrize(
    "path",
    [
        *("index.html", "pages.py", "__init__.py", "files/", "nothing.js", "main.js/", "main.js%00"),
        *("../pages.py", "%2e%2e/pages.py", "..%2fpages.py", "..%5cpages.py", "....//pages.py"),
        *("%2fetc%2fpasswd", "//etc/passwd", "%2e%2e%2f%2e%2e%2fapi/pages/docs.js", "./../../py.typed"),
    ],
)  # fmt: skip
def test_nothing_else_is_there(http, path):
    request = http.build_request("GET", "/console/x")
    request.url = request.url.copy_with(raw_path=f"/console/{path}".encode())
    answer = http.send(request)
    assert answer.status_code in (404, 307), (
        answer.text
    )  # 307: the same path without its last slash
    assert answer.headers.get("location", "/console/").endswith(("/console/", "/console/main.js"))


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_pages_are_only_read(http, method):
    assert http.request(method, "/console/").status_code == 405
    assert http.request(method, "/console/main.js").status_code == 405


@pytest.mark.parametrize("name", NAMES)
def test_text_is_text_and_nothing_comes_from_elsewhere(name):
    text = (FILES / name).read_text()
    assert not RISKY.search(text), RISKY.search(text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")|@import|url\(", text)
    assert not re.search(r"<style|\sstyle=|<script(?! type=\"module\" src=\"/console/)|\son[a-z]+=\"", text)  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_each_other_alone(name):
    said = re.findall(r"\bfrom \"([^\"]+)\"", (FILES / name).read_text())
    assert all(each.startswith("./") and each[2:] in SCRIPTS for each in said)


def test_links_are_made_in_one_place_which_lets_none_lead_away():
    makers = [name for name in SCRIPTS if "createElement" in (FILES / name).read_text()]
    assert makers == ["element.js"]


def test_the_server_is_called_in_one_place():
    callers = [name for name in SCRIPTS if CALLERS.search((FILES / name).read_text())]
    assert callers == ["api.js"]


def test_what_the_console_calls_is_in_the_api():
    known = {(op.method, re.sub(r"\{\w+\}", "{}", op.path)) for op in OPERATIONS}
    called = set()
    for name in SCRIPTS:
        for method, _quote, path in CALLED.findall((FILES / name).read_text()):
            called.add((method or "GET", re.sub(r"\$\{[^}]*\}", "{}", path)))
    called.discard(("POST", "/v1/rollouts/{}/{}"))  # one of three verbs
    assert len(called) > 12
    assert called <= known


def test_a_wheel_has_all_of_it():
    built = {each.distribution_path for each in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"arable/console/files/{name}" for name in NAMES} <= built
