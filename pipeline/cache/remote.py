"""A cache behind the one in the folder: what is not there is fetched, and what is made is sent while the run goes on.

fsspec and its file systems are not for doit's process, so another one speaks with the bucket
(:mod:`pipeline.cluster.caching`, in the toolchain ``cluster``): a request and an answer are a line of JSON each.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pipeline import toolchains

TOOLCHAIN = "cluster"
PATIENCE = 60.0  # seconds for an answer


class Remote:
    """A bucket or a far folder, by its URL, and the folder that stands before it.

    :param url: that fsspec knows: "s3://bucket/folder"
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.process: subprocess.Popen[str] | None = None
        self.waiting: dict[int, Future[dict[str, Any]]] = {}
        self.sent: list[Future[dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.given_up = ""

    def fetch(self, address: str) -> bool | str:
        """Bring a result into the folder: whether there is one, or what is wrong with the cache."""
        return self._answer(self._ask("fetch", address))

    def send(self, address: str) -> None:
        """Begin to send a result out of the folder."""
        self.sent.append(self._ask("send", address))

    def close(self) -> bool | str:
        """Wait until everything is sent: whether it was, or what is wrong."""
        answers = [self._answer(asked) for asked in self.sent]
        if self.process:
            with contextlib.suppress(OSError):
                assert self.process.stdin is not None
                self.process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        return next((answer for answer in answers if isinstance(answer, str)), all(answers))

    def _answer(self, asked: Future[dict[str, Any]]) -> bool | str:
        try:
            told = asked.result(PATIENCE)
        except TimeoutError:
            told = {"error": f"no answer in {PATIENCE:.0f} s"}
        if "error" in told:
            self.given_up = self.given_up or f"the cache {self.url} is left alone: {told['error']}"
            return self.given_up
        return bool(told["found"])

    def _ask(self, what: str, address: str) -> Future[dict[str, Any]]:
        answer: Future[dict[str, Any]] = Future()
        with self.lock:
            if self.given_up:
                answer.set_result({"found": False})
                return answer
            number = len(self.waiting)
            self.waiting[number] = answer
            try:
                process = self.process = self.process or self._started()
                assert process.stdin is not None
                process.stdin.write(json.dumps({"number": number, "do": what, "address": address}) + "\n")
                process.stdin.flush()
            except OSError as error:
                answer.set_result({"error": f"its process does not run ({error.strerror})"})
        return answer

    def _started(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [toolchains.python(TOOLCHAIN), "-m", "pipeline.cluster.caching", self.url, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=toolchains.ROOT,
            env=toolchains.environment(),
            start_new_session=True,  # Ctrl-C is for us: it ends when its standard input does
        )
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            self.waiting[told.pop("number")].set_result(told)
        for answer in list(self.waiting.values()):
            if not answer.done():
                answer.set_result({"error": "its process has ended"})
