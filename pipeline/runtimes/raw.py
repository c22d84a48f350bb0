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


class Program:
    """``command MODEL`` kept running: for each line JOB on its standard input it runs the model once.

    JOB is a folder with ``job.json`` and the inputs, where the program writes the outputs. ``job.json`` holds
    ``outputs`` (their names) and ``inputs`` (name, shape, dtype, file). The program writes ``outputs.json``, a
    list of the same form, and the files that it names, then says so by a line on its standard output.

    :param names: of the outputs, in order
    """

    def __init__(self, command: list[str], model: Path, names: list[str]) -> None:
        self.name = Path(command[0]).name
        self.names = names
        self.said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            [*command, str(model.resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
        )

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name.

        :raises errors.ConverterFailed: the program failed; its telling line is quoted
        """
        import numpy as np

        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            entries = []
            for index, (key, values) in enumerate(inputs.items()):
                (folder / f"in{index}").write_bytes(np.ascontiguousarray(values).tobytes())
                shape = list(values.shape)
                entries.append({"name": key, "shape": shape, "dtype": str(values.dtype), "file": f"in{index}"})
            job = {"inputs": entries, "outputs": self.names}
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
            try:
                self.process.stdin.write(f"{folder}\n")
                self.process.stdin.flush()
                answered = self.process.stdout.readline()
            except OSError:
                answered = ""
            if not answered:
                raise self._failure()
            written: list[dict[str, Any]] = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
            return {
                entry["name"]: np.frombuffer((folder / entry["file"]).read_bytes(), entry["dtype"]).reshape(
                    entry["shape"]
                )
                for entry in written
            }

    def _failure(self) -> errors.ConverterFailed:
        code = self.process.wait()
        self.said.seek(0)
        text = self.said.read()
        print(text)
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
        # Node quotes the source line first, however long, and names the error behind it.
        telling = next((line for line in lines if re.match(r"(\w*Error|error)\b", line)), lines[-1])
        return errors.ConverterFailed(f"{self.name} ended with {code}: {telling[:300]}")

    def __del__(self) -> None:
        if hasattr(self, "process"):
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process.wait()
            self.said.close()
