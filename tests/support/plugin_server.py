"""A small API server on loopback for tests of the plugin: answers with what a test put there."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml


@dataclass
class Server:
    """Answers by path: with a document, with the pages of a list, or with a number as the code of an error."""

    objects: dict[str, Any]
    url: str = ""
    patches: list[Any] = field(default_factory=list)
    """What was patched: (path, content type, body)."""
    asked: list[str] = field(default_factory=list)
    """Every path that was read."""


def page(items: list[Any], query: Mapping[str, list[str]]) -> dict[str, Any]:
    """The part of a list that `limit` and `continue` ask for."""
    first, most = int(query.get("continue", ["0"])[0]), int(query.get("limit", ["500"])[0])
    rest = len(items) > first + most
    return {"metadata": {"continue": str(first + most)} if rest else {}, "items": items[first : first + most]}


@contextmanager
def serving(objects: Mapping[str, Any]) -> Iterator[Server]:
    """A server while the block lasts."""
    state = Server(dict(objects))

    class Handler(BaseHTTPRequestHandler):
        def answer(self, code: int, body: Any) -> None:
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            state.asked.append(address.path)
            found = state.objects.get(address.path)
            if isinstance(found, int):
                self.answer(found, {"kind": "Status", "message": "refused in the test"})
            elif found is None:
                self.answer(404, {"kind": "Status", "reason": "NotFound", "message": f"{address.path} not found"})
            else:
                self.answer(200, page(found, parse_qs(address.query)) if isinstance(found, list) else found)

        def do_PATCH(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.patches.append((self.path, self.headers["Content-Type"], body))
            self.answer(200, state.objects[self.path])

        def log_message(self, *_: object) -> None:
            return

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def write_kubeconfig(path: Path, server: Server) -> list[str]:
    """A kubeconfig for it in namespace `shop`, as the options that name it."""
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "lab",
                "clusters": [{"name": "lab", "cluster": {"server": server.url}}],
                "users": [{"name": "me", "user": {}}],
                "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "me", "namespace": "shop"}}],
            }
        )
    )
    return ["--kubeconfig", str(path)]
