"""A server that speaks NDIF's protocol for requests that are polled: a stand-in for it at the level of the protocol.

Run as a script it serves one model folder on 127.0.0.1, in a process of its own that cannot import the toolkit: what a
request needs must travel with it. Built on nnsight's own `RequestModel.deserialize` and `tracer.execute`, as NDIF's
server is. What it is not: NDIF (no queue, no sandbox, no GPU, no storage service).

    python loopback.py FOLDER [--attention eager]

prints its address. `POST /faults` takes a JSON list of faults for the next questions, see `Faults`.
"""

import argparse
import importlib.util
import io
import json
import linecache
import sys
import threading
import time
import traceback
import uuid
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

TOOLKIT = ("results", "tracing", "induction", "importance", "viz", "headcount")


class Hidden:
    """Keeps the toolkit from being imported, wherever it is installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in TOOLKIT:
            raise ModuleNotFoundError(f"No module named {name!r} on this server", name=name)


class Served:
    """The model, the jobs, and what went over the wire."""

    def __init__(self, folder, attention):
        from nnsight.modeling.transformers import TransformersModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)
        self.model = TransformersModel(hf, tokenizer=AutoTokenizer.from_pretrained(folder))
        self.model._module.requires_grad_(False)
        self.jobs, self.results, self.waiting = {}, {}, Queue()
        self.faults = []
        self.counts = {"requests": 0, "runs": 0, "sent": 0}
        threading.Thread(target=self.work, daemon=True).start()

    def work(self):
        while True:
            job, blob = self.waiting.get()
            self.jobs[job] = {"id": job, "status": "RUNNING"}
            self.counts["runs"] += 1
            try:
                self.results[job] = self.run(blob)
                self.jobs[job] = {"id": job, "status": "COMPLETED", "data": f"/result/{job}"}
            except BaseException:
                self.jobs[job] = {"id": job, "status": "ERROR", "description": traceback.format_exc()}

    def run(self, blob):
        import torch
        import zstandard
        from nnsight.schema.request import RequestModel
        from nnsight.tracing import globals as traced
        from nnsight.tracing import tracer as tracing

        kept = dict(linecache.cache), dict(traced.SOURCES), dict(traced.BLOCKS)
        tracing.inc()
        try:
            tracer = RequestModel.deserialize(blob, self.model._remoteable_persistent_objects(), True)
            tracer.execute(tracer.info.code)
            saved = {name: value for name, value in tracer.info.frame.f_locals.items() if id(value) in tracing._saves()}
        finally:
            tracing.dec()
            for cache, before in zip((linecache.cache, traced.SOURCES, traced.BLOCKS), kept, strict=True):
                cache.clear()
                cache.update(before)
        file = io.BytesIO()
        torch.save(saved, file)
        return zstandard.ZstdCompressor().compress(file.getvalue())


class Handler(BaseHTTPRequestHandler):
    """Answers questions, and goes wrong when told to."""

    protocol_version = "HTTP/1.1"
    served: Served

    def log_message(self, *_):
        pass

    def answer(self, content, status=200, headers=(), declared=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if declared is None else declared))
        self.end_headers()
        self.wfile.write(body)

    def fault(self):
        """The next fault for this path, if there is one."""
        for place, fault in enumerate(self.served.faults):
            if self.path.startswith(fault["path"]):
                return self.served.faults.pop(place)
        return None

    def goes_wrong(self, fault):
        """Whether the fault was all the answer there is."""
        kind = fault and fault["kind"]
        if kind == "status":
            self.answer({"detail": fault.get("detail", "")}, fault["status"])
        elif kind == "drop":
            self.connection.close()
            self.close_connection = True
        elif kind == "garbage":
            self.answer(b"<html>not this</html>")
        elif kind == "slow":
            time.sleep(fault["seconds"])
            return False
        return kind in ("status", "drop", "garbage")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/faults":
            self.served.faults = json.loads(body)
            return self.answer({})
        fault = self.fault()
        if fault and fault.get("when") == "after":
            self.submit(body)
        if self.goes_wrong(fault):
            return None
        return self.answer(self.submit(body))

    def submit(self, body):
        message = message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.get_payload()}
        json.loads(parts["data"].get_payload(decode=True))
        job = uuid.uuid4().hex
        self.served.counts["requests"] += 1
        self.served.jobs[job] = {"id": job, "status": "QUEUED"}
        self.served.waiting.put((job, parts["blob"].get_payload(decode=True)))
        return {"id": job, "status": "RECEIVED", "description": ""}

    def do_GET(self):
        if self.path == "/status":
            one = {"repo_id": "facebook/opt-66b", "application_state": "RUNNING", "deployment_level": "HOT"}
            other = {"repo_id": "gpt2", "application_state": "DEPLOYING", "deployment_level": "WARM"}
            return self.answer({"deployments": {"one": one, "other": other}})
        if self.path == "/counts":
            return self.answer(self.served.counts)
        fault = self.fault()
        if self.goes_wrong(fault):
            return None
        kind, _, job = self.path.strip("/").partition("/")
        if kind == "response" and job in self.served.jobs:
            reply = dict(self.served.jobs[job])
            if "data" in reply:
                reply["data"] = f"http://{self.headers['Host']}{reply['data']}"
            return self.answer(reply)
        if kind == "result" and job in self.served.results:
            content = self.served.results[job]
            self.served.counts["sent"] += len(content)
            return self.answer(content[: len(content) // 2] if fault and fault["kind"] == "truncate" else content)
        return self.answer({"detail": "Not Found"}, 404)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--attention", default="sdpa")
    asked = parser.parse_args()
    sys.meta_path.insert(0, Hidden())
    for name in TOOLKIT:
        try:
            found = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            found = None
        assert found is None, name
    Handler.served = Served(asked.folder, asked.attention)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
