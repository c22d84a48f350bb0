"""What a kill costs: ./doit is killed at random times while it builds an agent, again and again.

    ./doit bench:kills [SHARE]

An agent goes through real hops. After every kill each folder that has a manifest is held to an undisturbed build, byte
by byte; no process may be left; and the next run may not do again what was done. Runs go on from where the last was
killed, until one comes to its end: then everything is compared, and the next begins from nothing.

Writes ``docs/benchmarks/kills.json`` and ``.md``; ends with 1 where a kill was not survived. SHARE of the 350 kills is
for a first look.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import ROOT, Goal
from pipeline import artifacts

KILLS = {"SIGKILL": 250, "SIGTERM": 50, "SIGINT": 50}
TARGETS = ["onnx_web", "tfjs", "tflite", "tflite_int8", "torchscript", "weights"]
CONFIG = f"""zip = "agent.zip"
vecnormalize = "none"
targets = {json.dumps(TARGETS)}
[calibration]
drawn = true
"""
ENDS = 10.0  # seconds in which every process has to be gone
MARK = "SLIPWAY_KILLED"


@dataclass
class Trial:
    """A folder that is built, and how its runs are killed."""

    work: Path
    drawn: random.Random
    undisturbed: float = 0.0
    failures: list[str] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)
    finished: int = 0

    @property
    def artifacts(self) -> Path:
        return self.work / "artifacts"

    def prepare(self, agent: Path) -> None:
        """Write the config, and build once undisturbed."""
        (self.work / "configs").mkdir(parents=True)
        (self.work / "tmp").mkdir()
        shutil.copyfile(agent, self.work / "configs" / "agent.zip")
        (self.work / "configs" / "killed.toml").write_text(CONFIG, encoding="utf-8")
        begun = time.monotonic()
        run = self._started()
        said = run.communicate()[0]
        self.undisturbed = time.monotonic() - begun
        if run.returncode:
            sys.exit(f"the undisturbed build ended with {run.returncode}:\n{said[-3000:]}")
        self.wanted = digests(self.artifacts)
        self._begin_anew()

    def _begin_anew(self) -> None:
        shutil.rmtree(self.artifacts)
        self.done: set[str] = set()

    def _started(self) -> subprocess.Popen[str]:
        self.mark = uuid.uuid4().hex
        variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        command = ["doit", "-n", "2", f"configs={self.work / 'configs'}", f"artifacts={self.artifacts}"]
        return subprocess.Popen(
            [str(ROOT / command[0]), *command[1:]],
            cwd=ROOT,
            env={**variables, MARK: self.mark, "TMPDIR": str(self.work / "tmp")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kill(self, name: str) -> bool:
        """Start a run and kill it; whether it had not come to its end before."""
        after = self.drawn.uniform(0, self.undisturbed if self.drawn.random() < 0.8 else 1.5)
        run = self._started()
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(after)
        early = run.poll() is None
        if early:
            run.send_signal(getattr(signal, name))
        self._judge(name if early else "", after, run)
        return early

    def complete(self) -> None:
        """Let a run come to its end."""
        run = self._started()
        run.wait()
        self._judge("", 0.0, run)

    def _judge(self, name: str, after: float, run: subprocess.Popen[str]) -> None:
        said, code = run.communicate()[0], run.returncode
        where = f"{name} after {after:.2f} s" if name else "a run to its end"
        ran = set(re.findall(r"^ *[\d.]+ s  done +(\S+)$", said, re.MULTILINE))
        if again := ran & self.done:
            self.failures.append(f"{where}: done again: {', '.join(sorted(again))}")
        if left := self._left():
            self.failures.append(f"{where}: processes are left: {left}")
        if "Traceback" in said:
            self.failures.append(f"{where}: a traceback: {said[-500:]}")
        for path, found in digests(self.artifacts, published=True).items():
            if self.wanted.get(path) != found:
                self.failures.append(f"{where}: {path} is not what an undisturbed build makes")
        self.done = steps_of(self.artifacts)
        if name:
            self.kills[name] = self.kills.get(name, 0) + 1
        if code == 0:
            self._judge_the_end(where)

    def _judge_the_end(self, where: str) -> None:
        self.finished += 1
        if digests(self.artifacts) != self.wanted:
            self.failures.append(f"{where}: the whole is not what an undisturbed build makes")
        left = [path.name for folder in (self.work / "tmp", self.artifacts / ".staging") for path in folder.glob("*")]
        if left:
            self.failures.append(f"{where}: left behind: {', '.join(left)}")
        self._begin_anew()

    def _left(self) -> list[str]:
        """Processes that the run started, when it has had time to end them."""
        until = time.monotonic() + ENDS
        while (found := marked(self.mark)) and time.monotonic() < until:
            time.sleep(0.05)
        return found


def marked(mark: str) -> list[str]:
    """Processes with a mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                found.append(f"{path.name} {(path / 'comm').read_text(encoding='utf-8').strip()}")
        except OSError:
            continue
    return found


