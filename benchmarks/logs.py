"""What steps took, from their logs: ``artifacts/AGENT/log/STEP.txt``, whose last lines say what each job took."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LINE = re.compile(r"^(\w+): ([\d.]+) s, ([\d.]+) s of CPU, peak (\d+) MiB$", re.MULTILINE)
KINDS = {  # of job, by the name that its log has; in the order of the page
    "read": "read the archive",
    "observe": "roll out: observations and calibration",
    "play": "closed loop of the agent and a random policy",
    "convert": "convert",
    "run": "run on the observations",
    "evaluate": "closed loop of artifacts",
    "draw": "pictures",
}


@dataclass(frozen=True)
class Job:
    """A job of a step.

    :param step: the log's name without its end, e.g. "onnx.convert"
    :param peak: MiB
    """

    agent: str
    step: str
    do: str
    seconds: float
    cpu: float
    peak: int

    @property
    def hop(self) -> str:
        """The kind of artifact that it is about, or the step's own name."""
        return self.step.partition(".")[0]


def read(artifacts: Path) -> list[Job]:
    """Every job that the logs of an artifacts folder tell of."""
    return [
        Job(path.parents[1].name, path.stem, do, float(seconds), float(cpu), int(peak))
        for path in sorted(artifacts.glob("*/log/*.txt"))
        for do, seconds, cpu, peak in LINE.findall(path.read_text(encoding="utf-8", errors="replace"))
    ]


def by_kind(jobs: Iterable[Job]) -> dict[str, dict[str, float]]:
    """``count``, ``cpu`` and ``seconds`` of every kind of job."""
    found = {do: {"count": 0, "cpu": 0.0, "seconds": 0.0} for do in KINDS}
    for job in jobs:
        held = found.setdefault(job.do, {"count": 0, "cpu": 0.0, "seconds": 0.0})
        held["count"] += 1
        held["cpu"] += job.cpu
        held["seconds"] += job.seconds
    return found


def by_hop(jobs: Iterable[Job]) -> dict[str, dict[str, float]]:
    """CPU seconds of each hop, by kind of job."""
    found: dict[str, dict[str, float]] = {}
    for job in jobs:
        held = found.setdefault(job.hop, {})
        held[job.do] = held.get(job.do, 0.0) + job.cpu
    return found
