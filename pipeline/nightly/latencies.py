"""Decisions of a night's artifacts are timed: the jobs for :mod:`pipeline.nightly.timing`, and what came of them."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from pipeline import artifacts, scratch, toolchains
from pipeline.hops import wanted
from pipeline.runtimes import RUNTIMES
from pipeline.spec import Agent
from pipeline.steps.of_agent import OBSERVATIONS

# Those that answer in the process that asks: elsewhere, most of what is measured would be files that are exchanged.
TIMED = ("onnxruntime", "tensorflow", "litert", "tflite_micro", "torchscript", "weights")
Latencies = dict[str, dict[str, dict[str, Any]]]  # agent -> KIND/RUNTIME -> ``us`` or ``reason``


def measure(agents: list[Agent], root: Path, log: Path, seconds: float | None) -> Latencies:
    """Time every artifact that was built and can be timed, one toolchain after the other.

    :param log: gets what the runtimes print
    :param seconds: that all of it may take
    :raises TimeoutError: it took longer
    """
    jobs: dict[str, list[dict[str, str]]] = {}
    for agent in agents:
        home = root / agent.name
        for hop in wanted(agent.targets):
            built = artifacts.manifest(home / hop.kind)
            if hop.rung or built is None or built.status != "built":  # the ladder's end is the rung that is used
                continue
            for runtime in hop.runtimes:
                ran = artifacts.manifest(home / hop.kind / runtime)
                if runtime in TIMED and ran is not None and ran.status == "built":
                    jobs.setdefault(RUNTIMES[runtime].toolchain, []).append(_job(home, hop.kind, runtime))
    found: Latencies = {}
    for toolchain, asked in sorted(jobs.items()):
        for job, answer in zip(asked, _timed(toolchain, asked, log, seconds), strict=True):
            kind = Path(job["folder"])
            found.setdefault(kind.parent.name, {})[f"{kind.name}/{job['runtime']}"] = answer
    return found


def _job(home: Path, kind: str, runtime: str) -> dict[str, str]:
    seen = home / OBSERVATIONS / "observations.npz"
    return {"folder": str(home / kind), "runtime": runtime, "observations": str(seen)}


def _timed(toolchain: str, jobs: list[dict[str, str]], log: Path, seconds: float | None) -> list[dict[str, Any]]:
    """An answer for each job."""
    with tempfile.TemporaryDirectory(dir=scratch.folder()) as name, log.open("a", encoding="utf-8") as said:
        job, result = Path(name) / "job.json", Path(name) / "result.json"
        job.write_text(json.dumps(jobs), encoding="utf-8")
        call = [toolchains.python(toolchain), "-m", "pipeline.nightly.timing", str(job), str(result)]
        variables = {**toolchains.environment(), "TMPDIR": str(scratch.folder())}
        try:
            done = subprocess.run(
                call, cwd=toolchains.ROOT, env=variables, stdin=subprocess.DEVNULL,
                stdout=said, stderr=subprocess.STDOUT, timeout=seconds,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        except OSError as error:
            return [{"reason": f"the toolchain {toolchain} does not start: {error.strerror}"}] * len(jobs)
        found: list[dict[str, Any]] = json.loads(result.read_text(encoding="utf-8")) if result.is_file() else []
    lost = {"reason": f"the process ended with {done.returncode} before it was timed"}
    return found + [lost] * (len(jobs) - len(found))
