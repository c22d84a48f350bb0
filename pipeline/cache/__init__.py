"""What was made once is not made again: steps' results, by the digest of what they were made from.

A step's key names all that its result depends on, so its digest is the result's address, on any machine: clones, CI and
colleagues share a cache. It holds two kinds of file (:mod:`pipeline.cache.local`), one folder for all, and may have a
bucket behind it (:mod:`pipeline.cache.remote`). A cache never fails a run: what it cannot give is made, what it cannot
take is said once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.artifacts import Manifest
from pipeline.cache.local import Entry, Local, Source, address
from pipeline.cache.remote import TOOLCHAIN, Remote

__all__ = ["CURRENT", "DEFAULT", "GIB", "TOOLCHAIN", "Cache", "Entry", "Local", "Remote", "Source", "address"]

DEFAULT = ".cache"  # in the clone
GIB = 5.0  # a local cache that has grown beyond this is pruned


@dataclass
class Cache:
    """The cache of a run.

    :param behind: where what is not in the folder is looked for, and what is made goes too
    :param taken: how many results were
    :param complaints: what a user should know, each once
    """

    folder: Local
    behind: Remote | None = None
    taken: int = 0
    kept: int = 0
    complaints: list[str] = field(default_factory=list)
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def find(self, source: Source) -> Entry | None:
        """What a step made of this before, here or anywhere that shares the cache."""
        place = address(source)
        found = self.folder.find(place)
        if found is None and self.behind and self._asks(self.behind.fetch(place)):
            found = self.folder.find(place)
        return found

    def take(self, entry: Entry, target: Path) -> Manifest | None:
        """Copy the files of a result into an empty folder, each held to its digest; None where one is damaged."""
        if not self.folder.copy(entry, target):
            return None
        with self._counting:
            self.taken += 1
        return entry.manifest

    def keep(self, source: Source, made: Manifest, folder: Path) -> None:
        """Add what a step made."""
        try:
            self.folder.add(source, made, folder)
        except OSError as error:
            self._complain(f"nothing more goes into the cache {self.folder.root}: {error.strerror or error}")
            return
        with self._counting:
            self.kept += 1
        if self.behind:
            self.behind.send(address(source))

    def close(self) -> None:
        """Wait for what is still on its way, and prune."""
        if self.behind:
            self._asks(self.behind.close())
        if self.kept:
            self.folder.prune()

    def _asks(self, answer: str | bool) -> bool:
        """Whether a remote cache had it; where it said what is wrong, that is passed on."""
        if isinstance(answer, str):
            self._complain(answer)
            return False
        return answer

    def _complain(self, text: str) -> None:
        with self._counting:
            if text not in self.complaints:
                self.complaints.append(text)


CURRENT: Cache | None = None  # the run's; None where there is none, and where nothing is made
