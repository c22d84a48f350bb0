"""tflite int8 -> Edge TPU, by Google's edgetpu_compiler where it can be called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.hops import tflite_structure

FILE = "policy_edgetpu.tflite"


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy_edgetpu.tflite`` and the compiler's own ``policy_edgetpu.log``.

    :param settings: ``edgetpu``, the fields of :class:`pipeline.settings.EdgeTpu`
    :raises errors.NotRun: the compiler is not here
    :raises errors.ConverterFailed: it failed, hung, or wrote nothing
    :raises errors.OutputsUnfit: what it wrote does not hold to what it was given
    """
    command = settings["edgetpu"]["command"]
    if shutil.which(command[0]) is None:
        raise errors.NotRun(f"{command[0]} not found")
    model = shutil.copy(source / contract["files"][0], target / "policy.tflite")
    try:
        done = subprocess.run(
            [*command, "-s", "-o", str(target), str(model)],
            capture_output=True,
            text=True,
            timeout=settings["edgetpu"]["timeout"],
            cwd=target,
        )
    except subprocess.TimeoutExpired:
        limit = settings["edgetpu"]["timeout"]
        raise errors.ConverterFailed(
            f"{command[0]} did not end within {limit} s", remedy="Raise edgetpu.timeout in the config"
        ) from None
    Path(model).unlink(missing_ok=True)
    print(done.stdout, done.stderr, sep="\n")
    if done.returncode or not (target / FILE).is_file():
        lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
        telling = next((line for line in lines if "rror" in line), lines[-1] if lines else "it said nothing")
        raise errors.ConverterFailed(f"{command[0]} ended with {done.returncode} and wrote no model: {telling.strip()}")
    original = (source / contract["files"][0]).read_bytes()
    contract["mapping"] = tflite_structure.hold_compiled_to_source(original, (target / FILE).read_bytes())
    contract["files"] = [FILE]
