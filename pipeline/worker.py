"""The only entry inside a toolchain: one job, from a JSON file, in a fresh process or a fork of a warm one.

    python -m pipeline.worker JOB              do one job
    python -m pipeline.worker --warm IMPORT …  import, then fork a child for every job named on standard input
    python -m pipeline.worker --decide JOB     load an artifact, then answer observations over the standard pipes

A job names what to ``do`` and the folders and settings for it. Its result, at the path it names, is ``{}`` or
an error of :mod:`pipeline.errors`. A warm process answers each job with two lines of JSON: the child's pid,
then how it ended. The child has only imported what the warm process had, so no job can leak into the next.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors

if TYPE_CHECKING:
    import numpy as np


def convert(job: dict[str, Any]) -> None:
    """Run a hop: ``source`` -> ``target``, and write the target's contract."""
    source, target = Path(job["source"]), Path(job["target"])
    contract = contracts.load(source)
    contract["kind"] = job["kind"]
    contract["tools"] = {**contract.get("tools", {}), **job["tools"]}
    if job["golden"]:
        contract["golden"] = json.loads(Path(job["golden"]).read_text(encoding="utf-8"))["golden"]
    hop = importlib.import_module(f"pipeline.hops.{job['module']}")
    hop.convert(source, target, contract, job["settings"])
    contracts.dump(contract, target)


def run(job: dict[str, Any]) -> None:
    """Run an artifact on stored observations -> ``outputs.npz``; ``figures.json`` if its runtime measures any."""
    import numpy as np

    artifact = Path(job["source"])
    contract = contracts.load(artifact)
    answer = _load(job, contract)
    observations = contracts.read_inputs(contract, Path(job["observations"]))
    if contract["states"]:
        outputs, _ = contracts.follow(contract, lambda given: contracts.decide(contract, answer, given), observations)
    else:
        outputs = contracts.decide(contract, answer, observations)
    np.savez(Path(job["target"]) / "outputs.npz", **outputs)  # type: ignore[arg-type]
    if figures := getattr(answer, "figures", None):
        (Path(job["target"]) / "figures.json").write_text(json.dumps(figures, sort_keys=True), encoding="utf-8")


def of_agent(job: dict[str, Any]) -> None:
    """A job of :mod:`pipeline.agents`: (``source``,) ``target`` and ``settings`` go to its function.

    It is named and not imported, so that the code of one job is not in the fingerprint of another.
    """
    module, _, function = AGENT_JOBS[job["do"]].partition(":")
    folders = [Path(job[name]) for name in ("source", "target") if name in job]
    getattr(importlib.import_module(f"pipeline.agents.{module}"), function)(*folders, job["settings"])


def evaluate(job: dict[str, Any]) -> None:
    """Closed-loop episodes; the artifact answers from a process of its own toolchain."""
    evaluating = importlib.import_module("pipeline.agents.evaluating")
    contract = contracts.load(Path(job["source"]))
    with _deciding(job["command"], {entry["name"]: entry["dtype"] for entry in contract["takes"]}) as answer:
        evaluating.evaluate(Path(job["source"]), Path(job["target"]), answer, job["settings"])


AGENT_JOBS = {
    "fetch": "hub:fetch",
    "read": "jobs:read",
    "train": "training:train",
    "observe": "observing:observe",
    "play": "evaluating:play",
    "document": "documented:export",
    "document_answer": "documented:answer",
    "draw": "pictures:draw",
}
JOBS = {"convert": convert, "run": run, "evaluate": evaluate, **dict.fromkeys(AGENT_JOBS, of_agent)}


def _load(job: dict[str, Any], contract: dict[str, Any]) -> contracts.Run:
    runtime = importlib.import_module(f"pipeline.runtimes.{job['runtime']}")
    answer: contracts.Run = runtime.load(Path(job["source"]), contract, job["needs"])
    return answer


