"""What an integer artifact is given for its users: the program that runs it, and what that needs to be sure of it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline.runtimes import signatures

FILE = "run_policy.py"


def run_policy_copy(target: Path, contract: dict[str, Any]) -> None:
    """Put ``run_policy.py`` beside the finished model, and tell in the contract by what it checks the model.

    To call last in a hop to integers, when ``files`` names the model and ``inputs`` and ``outputs`` are its own.
    ``sha256`` tells the model's bytes; ``tensor`` of each input and output is its name inside the model, by which
    it is bound where there are no signatures (tflite_runtime before 2.7); ``golden.largest_error`` is how far the
    model is from the golden outputs. A model that was compiled for the Edge TPU cannot be run here: it keeps the
    names and errors of its source, whose names the compiler keeps.
    """
    model = target / contract["files"][0]
    shutil.copyfile(Path(__file__).with_name(FILE), target / FILE)
    contract["files"] = [*(name for name in contract["files"] if name != FILE), FILE]
    contract["sha256"] = {model.name: hashlib.sha256(model.read_bytes()).hexdigest()}
    if model.stem.endswith("_edgetpu"):
        return
    interpreter = _interpreter(model)
    runner = interpreter.get_signature_runner()
    for side, details in (("inputs", runner.get_input_details()), ("outputs", runner.get_output_details())):
        for entry in contract[side]:
            entry["tensor"] = details[entry["name"]]["name"]
    if "golden" in contract:
        contract["golden"] = {**contract["golden"], "largest_error": _errors(interpreter, contract)}


def _interpreter(model: Path) -> Any:
    """Reference kernels: they give the same numbers on every machine, and so the same contract."""
    try:
        from ai_edge_litert import interpreter as runtime

        kernels = runtime.OpResolverType.BUILTIN_REF
    except ImportError:  # the tensorflow toolchain
        from tensorflow import lite as runtime

        kernels = runtime.experimental.OpResolverType.BUILTIN_REF
    return runtime.Interpreter(str(model), experimental_op_resolver_type=kernels)


def _errors(interpreter: Any, contract: dict[str, Any]) -> dict[str, float]:
    """The largest absolute error of each output on the golden inputs, to four digits."""
    import numpy as np

    golden = contract["golden"]
    given = {entry["name"]: np.array(golden["inputs"][entry["name"]], entry["dtype"]) for entry in contract["takes"]}
    found = contracts.decide(contract, signatures.bind(interpreter), given)
    names = [output["name"] for output in contract["outputs"]]
    wanted = {name: np.array(golden["outputs"][name]) for name in names}
    return {name: float(f"{np.abs(found[name] - values).max():.3e}") for name, values in wanted.items()}
