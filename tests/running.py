"""Runs of ./doit on folders of a test's own."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@dataclass
class Run:
    """How a run of ./doit ended."""

    code: int
    text: str

    @property
    def done(self) -> set[str]:
        """Names of the steps that ran and succeeded."""
        return set(re.findall(r"^ *[\d.]+ s  done +(\S+)$", self.text, re.MULTILINE))

    @property
    def failed(self) -> set[str]:
        return set(re.findall(r"^ *[\d.]+ s  FAILED +(\S+)$", self.text, re.MULTILINE))

    def error(self, agent: str) -> str:
        """The line of an agent's first error."""
        pattern = rf"^\w+: agent {re.escape(agent)}\b.*$"
        found = re.search(pattern, self.text, re.MULTILINE)
        assert found, f"no error of {agent} in:\n{self.text}"
        return found.group()


def doit(*arguments: str, configs: Path, artifacts: Path, timeout: float = 400, **environment: str) -> Run:
    """Run ./doit on folders of the test's own."""
    command = [str(ROOT / "doit"), f"configs={configs}", f"artifacts={artifacts}", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}, cwd=ROOT
    )
    return Run(done.returncode, done.stdout + done.stderr)


def in_terminal(command: list[str], interrupt: str = "", **environment: str) -> Run:
    """Run a command in a terminal of 100 columns and 30 lines; what it says is given without its colours.

    :param interrupt: Ctrl-C is pressed when this has been drawn
    """
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env={**variables, "TERM": "xterm-256color", **environment},
        cwd=ROOT,
    )
    os.close(follower)
    said = b""
    while True:
        try:
            said += os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if interrupt and interrupt.encode() in said:
            interrupt = ""
            os.write(leader, b"\x03")
    code = process.wait()
    os.close(leader)
    return Run(code, re.sub(r"\033\[[\d;]*m", "", said.decode()).replace("\r\n", "\n"))


@dataclass
class Built:
    """Agents that ./doit has built."""

    configs: Path
    artifacts: Path
    run: Run