@contextlib.contextmanager
def _deciding(command: list[str], dtypes: dict[str, str]) -> Iterator[Any]:
    """A process that answers inputs [batch, ...] by name with outputs by name.

    :param dtypes: in which the artifact takes its inputs
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        answers, questions = process.stdout, process.stdin

        def answer(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            try:
                _send(questions, {name: values.astype(dtypes[name]) for name, values in inputs.items()})
                return _receive(answers)
            except (OSError, EOFError):
                raise errors.ConverterFailed("the artifact's process ended in the middle of an episode") from None

        yield answer
        questions.close()


def decide(job: dict[str, Any]) -> None:
    """The other side of :func:`_deciding`."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a runtime prints must not end up between the answers
    contract = contracts.load(Path(job["source"]))
    run = _load(job, contract)
    needed = contracts.acting(contract)
    while True:
        try:
            inputs = _receive(sys.stdin.buffer)
        except EOFError:
            return
        outputs = contracts.decide(contract, run, inputs)
        _send(answers, {name: outputs[name] for name in needed})


def _send(pipe: IO[bytes], arrays: dict[str, np.ndarray]) -> None:
    """Eight bytes of length, then the arrays in numpy's file format."""
    import numpy as np

    held = io.BytesIO()
    np.savez(held, **arrays)  # type: ignore[arg-type]
    pipe.write(len(held.getvalue()).to_bytes(8, "little") + held.getvalue())
    pipe.flush()


def _receive(pipe: IO[bytes]) -> dict[str, np.ndarray]:
    import numpy as np

    length = int.from_bytes(pipe.read(8), "little")
    if not length:
        raise EOFError
    with np.load(io.BytesIO(pipe.read(length)), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def execute(path: Path) -> int:
    """Do the job in this process; everything that is printed goes to the job's log."""
    job = json.loads(path.read_text(encoding="utf-8"))
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    result: dict[str, str] = {}
    sys.path[:0] = job.get("import_from", [])
    try:
        JOBS[job["do"]](job)
    except errors.SlipwayError as error:
        result = error.to_json()
    except OSError as error:
        traceback.print_exc()
        result = _from_os(error).to_json()
    except Exception as error:
        traceback.print_exc()
        result = (disk_full(job) or errors.ConverterFailed(_telling(error))).to_json()
    sys.stdout.flush()
    sys.stderr.flush()
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 1 if result else 0


def _telling(error: Exception) -> str:
    """The line of an error that tells: the first, or where that only opens a traceback of its own, the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = lines[-1] if lines[0].endswith(":") else lines[0]
    return f"{type(error).__name__}: {line}"[:300]


def disk_full(job: dict[str, Any]) -> errors.DiskFull | None:
    """The converters tell a full disk in many ways, or die of it: so look at the disk itself."""
    free = shutil.disk_usage(Path(job["target"]).parent).free
    return errors.DiskFull("the disk is full", found=f"{free:,} bytes free") if free < 1 << 16 else None


def _from_os(error: OSError) -> errors.SlipwayError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return errors.DiskFull("the disk is full", file=error.filename or "")
    return errors.ConverterFailed(f"{type(error).__name__}: {error.strerror or error}", file=error.filename or "")


def warm(imports: list[str]) -> None:
    """Import, then fork a child for every line of standard input, one after the other."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for name in imports:
        importlib.import_module(name)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            _die_with_parent()
            code = 1
            try:
                code = execute(Path(line.strip()))
            finally:  # whatever happens, a full disk under the log included: a fork must not go on as its parent
                os._exit(code)
        print(json.dumps({"pid": child}), file=answers, flush=True)
        _, status, usage = os.wait4(child, 0)
        ended = {"exit": os.waitstatus_to_exitcode(status), "peak_kib": usage.ru_maxrss}
        print(json.dumps(ended), file=answers, flush=True)


def _die_with_parent() -> None:
    """On Linux, ask for SIGKILL when the parent dies, so that a killed run leaves no stray process."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    _die_with_parent()
    if arguments[0] == "--warm":
        warm(arguments[1:])
        return 0
    if arguments[0] == "--decide":
        decide(json.loads(Path(arguments[1]).read_text(encoding="utf-8")))
        return 0
    return execute(Path(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
