"""What the Edge TPU compiler says, versions 2.1 to 16: its report on success, and the line that tells why it failed.

With ``-s`` it prints both parts of the report; without, the table of operators is in ``NAME_edgetpu.log`` alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAPPED = "Mapped to Edge TPU"
_VERSION = re.compile(r"^Edge TPU Compiler version (\S+)", re.MULTILINE)
_MEMORY = {
    "cached": r"On-chip memory used for caching model parameters",
    "remaining": r"On-chip memory remaining for caching model parameters",
    "streamed": r"Off-chip memory used for streaming uncached model parameters",
}
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_ROW = re.compile(r"^([A-Za-z]\w*) +(\d+) +(\S.*?)\s*$", re.MULTILINE)
_ROUTINE = re.compile("Edge TPU Compiler version|Started a compilation|Compilation (child process|failed!|succeeded!)")
_TELLING = (  # the first that is found
    r"^Invalid model: .*\n+.+",  # what is wrong is on the next line
    r"^Compilation failed: .+",
    r"^ERROR: .+",
    r"^Compilation timeout.*",
    r"^.*terminating with uncaught exception.*",
    r"^Internal compiler error.*",
    r"^.*[Ee]rror.*",
)


@dataclass(frozen=True)
class Report:
    """
    :param version: of the compiler; "unknown" where it does not say
    :param memory: bytes by ``cached``, ``remaining`` and ``streamed``, as rounded by the compiler; {} where not said
    :param statuses: how many operators of a name have a status, (operator, count, status) in the log's order
    :param total: operators of the model; None where not said
    """

    version: str
    memory: dict[str, int]
    statuses: tuple[tuple[str, int, str], ...]
    total: int | None


def version(said: str) -> str:
    """The compiler's version out of what it printed, or "unknown"."""
    found = _VERSION.search(said)
    return found.group(1) if found else "unknown"


def read(said: str, log: str = "") -> Report:
    """What the compiler reports.

    :param said: what it printed
    :param log: what ``NAME_edgetpu.log`` holds, if it is there
    """
    memory = {}
    for name, label in _MEMORY.items():
        found = re.search(rf"^{label}: *([\d.]+) *([KMG]?i?B)\b", said, re.MULTILINE)
        if found and found.group(2) in _UNITS:
            memory[name] = round(float(found.group(1)) * _UNITS[found.group(2)])
    total = re.search(r"^Total number of operations: *(\d+)", said, re.MULTILINE)
    rows = _ROW.findall(_table(said)) or _ROW.findall(_table(log))
    statuses = tuple((operator, int(count), status) for operator, count, status in rows)
    known = version(said) if _VERSION.search(said) else version(log)
    return Report(known, memory, statuses, int(total.group(1)) if total else None)


def telling(said: str) -> str:
    """The line of a failed run that tells most, at most 300 characters."""
    for pattern in _TELLING:
        found = re.search(pattern, said, re.MULTILINE)
        if found:
            return " ".join(found.group().split())[:300]
    lines = [line.strip() for line in said.splitlines() if line.strip() and not _ROUTINE.match(line)]
    return lines[-1][:300] if lines else "it said nothing"


def _table(text: str) -> str:
    """What stands below the head of the table of operators."""
    found = re.search(r"^Operator +Count +Status\b.*$", text, re.MULTILINE)
    return text[found.end() :] if found else ""
