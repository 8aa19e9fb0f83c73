"""The management controllers of a lab's hosts: Redfish over HTTPS, as far as switching power needs it.

One process of the machine serves those of all hosts, each as a system of its own, as the controller of a blade chassis
does. It listens on the machine's loopback, where the lab's management servers are: like a real out-of-band network, it
can't be reached from hosts, guests or the lab's networks. Its switches are `fail.power_off` and `fail.power_on`, so a
host that is fenced in a lab is as much without power as one that an operator breaks.

What is switched takes its time. It is begun at once and told as `PoweringOff` or `PoweringOn` until it is done.
"""

import base64
import hashlib
import hmac
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec

from arable.domain.errors import CloudError, Unavailable
from arable.lab import fail, living
from arable.lab.build import open_site
from arable.lab.devices import environment
from arable.lab.plan import Kind
from arable.lab.power import Site
from arable.runtime.ca import Authority, IdentityKind, keep, new_request
from arable.runtime.clock import Clock, RealClock
from arable.runtime.entropy import Entropy
from arable.runtime.secret import Secret

USER = "arable"
_FOLDER = "bmc"
_READY = "ready.json"
_ROOT = "/redfish/v1"
_RESET = "Actions/ComputerSystem.Reset"
_DAYS = 365
_WITHIN = 30.0  # seconds for the process to come up
_MOST = 4096  # bytes of a request's body


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """Where it listens, and by which certificate it is known (SHA-256)."""

    url: str
    fingerprint: str

    def system(self, host: str) -> str:
        """The URL of a host's."""
        return f"{self.url}{_ROOT}/Systems/{host}"


@dataclass(slots=True)
class Rack:
    """Switches hosts, each by one thread at a time."""

    hosts: tuple[str, ...]
    powered: Callable[[str], bool]
    switch: Callable[[str, bool], None]
    _busy: dict[str, bool] = field(default_factory=dict)  # host: whether it is to be on
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def state(self, host: str) -> str:
        """As Redfish names it."""
        with self._lock:
            wanted = self._busy.get(host)
        if wanted is not None:
            return "PoweringOn" if wanted else "PoweringOff"
        return "On" if self.powered(host) else "Off"

    def reset(self, host: str, *, on: bool) -> bool:
        """Begin with it; False while something else is being done."""
        with self._lock:
            if host in self._busy:
                return self._busy[host] == on
            self._busy[host] = on
        threading.Thread(target=self._do, args=(host, on), name=f"power of {host}").start()
        return True

    def _do(self, host: str, on: bool) -> None:
        try:
            self.switch(host, on)
            print(f"{host} is {'on' if on else 'off'}", flush=True)
        except CloudError as error:
            print(f"{host}: {error.public}", file=sys.stderr, flush=True)
        finally:
            with self._lock:
                del self._busy[host]


def serve(rack: Rack, password: Secret, certificate: Path, key: Path) -> ThreadingHTTPServer:
    """A server that is bound and not running yet."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_GET(self) -> None:
            public = self.path.rstrip("/") == _ROOT  # as the standard has it
            self._answer(*(_get(rack, self.path) if public or self._known() else _UNKNOWN))

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length) if 0 <= length <= _MOST else b""
            self._answer(*(_post(rack, self.path, body) if self._known() else _UNKNOWN))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """What was switched is told by the rack."""

        def _known(self) -> bool:
            said = self.headers.get("authorization", "")
            right = base64.b64encode(f"{USER}:{password.reveal()}".encode()).decode()
            return hmac.compare_digest(said.encode(), f"Basic {right}".encode())

        def _answer(self, status: HTTPStatus, document: dict[str, Any] | None) -> None:
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("www-authenticate", "Basic")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            """The handshake is made on the connection's own thread: a caller that does not speak holds up nobody."""
            request.settimeout(Handler.timeout)
            with suppress(OSError), context.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Server(("127.0.0.1", 0), Handler)


Told = tuple[HTTPStatus, dict[str, Any] | None]


def _error(status: HTTPStatus, text: str) -> Told:
    return status, {"error": {"code": "Base.1.0.GeneralError", "message": text}}


_UNKNOWN = _error(HTTPStatus.UNAUTHORIZED, "sign in")


