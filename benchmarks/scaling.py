"""What one more agent costs, from one to a hundred: built from nothing, and with nothing to do.

    ./doit bench:scaling [MOST]

Copies of the shipped ``cartpole_ppo`` under other names, so that agents cost the same and the slope is the number's
doing. They are built for a few targets up to MOST (100), and for all up to a tenth of it. With nothing to do, ./doit is
held to doit itself: as many tasks with the same dependencies that do nothing (:mod:`benchmarks.nothing`).

Writes ``docs/benchmarks/scaling.json``, ``.md``, ``.png`` and ``.svg``; ends with 1 where a figure is not reached.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import measuring, scaling_page, watching
from benchmarks.fleet import plain_environment
from benchmarks.measuring import ROOT, Goal, Job
from pipeline import toolchains

COUNTS = (1, 3, 10, 30, 100)
SERIES = {"few targets": ["onnx", "savedmodel", "tflite", "tflite_int8"], "all targets": ["all"]}
ALL_UP_TO = 10
SOURCE = "cartpole_ppo"
REPEATS = 5
STEEPER, OVER_DOIT, SOON = 1.15, 2.0, 0.5  # to reach
CONFIG = """zip = "agent.zip"
targets = {targets}
[environment]
id = "CartPole-v1"
"""


def configs(place: Path, count: int, targets: list[str]) -> Path:
    """A folder with the config of as many agents."""
    place.mkdir(parents=True)
    shutil.copyfile(ROOT / "configs" / "agents" / f"{SOURCE}.zip", place / "agent.zip")
    for number in range(count):
        (place / f"copy_{number:03d}.toml").write_text(CONFIG.format(targets=json.dumps(targets)), encoding="utf-8")
    return place


def measure(work: Path, count: int, targets: list[str]) -> Job:
    """Cold, no-op and doit alone for a number of agents."""
    place = configs(work / "configs", count, targets)
    artifacts = work / "artifacts"
    command = [str(ROOT / "doit"), f"configs={place}", f"artifacts={artifacts}"]
    took = watching.run(command, ROOT, plain_environment(), looks=False)
    if took.code:
        sys.exit(f"{' '.join(command)} ended with {took.code}:\n{took.said[-3000:]}")
    host = str(toolchains.home() / "host" / "bin" / "python")
    said = _call([host, "-m", "benchmarks.nothing", str(place), str(artifacts), str(work / "doit")], ROOT)
    empty = [host, "-m", "doit", "-f", str(work / "doit" / "dodo.py"), "-d", str(work / "doit")]
    idle, alone = median([command, empty])
    listed, inspected = median([[*command, "list"], [*command, "inspect", str(place / "agent.zip")]])
    found = {"count": count, "seconds": took.seconds, "cpu": took.cpu, "tasks": int(said.split()[-1])}
    found |= {"idle": idle, "doit_alone": alone, "list": listed, "inspect": inspected}
    print(f"    {count} agents: {took.seconds:.0f} s, {took.cpu:.0f} s of CPU; nothing to do {idle:.2f} s", flush=True)
    shutil.rmtree(work)
    return found


def median(commands: list[list[str]]) -> list[float]:
    """Median wall time of each, taken in turn, after a turn that is not counted."""
    times: list[list[float]] = [[] for _ in commands]
    for turn in range(REPEATS + 1):
        for command, found in zip(commands, times, strict=True):
            begun = time.perf_counter()
            _call(command, ROOT)
            if turn:
                found.append(time.perf_counter() - begun)
    return [statistics.median(found) for found in times]


def _call(command: list[str], where: Path) -> str:
    done = subprocess.run(command, cwd=where, env=plain_environment(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def slopes(rows: list[Job], key: str) -> dict[str, float]:
    """What each further agent cost between two numbers of them, by both."""
    return {
        f"{before['count']} → {behind['count']}": (behind[key] - before[key]) / (behind["count"] - before["count"])
        for before, behind in itertools.pairwise(rows)
    }


def flat(rows: list[Job], key: str) -> tuple[str, bool | None]:
    """Whether a further agent costs in the last segment what it does in the third, in words too; None of fewer."""
    found = list(slopes(rows, key).items())
    if len(found) < 3:
        return "too few numbers of agents", None
    (first, early), (last, late) = found[1], found[-1]
    said = f"{late:.2f} s ({last}) after {early:.2f} s ({first})"
    return said, late <= STEEPER * early


def goals(series: dict[str, list[Job]], commands: dict[str, float]) -> list[Goal]:
    """What is to be reached."""
    found = []
    rows = series["few targets"]
    for key, what in (("seconds", "wall time"), ("cpu", "CPU")):
        said, reached = flat(rows, key)
        found.append(Goal(f"{what} of a further agent, built from nothing", said, f"≤ {STEEPER - 1:.0%} more", reached))
    most = rows[-1]
    times = most["idle"] / most["doit_alone"]
    said = f"{times:.1f} times ({most['idle']:.2f} s by {most['doit_alone']:.2f} s)"
    what = f"nothing to do for {most['count']} agents ({most['tasks']:,} tasks), by doit alone"
    found.append(Goal(what, said, f"≤ {OVER_DOIT:.0f} times", times <= OVER_DOIT))
    for name, seconds in commands.items():
        found.append(Goal(f"`{name}`", f"{seconds:.2f} s", f"< {SOON} s", seconds < SOON))
    return found


def main(arguments: list[str]) -> int:
    """Measure, write and judge."""
    begun = time.monotonic()
    most = int(arguments[0]) if arguments else COUNTS[-1]
    archive = str(ROOT / "configs" / "agents" / f"{SOURCE}.zip")
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        said = {"./doit list": ["list"], "./doit inspect FILE": ["inspect", archive], "./doit help": ["help"]}
        times = median([[str(ROOT / "doit"), *words] for words in said.values()])
        commands = dict(zip(said, times, strict=True))
        series = {}
        for label, targets in SERIES.items():
            print(label, flush=True)
            counts = [n for n in COUNTS if n <= (most if label == "few targets" else min(most, ALL_UP_TO))]
            series[label] = [measure(Path(name) / label / str(n), n, targets) for n in counts]
    reached = goals(series, commands)
    result = {
        "source": SOURCE,
        "targets": SERIES,
        "commands": commands,
        "series": series,
    }
    return measuring.finish("scaling", begun, reached, result, scaling_page.page, "charts")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
