"""What is near its limit, or has grown: told before it fails. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.nightly import history
from pipeline.nightly.history import Line
from pipeline.nightly.record import Record

NEARLY = 0.8  # of a tolerance, or of the loss of return that is granted
GREW = 1.1  # times the median size of the last nights
SLOWER = 2.0  # times the median decision of the last nights: these figures are noisy
LOOKED_BACK = 7  # nights
ENOUGH = 3  # nights, before a decision may be called slower


@dataclass(frozen=True)
class Warned:
    """Something to look at.

    :param new: whether the night before did not warn of the same
    """

    agent: str
    folder: str
    about: str
    says: str
    new: bool = True

    @property
    def identity(self) -> str:
        return f"{self.agent}/{self.folder}: {self.about}"


def of(now: Record, lines: list[Line]) -> list[Warned]:
    """Warnings of a night.

    :param lines: the nights before
    """
    standing = set(lines[-1]["warned"]) if lines else set()
    found = []
    for name, agent in sorted(now["agents"].items()):
        for folder, figures in history.shown(agent):
            for about, says in _told(name, folder, figures, agent["verdicts"].get(folder, {}), lines):
                said = Warned(name, folder, about, says)
                found.append(Warned(name, folder, about, says, new=said.identity not in standing))
    return found


def _told(
    agent: str, folder: str, figures: dict[str, float], verdict: dict[str, object], lines: list[Line]
) -> list[tuple[str, str]]:
    """What to warn of, and its words, of one folder."""
    found = []
    used = figures.get("used", 0.0)
    if used >= NEARLY and verdict.get("status") == "passed":
        what = "the loss of return that is granted" if "kept" in verdict else "its tolerance"
        kept = f": {verdict['kept']:.1%} of the return is kept" if "kept" in verdict else ""
        found.append(("tolerance", f"{used:.0%} of {what} is used up{kept}"))
    before = history.median(lines, agent, folder, "bytes", LOOKED_BACK)
    if before and figures.get("bytes", 0) > GREW * before[0]:
        grew = figures["bytes"] / max(before[0], 1) - 1
        found.append(("size", f"{figures['bytes']:,.0f} bytes, {grew:.0%} more than usual ({before[0]:,.0f})"))
    before = history.median(lines, agent, folder, "us", LOOKED_BACK)
    if before and before[1] >= ENOUGH and figures.get("us", 0) >= SLOWER * before[0]:
        times = figures["us"] / before[0]
        found.append(("latency", f"a decision takes {figures['us']:.0f} µs, {times:.1f} times as long as usual"))
    return found
