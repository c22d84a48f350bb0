"""Tensors as raw little-endian files with a JSON list, for runtimes that are not Python."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors

if TYPE_CHECKING:
    import numpy as np


def call(command: list[str], model: Path, inputs: Mapping[str, np.ndarray], names: list[str]) -> dict[str, np.ndarray]:
    """Run ``command JOB``; JOB is a folder with ``job.json`` and the inputs, where it writes the outputs.

    ``job.json`` holds ``model``, ``outputs`` (their names) and ``inputs`` (name, shape, dtype, file). The
    program writes ``outputs.json``, a list of the same form, and the files that it names.

    :raises errors.ConverterFailed: the program failed; its last lines are quoted
    """
    import numpy as np

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = []
        for index, (key, values) in enumerate(inputs.items()):
            (folder / f"in{index}").write_bytes(np.ascontiguousarray(values).tobytes())
            entries.append({"name": key, "shape": list(values.shape), "dtype": str(values.dtype), "file": f"in{index}"})
        job = {"model": str(model.resolve()), "inputs": entries, "outputs": names}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
        print(done.stdout, done.stderr, sep="\n")
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            # Node quotes the source line first, however long, and names the error behind it.
            telling = next((line for line in lines if re.match(r"(\w*Error|error)\b", line)), lines[-1])
            raise errors.ConverterFailed(f"{Path(command[0]).name} ended with {done.returncode}: {telling[:300]}")
        written: list[dict[str, Any]] = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
        return {
            entry["name"]: np.frombuffer((folder / entry["file"]).read_bytes(), entry["dtype"]).reshape(entry["shape"])
            for entry in written
        }
