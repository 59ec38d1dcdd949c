"""The mirror's way out: hands requests from a unix socket on to Debian's archive. Runs in a container on the host's network.

    python3 uplink.py SOCKET '{"debian": "http://...", "debian-security": "http://..."}' '{"http": "http://proxy:3128"}'

The lab's network has no way out, so the caching server on it asks through this socket. Standard library only.
"""

import http.server
import json
import shutil
import socketserver
import sys
import tempfile
import urllib.error
import urllib.request
from http.client import HTTPMessage, HTTPResponse
from pathlib import Path

_PASSED_ON = ("If-Modified-Since", "If-None-Match", "Range", "If-Range")
_PASSED_BACK = ("Content-Length", "Content-Range", "Content-Type", "ETag", "Last-Modified")
_TIMEOUT = 60.0


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET and HEAD of /NAME/path by the archive that NAME stands for."""

    server: "Uplink"

    def do_GET(self) -> None:
        """Fetch and hand on."""
        self._hand_on()

    def do_HEAD(self) -> None:
        """Fetch the headers and hand them on."""
        self._hand_on()

    def address_string(self) -> str:
        """The client of a unix socket has no address."""
        return "mirror"

    def _hand_on(self) -> None:
        name, _, path = self.path.lstrip("/").partition("/")
        upstream = self.server.upstreams.get(name)
        if upstream is None or not upstream.startswith(("http://", "https://")):
            self.send_error(404, "No such archive")
            return
        headers = {key: value for key in _PASSED_ON if (value := self.headers.get(key))}
        request = urllib.request.Request(f"{upstream}/{path}", headers=headers, method=self.command)  # noqa: S310 - http or https, checked above
        try:
            with self.server.opener.open(request, timeout=_TIMEOUT) as answer:
                if self.command == "GET" and answer.status == 200 and answer.headers.get("Content-Length") is None:
                    self._answer_whole(answer)
                    return
                self._answer(answer.status, answer.headers)
                if self.command == "GET":
                    shutil.copyfileobj(answer, self.wfile, 1 << 18)
        except urllib.error.HTTPError as error:
            self._answer(error.code, HTTPMessage())
        except (urllib.error.URLError, TimeoutError) as error:
            self.send_error(502, "The archive cannot be reached", str(error))
        except OSError:
            # Either side has gone in the middle of the body: the short body tells the client.
            self.close_connection = True

    def _answer_whole(self, answer: HTTPResponse) -> None:
        """Hand on a body of unknown length only when it is complete: a broken one must not be taken for a short one."""
        with tempfile.TemporaryFile() as body:
            shutil.copyfileobj(answer, body)
            answer.headers["Content-Length"] = str(body.tell())
            body.seek(0)
            self._answer(answer.status, answer.headers)
            shutil.copyfileobj(body, self.wfile, 1 << 18)

    def _answer(self, status: int, headers: HTTPMessage) -> None:
        self.log_request(status)
        self.send_response_only(status)
        for key in _PASSED_BACK:
            if headers.get(key):
                self.send_header(key, headers[key])
        self.send_header("Connection", "close")
        self.end_headers()


class Uplink(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """A threaded HTTP server on a unix socket. upstreams: base URL by name; proxies: URL by scheme."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, socket: str, upstreams: dict[str, str], proxies: dict[str, str]) -> None:
        self.upstreams = upstreams
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
        Path(socket).unlink(missing_ok=True)
        super().__init__(socket, Handler)
        Path(socket).chmod(0o666)


if __name__ == "__main__":
    with Uplink(sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])) as server:
        server.serve_forever()
