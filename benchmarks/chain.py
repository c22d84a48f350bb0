"""What a newcomer waits for, each figure beside its baseline from the same run.

    ./doit bench:chain

1. A fresh clone (of the last commit) to built examples. Baseline: its environments alone.
2. Nothing to do. Baseline: an empty doit run in the same environment.
3. Peak memory of any step: its fork's own, and all of the warm process's, which it shares. Baseline: the latter.

Package downloads should be cached, or the first figure is the network's.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measuring

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 7


def timed(command: list[str], where: Path) -> tuple[float, str]:
    """Wall time in seconds, and what the command printed.

    :raises SystemExit: the command failed
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SLIPWAY")}
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - begun, done.stdout


def median(command: list[str], where: Path) -> float:
    """Median wall time of some runs, after one that is not counted."""
    timed(command, where)
    return statistics.median(timed(command, where)[0] for _ in range(REPEATS))


def row(what: str, found: str, baseline: str, limit: str) -> None:
    """One line of the table."""
    print(f"{what:32} {found:>12}   {baseline:44} {limit}", flush=True)


def main() -> None:
    """Measure and print."""
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        clone, empty = Path(name) / "clone", Path(name) / "empty"
        timed(["git", "clone", "-q", str(ROOT), str(clone)], ROOT)
        row("", "found", "baseline", "to reach")
        made, _ = timed(["./doit", "toolchains"], clone)
        built, _ = timed(["./doit"], clone)
        row("fresh clone to built examples", f"{made + built:.0f} s", f"environments alone {made:.0f} s", "< 240 s")

        empty.mkdir()
        (empty / "dodo.py").write_text("def task_nothing():\n    return {'actions': None}\n", encoding="utf-8")
        nothing = median(["./doit"], clone)
        floor = median([str(clone / ".toolchains" / "host" / "bin" / "python"), "-m", "doit"], empty)
        row(
            "nothing to do",
            f"{nothing:.2f} s",
            f"empty doit run {floor:.2f} s: {nothing / floor:.1f} times",
            "< 3 times",
        )

        logs = "".join(path.read_text(encoding="utf-8") for path in (clone / "artifacts").glob("*/log/*.txt"))
        peak = max(map(int, re.findall(r"peak (\d+) MiB", logs)))
        program = "import resource, tensorflow, onnx_tf.backend, tensorflowjs; "
        program += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        interpreter = next((clone / ".toolchains").glob("tensorflow-*")) / "bin" / "python"
        imported = int(timed([str(interpreter), "-c", program], clone)[1].split()[-1]) / 1024
        row(
            "peak memory of a step",
            f"{peak + imported:.0f} MiB",
            f"importing the converters {imported:.0f} MiB",
            "< 2048 MiB",
        )


if __name__ == "__main__":
    main()
