"""Web servers in namespaces that say who they are, and callers that count what fails."""

import http.client
import http.server
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from arable.drivers import namespaces
from arable.runtime.clock import RealClock
from drivers.emulated_hosts import bound

PATIENCE = 20.0


class Web:
    """A server that can be killed: what it had is reset, and nobody listens any more."""

    def __init__(self, netns: str, address: str, port: int, name: str) -> None:
        self.name, self.healthy, self.heard = name, True, Counter()
        self._open: set[socket.socket] = set()
        door = bound(netns, (address, port), socket.SOCK_STREAM)
        web = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                web._open.add(self.connection)

            def do_GET(self) -> None:
                web.heard[self.path] += 1
                if self.path != "/health":
                    web.heard[f"from {self.headers.get('X-Forwarded-For')}"] += 1
                    web.heard[f"by {self.headers.get('X-Forwarded-Proto')}"] += 1
                body = web.name.encode()
                self.send_response(200 if web.healthy or self.path != "/health" else 503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((address, port), Answer, False)
        self._server.socket.close()
        self._server.socket, self._server.daemon_threads = door, True
        self._server.handle_error = lambda *_args: None
        door.listen(64)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def kill(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for each in self._open:
            each.close()


@contextmanager
def web(netns: str, address: str, port: int, name: str) -> Iterator[Web]:
    made = Web(netns, address, port, name)
    try:
        yield made
    finally:
        made.kill()


def request(
    netns: str,
    address: str,
    port: int,
    cookie: str = "",
    tls: ssl.SSLContext | None = None,
    name: str = "",
) -> tuple[str, str]:
    """Who answered, and the cookie that came with it."""

    def act() -> socket.socket:
        return socket.create_connection((address, port), timeout=PATIENCE)

    line = namespaces.inside(netns, act)
    if tls:
        line = tls.wrap_socket(line, server_hostname=name)
    talk = http.client.HTTPConnection(address, port)
    talk.sock = line
    try:
        talk.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = talk.getresponse()
        said = answer.read().decode()
        if answer.status != 200:
            raise OSError(f"{answer.status} {said}")
        return said, (answer.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        talk.close()


@contextmanager
def line(netns: str, address: str, port: int) -> Iterator[socket.socket]:
    """A connection on which nothing is said."""

    def act() -> socket.socket:
        return socket.create_connection((address, port), timeout=PATIENCE)

    with namespaces.inside(netns, act) as made:
        yield made


@dataclass
class Callers:
    """Threads that ask without a pause; `failed` is what went wrong."""

    netns: str
    address: str
    port: int
    answered: Counter = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def _ask(self) -> None:
        while not self._over.is_set():
            try:
                said, _ = request(self.netns, self.address, self.port)
                self.answered[said] += 1
            except OSError as error:
                self.failed.append(str(error))

    def more(self, count: int) -> None:
        """Return when so many more were answered."""
        clock = RealClock()
        end, begun = clock.monotonic() + 60, self.answered.total()
        while self.answered.total() < begun + count and clock.monotonic() < end:
            clock.wait(timedelta(milliseconds=10))
        assert self.answered.total() >= begun + count, self.failed[-3:]


@contextmanager
def calling(netns: str, address: str, port: int, threads: int = 3) -> Iterator[Callers]:
    made = Callers(netns, address, port)
    crowd = [threading.Thread(target=made._ask, daemon=True) for _ in range(threads)]
    for each in crowd:
        each.start()
    try:
        yield made
    finally:
        made._over.set()
        for each in crowd:
            each.join(PATIENCE)


def certificate(name: str, address: str = "") -> tuple[str, str]:
    """A self-signed certificate and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if address:
        names.append(x509.IPAddress(ip_address(address)))
    now = RealClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()
