"""A stand-in of the Hugging Face Hub on this machine: the requests that make a dataset, write to it and read it."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_this_is_no_real_token"  # noqa: S105
OWNER = "mira"


class Hub:
    """The datasets of a hub.

    Attributes:
        datasets: The files of every dataset, by its name.
        private: The datasets that were made private.
        status: A status to answer everything with; None to work.
        authorised: The value of the header of every request.
    """

    def __init__(self):
        self.datasets, self.private, self.status, self.authorised = {}, set(), None, []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._refused():
            return
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/main", self.path):
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", self.path):
            self._commit(match[1], [json.loads(line) for line in body.splitlines()])
        elif self.path.endswith("/validate-yaml") or self.path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        else:
            self._json({"error": self.path}, 404)

    def do_GET(self):
        if self._refused():
            return
        path = self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            self._json({"name": OWNER, "type": "user", "orgs": []})
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/tree/[^/]+", path):
            files = self.hub.datasets.get(match[1])
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": sha(data)}
                for name, data in (files or {}).items()
            ]
            self._json(entries if files is not None else {"error": "none"}, 200 if files is not None else 404)
        elif match := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            self._info(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(match[1], match[2])
        else:
            self._json({"error": path}, 404)

    do_HEAD = do_GET  # noqa: N815

    def _refused(self):
        self.hub.authorised.append(self.headers.get("Authorization"))
        if self.hub.status is not None:
            self._json({"error": "no"}, self.hub.status)
        return self.hub.status is not None

    def _create(self, request):
        name = f"{request.get('organization') or OWNER}/{request['name']}"
        there = name in self.hub.datasets
        self.hub.datasets.setdefault(name, {".gitattributes": b""})
        if request.get("private") or request.get("visibility") == "private":
            self.hub.private.add(name)
        url = f"http://{self.headers['Host']}/datasets/{name}"
        self._json({"url": url, "name": name, "id": name}, 409 if there else 200)

    def _commit(self, name, lines):
        files = self.hub.datasets[name]
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            elif line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        url = f"http://{self.headers['Host']}/datasets/{name}/commit/{commit(files)}"
        self._json({"success": True, "commitOid": commit(files), "commitUrl": url})

    def _info(self, name, revision):
        files = self.hub.datasets.get(name)
        if files is None or revision not in ("main", commit(files)):
            error = "RepoNotFound" if files is None else "RevisionNotFound"
            self._json({"error": error}, 404, {"X-Error-Code": error})
            return
        siblings = [{"rfilename": path} for path in files]
        self._json(
            {"id": name, "sha": commit(files), "private": False, "tags": [], "downloads": 0, "siblings": siblings}
        )

    def _file(self, name, path):
        files = self.hub.datasets.get(name, {})
        if path not in files:
            self._json({"error": path}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{sha(files[path])}"', "X-Repo-Commit": commit(files)}
        self._send(files[path], 200, headers)

    def _json(self, value, status=200, headers=None):
        self._send(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def _send(self, data, status, headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def sha(data):
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def commit(files):
    return sha(repr(sorted(files.items())).encode())


@contextmanager
def serve():
    """Yield a hub and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield hub, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
