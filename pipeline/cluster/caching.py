"""The process that speaks with a remote cache, started by doit's.

    python -m pipeline.cluster.caching URL FOLDER

It reads requests ``{"number", "do": "fetch" or "send", "address"}``, a line each, and answers ``{"number", "found"}``
or ``{"number", "error"}``, in any order. The far side is laid out as the folder is: blobs are sent before the entry
that names them, so that whoever finds an entry finds its files; what arrives is held to its digest before it is moved
to its place.
"""

from __future__ import annotations

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline.artifacts import read_digest
from pipeline.cache import local
from pipeline.cluster import blobs

AT_ONCE = 8


class Served:
    """A far cache and the folder before it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.local = url, local.Local(folder, 0)
        self.telling = threading.Lock()

    def fetch(self, address: str) -> bool:
        """Bring an entry and its blobs into the folder; False where they are not there, or damaged: then they go."""
        name = _name("entries", address)
        with self.local.beside(self.local.place("entries", address)) as beside:
            if beside is None:
                return True
            if not blobs.got(self.url, name, beside):
                return False
            found = local.read(beside.read_text(encoding="utf-8", errors="replace"), address)
            if found is None or not all(self._fetched(digest) for digest in found[1].files.values()):
                beside.unlink()
                blobs.remove(self.url, [name])
                return False
        return True

    def _fetched(self, digest: str) -> bool:
        name = _name("blobs", digest)
        with self.local.beside(self.local.place("blobs", digest)) as beside:
            if beside is None:
                return True
            if not blobs.got(self.url, name, beside):
                return False
            if read_digest(beside) == digest:
                return True
            beside.unlink()
        blobs.remove(self.url, [name])
        return False

    def send(self, address: str) -> bool:
        """Send an entry and the blobs that are not there; False where the folder has it no more."""
        found = self.local.find(address)
        if found is None:
            return False
        digests = found.manifest.files.values()
        blobs.put(self.url, {_name("blobs", digest): self.local.place("blobs", digest) for digest in digests})
        blobs.put(self.url, {_name("entries", address): self.local.place("entries", address)}, again=True)
        return True

    def answer(self, line: str) -> None:
        """Do what a request says, and tell."""
        asked = json.loads(line)
        told: dict[str, Any]
        try:
            told = {"found": {"fetch": self.fetch, "send": self.send}[asked["do"]](asked["address"])}
        except Exception as error:
            told = {"error": f"{error}"[:300]}
        with self.telling:
            print(json.dumps({"number": asked["number"], **told}), flush=True)


def _name(kind: str, name: str) -> str:
    return f"{kind}/{name[:2]}/{name}"


def main(url: str, folder: str) -> None:
    """Answer until standard input ends."""
    served = Served(url, Path(folder))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in sys.stdin:
            pool.submit(served.answer, line)


if __name__ == "__main__":
    main(*sys.argv[1:])