def _get(rack: Rack, path: str) -> Told:
    path = path.rstrip("/")
    if path == _ROOT:
        return HTTPStatus.OK, {
            "@odata.id": f"{_ROOT}/",
            "Id": "RootService",
            "Name": "the BMCs of a lab",
            "RedfishVersion": "1.6.0",
            "Systems": {"@odata.id": f"{_ROOT}/Systems"},
        }
    if path == f"{_ROOT}/Systems":
        return HTTPStatus.OK, {
            "@odata.id": path,
            "Name": "hosts",
            "Members": [{"@odata.id": f"{path}/{host}"} for host in rack.hosts],
            "Members@odata.count": len(rack.hosts),
        }
    host = path.removeprefix(f"{_ROOT}/Systems/")
    if host not in rack.hosts:
        return _error(HTTPStatus.NOT_FOUND, "there is nothing")
    return HTTPStatus.OK, {
        "@odata.id": path,
        "Id": host,
        "Name": host,
        "PowerState": rack.state(host),
        "Actions": {
            "#ComputerSystem.Reset": {
                "target": f"{path}/{_RESET}",
                "ResetType@Redfish.AllowableValues": ["On", "ForceOff"],
            }
        },
    }


def _post(rack: Rack, path: str, body: bytes) -> Told:
    host, _, action = path.removeprefix(f"{_ROOT}/Systems/").partition("/")
    if host not in rack.hosts or action != _RESET:
        return _error(HTTPStatus.NOT_FOUND, "there is nothing")
    try:
        wanted = msgspec.json.decode(body, type=dict[str, str]).get("ResetType")
    except msgspec.DecodeError:
        wanted = None
    if wanted not in ("On", "ForceOff"):
        return _error(HTTPStatus.BAD_REQUEST, "ResetType is On or ForceOff")
    if not rack.reset(host, on=wanted == "On"):
        return _error(HTTPStatus.CONFLICT, "it is being switched the other way")
    return HTTPStatus.NO_CONTENT, None


# --- the process --------------------------------------------------------------------------------------------------


def start(site: Site, entropy: Entropy) -> tuple[Ready, Secret]:
    """The lab's controllers run; where, and the password. The lab's end takes them along, as all that is marked its."""
    home = site.place.root / _FOLDER
    home.mkdir(mode=0o700, exist_ok=True)
    password = Secret(entropy.secret(24))
    keep(home / "password", password, entropy)
    ready, log = home / _READY, site.place.log("bmc")
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-m", __name__, str(site.place.data)]
    pid = os.posix_spawn(
        sys.executable,
        argv,
        environment(site.place.id),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    process = living.process(pid)
    return _await(site.clock, ready, log, lambda: bool(process and process.alive)), password


def _await(clock: Clock, ready: Path, log: Path, lives: Callable[[], bool]) -> Ready:
    end = clock.monotonic() + _WITHIN
    while clock.monotonic() < end and lives():
        if ready.exists():
            return msgspec.json.decode(ready.read_bytes(), type=Ready)
        clock.wait(timedelta(milliseconds=50))
    raise Unavailable(f"the lab's BMCs did not come up: {log.read_text().strip()[-500:]}")


def main(data: Path) -> None:
    """Serve until killed."""
    clock, entropy = RealClock(), Entropy.system()
    site = open_site(data, clock)
    home = site.place.root / _FOLDER
    authority = Authority.open(home / "authority", clock, entropy)
    made = new_request("bmc")
    signed = authority.sign(
        made.request, "bmc", IdentityKind.SERVER, _DAYS * 24, ["127.0.0.1", "localhost"]
    )
    keep(home / "key.pem", made.key, entropy)
    keep(home / "certificate.pem", signed, entropy)
    rack = Rack(
        tuple(device.name for device in site.plan.of(Kind.HOST)),
        lambda host: site.init(host) is not None,
        lambda host, on: fail.power_on(site, host) if on else fail.power_off(site, host),
    )
    password = Secret((home / "password").read_text())
    server = serve(rack, password, home / "certificate.pem", home / "key.pem")
    print_ = hashlib.sha256(ssl.PEM_cert_to_DER_cert(signed)).hexdigest()
    where = Ready(url=f"https://127.0.0.1:{server.server_address[1]}", fingerprint=print_)
    keep(home / _READY, msgspec.json.encode(where).decode(), entropy)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
