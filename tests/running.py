"""Runs of ./doit on folders of a test's own."""

from __future__ import annotations

import os
import re
import subprocess
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


@dataclass
class Built:
    """Agents that ./doit has built."""

    configs: Path
    artifacts: Path
    run: Run
