"""tflite int8 -> Edge TPU, by Google's edgetpu_compiler where it can be called; what it will do is predicted first."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.hops import edgetpu_lint, edgetpu_log, edgetpu_memory, for_users, tflite_structure
from pipeline.hops.edgetpu_lint import Prediction

MODEL, FILE, LOG = "policy.tflite", "policy_edgetpu.tflite", "policy_edgetpu.log"
VERSION_SECONDS = 60  # a container may have to start


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy_edgetpu.tflite`` and the compiler's own ``policy_edgetpu.log``.

    The contract's ``mapping`` tells what the compiler did and what was predicted; where the two differ, and where
    parameters do not fit the chip, ``warnings`` says so.

    :param settings: ``edgetpu``, the fields of :class:`pipeline.settings.EdgeTpu`
    :raises errors.NotRun: the compiler is not here; or nothing was predicted to map, and nothing does
    :raises errors.ConverterFailed: the compiler failed, hung, or wrote nothing
    :raises errors.OutputsUnfit: what it wrote does not hold to what it was given
    """
    original = (source / contract["files"][0]).read_bytes()
    prediction = edgetpu_lint.predict(original)
    words, limit = settings["edgetpu"]["command"], settings["edgetpu"]["timeout"]
    if shutil.which(words[0]) is None:
        raise errors.NotRun(f"{words[0]} not found; predicted: {prediction.sentence}")
    command = [word.replace("{folder}", str(target)) for word in words]
    (target / MODEL).write_bytes(original)
    # Names relative to the folder: where a container mounts it, and whose machine it is, is in no file.
    _, greeting = _call([*command, "--version"], target, min(limit, VERSION_SECONDS))
    code, said = _call([*command, "-s", "-o", ".", MODEL], target, limit)
    (target / MODEL).unlink(missing_ok=True)
    print(said)
    compiled = (target / FILE).read_bytes() if (target / FILE).is_file() else b""
    if code is None:
        remedy = f"Raise edgetpu.timeout in the config. Predicted: {prediction.sentence}"
        raise errors.ConverterFailed(f"{words[0]} did not end within {limit} s", remedy=remedy)
    if code or not compiled:
        told = edgetpu_log.telling(said)
        if prediction.outcome in ("nothing", "refused"):
            raise errors.NotRun(f"not supported: {prediction.sentence}; {words[0]} says: {told}")
        wrote = "" if compiled else " and wrote no model"
        what = f"{words[0]} ended with {code}{wrote}: {told}"
        raise errors.ConverterFailed(what, remedy=f"Read the log. Predicted: {prediction.sentence}")
    log = _kept_log(target)
    report = edgetpu_log.read(said, log)
    version = report.version if report.version != "unknown" else edgetpu_log.version(greeting)
    held = _hold(original, compiled, prediction)
    agrees = held["left"] == prediction.left
    contract["mapping"] = {
        **held,
        "compiler": version,
        "memory": report.memory,
        "statuses": [list(row) for row in report.statuses],
        "predicted": {**prediction.to_json(), "agrees": agrees},
    }
    contract["warnings"] = [*contract.get("warnings", []), *_warnings(contract["mapping"], prediction, report)]
    contract["files"] = [FILE]
    for_users.run_policy_copy(target, contract)
    contract["files"] += [LOG] if log else []


def _call(command: list[str], folder: Path, limit: float) -> tuple[int | None, str]:
    """Run a program in a folder, in a group of its own, which is killed as a whole at its limit.

    :param limit: seconds
    :return: its exit code, None where it was killed, and what it printed
    """
    with tempfile.TemporaryFile() as said:  # not a pipe: a child that lives on would keep it open
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise errors.ConverterFailed(f"{command[0]} does not start ({error.strerror})") from None
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(limit)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said.seek(0)
        return code, said.read(1 << 20).decode("utf-8", "replace")


def _die_with_parent() -> None:
    """On Linux, ask for SIGKILL when the job dies: a group of its own is not reached by a run that is stopped."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _kept_log(folder: Path) -> str:
    """The compiler's own log, without the folder's path in it; "" where it wrote none."""
    path = folder / LOG
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace").replace(f"{folder}/", "")
    path.write_text(text, encoding="utf-8")
    return text


def _hold(original: bytes, compiled: bytes, prediction: Prediction) -> dict[str, Any]:
    try:
        customs = tflite_structure.structure(compiled)["operators"].count(tflite_structure.EDGETPU_OPERATOR)
        if not customs and prediction.outcome in ("nothing", "refused"):
            raise errors.NotRun(f"not supported: {prediction.sentence}")
        return tflite_structure.hold_compiled_to_source(original, compiled)
    except errors.TFLiteUnreadable as error:
        what = f"what the compiler wrote cannot be read: {error.what}"
        raise errors.OutputsUnfit(what, expected="a TFLite file", found=error.found) from None


def _warnings(mapping: dict[str, Any], prediction: Prediction, report: edgetpu_log.Report) -> list[str]:
    found = []
    compiler = f"edgetpu_compiler {mapping['compiler']}"
    if mapping["compiler"] == "unknown":
        found.append("the Edge TPU compiler does not say its version")
    if not mapping["predicted"]["agrees"]:
        left = ", ".join(mapping["left"]) or "nothing"
        found.append(f"{compiler} left {left} on the CPU; predicted was: {prediction.sentence}")
    streamed = report.memory.get("streamed", 0)
    if streamed:
        cached, size = report.memory.get("cached", 0), edgetpu_memory.size
        found.append(
            f"too large for the Edge TPU's memory: {size(cached)} of parameters are kept on the chip, and "
            f"{size(streamed)} streamed at every inference"
        )
    inside = sum(count for _, count, status in report.statuses if status.startswith(edgetpu_log.MAPPED))
    if report.statuses and inside != mapping["mapped"]:
        found.append(f"{compiler} says that it mapped {inside} operators, its file holds {mapping['mapped']}")
    return found
