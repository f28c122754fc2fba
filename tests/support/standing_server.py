"""Starts the stand-in for a server, `loopback.py`, and tells it what to do wrong."""

import subprocess
import sys
from pathlib import Path

import httpx

LOOPBACK = Path(__file__).with_name("loopback.py")


class Standing:
    """A server that stands, and the folder of its model."""

    def __init__(self, folder):
        self.folder = folder
        command = [sys.executable, str(LOOPBACK), str(folder)]
        environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd="/")
        self.host = self.process.stdout.readline().strip()

    def goes_wrong(self, *faults):
        httpx.post(f"{self.host}/faults", json=faults).raise_for_status()

    @property
    def counts(self):
        return httpx.get(f"{self.host}/counts").json()
