"""A web server somewhere on the internet: tells every caller the address it came from, as the outside sees it.

Run by path with a bare interpreter in the device `internet`: `python -I -S outside_server.py ADDRESS PORT`.
Its answers show that source NAT works, and as whom a machine appears.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Tell(BaseHTTPRequestHandler):
    """Answers any path with who asked."""

    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        body = json.dumps({"caller": self.client_address[0], "path": self.path}).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Tell).serve_forever()