def digests(root: Path, published: bool = False) -> dict[str, str]:
    """sha256 of every file that a build makes, but for logs, by its path.

    :param published: only files that a manifest names, manifests themselves and verdicts
    """
    found = {}
    for path in sorted(root.glob("*/**/*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and "/log/" not in name and not name.startswith("."):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not published:
        return found
    named = {name for name in found if Path(name).name in (artifacts.MANIFEST, "verdict.json")}
    for name in [name for name in named if Path(name).name == artifacts.MANIFEST]:
        folder = Path(name).parent
        stored = json.loads((root / name).read_text(encoding="utf-8"))
        named |= {(folder / file).as_posix() for file in stored["files"]}
    return {name: found.get(name, "is missing") for name in named}


def steps_of(root: Path) -> set[str]:
    """Names of the steps whose records are there."""
    found = set()
    for record in [*root.glob(f"*/**/{artifacts.MANIFEST}"), *root.glob("*/*/*/verdict.json")]:
        agent, *parts = record.relative_to(root).parent.parts
        if record.name != artifacts.MANIFEST:
            parts.append("check")
        elif len(parts) > 1:
            parts.append("run")
        elif (root / agent / parts[0] / "policy.json").is_file() and parts[0] != "sb3":
            parts.append("convert")
        found.add(":".join([agent, *parts]))
    return found


def measure(share: float, work: Path) -> Trial:
    """Kill as often as asked, signals in a random order."""
    trial = Trial(work, random.Random(0))
    trial.prepare(ROOT / "configs" / "agents" / "cartpole_ppo.zip")
    names = [name for name, count in KILLS.items() for _ in range(max(1, round(count * share)))]
    trial.drawn.shuffle(names)
    for number, name in enumerate(names, 1):
        known = len(trial.failures)
        while not trial.kill(name):
            pass
        for failure in trial.failures[known:]:
            print(failure, flush=True)
        if number % 10 == 0:
            print(f"{number} of {len(names)}: {len(trial.failures)} failures", flush=True)
        if len(trial.failures) > 20:
            break
    trial.complete()
    return trial


def page(result: dict[str, Any]) -> str:
    """The table, and every failure."""
    kills = [[name, str(count)] for name, count in result["kills"].items()]
    failures = "\n".join(f"- {failure}" for failure in result["failures"]) or "None."
    return f"""# What a kill costs

Made by `./doit bench:kills`: `./doit -n 2` builds an agent ({", ".join(f"`{name}`" for name in TARGETS)}), which takes
{result["seconds"]:.0f} s undisturbed and makes {result["files"]} files, and is killed at random times, one in five of
them in its first 1.5 s. After every kill each file that a manifest names is held to the undisturbed build, byte by
byte; {ENDS:.0f} s later no process may be left; the next run may not do again what was done. Where a run comes to its
end, all files are compared, and no temporary one may be left: {result["finished"]} did.

{measuring.goals_page([Goal(**goal) for goal in result["goals"]])}

{measuring.table(["signal", "kills"], kills)}

What was not survived: {failures}
"""


def main(share: float) -> int:
    """Kill, and write."""
    begun = time.monotonic()
    with measuring.alone(), tempfile.TemporaryDirectory() as name:
        trial = measure(share, Path(name))
    count = sum(trial.kills.values())
    survived = f"{count - len(trial.failures)} of {count}"
    goals = [Goal("kills survived, with equal bytes and nothing done twice", survived, "all", not trial.failures)]
    found = {
        "kills": trial.kills,
        "failures": trial.failures,
        "finished": trial.finished,
        "seconds": trial.undisturbed,
        "files": len(trial.wanted),
    }
    return measuring.finish("kills", begun, goals, found, page, module="")


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
