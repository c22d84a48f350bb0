"""tflite int8 -> C++ for microcontrollers: the model as a C array, and what stands around it as a header.

``policy_data.h`` and ``.cc`` hold the model, ``policy.h`` the float arithmetic before and behind it and ``act``, which
runs it between them, ``policy_example.cc`` a start for a firmware on TensorFlow Lite Micro, with the operators that
this model has and an arena that is enough. TFLM's own C++ sources are not part of Slipway: the tests compile the
example against small stand-ins for TFLM's headers, no more; ``policy_data.cc`` and ``policy.h`` are really compiled and
run, by the runtime ``micro``, around TFLM's own kernels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import contract as contracts
from pipeline import errors
from pipeline.hops import micro_source, micro_template, tflite_structure
from pipeline.runtimes import micro_interpreter

FILES = ["policy_data.cc", "policy_data.h", "policy.h", "policy_example.cc"]
# Where a method's name is not its operator's in capitalized words (tflite-micro, micro_mutable_op_resolver.h).
METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write the four files; the contract then is that of a whole policy, one observation at a time.

    :raises errors.NotRun: TFLM lacks an operator, or a step of the contract has no C++
    """
    content = (source / contract["files"][0]).read_bytes()
    fitted = micro_interpreter.fit(content)
    _place(contract, fitted)
    operators = sorted(set(tflite_structure.structure(content)["operators"]))
    sizes = {"bytes": len(content), "measured": fitted.arena_bytes, "arena": reserved(fitted.arena_bytes)}
    action = _action(contract)
    rung = contract.get("rung", "int8")
    told = errors.printable(
        f"{contract['agent']} ({contract['algorithm']}), {rung}, model of sha256 {_digest(content)}"
    )
    texts = (
        micro_source.array(content, told),
        micro_template.DATA_HEADER.format(told=told),
        micro_source.header(contract, sizes, told, action),
        micro_template.EXAMPLE.format(told=told, count=len(operators), added="\n".join(map(_added, operators))),
    )
    for name, text in zip(FILES, texts, strict=True):
        (target / name).write_text(text, encoding="utf-8")
    contract["micro"] = {**sizes, "operators": operators}
    contract["inputs"] = [
        {**entry, "shape": [1, *entry["shape"][1:]], "dtype": micro_source.taken(entry)} for entry in contract["takes"]
    ]
    kept = [{**entry, "dtype": "float32"} for entry in contract["outputs"]]
    answer = {"name": "action", "shape": action["shape"], "dtype": {"float": "float32"}.get(action["type"], "int32")}
    contract.update(files=FILES, part="policy", outputs=[answer, *kept])
    contract.pop("sha256", None)  # of the .tflite


def reserved(arena: int) -> int:
    """What to reserve where ``arena`` bytes were measured: a quarter and 1 KiB more, in steps of 16.

    Pointers of 32 bits need less than measured on 64; optimized kernels (CMSIS-NN, ESP-NN) ask for scratch besides.
    """
    return -(-(arena + arena // 4 + 1024) // 16) * 16


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _place(contract: dict[str, Any], fitted: micro_interpreter.Fitted) -> None:
    """Where in the model each input and output is."""
    for side, tensors in (("inputs", fitted.takes), ("outputs", fitted.gives)):
        for entry in contract[side]:
            if entry["dtype"] not in micro_source.MEMBERS:
                raise errors.NotRun(f"not supported: there is no C++ for {side} of {entry['dtype']}")
            entry["place"] = tensors[entry["name"]]["place"]


def _action(contract: Mapping[str, Any]) -> dict[str, Any]:
    """C++ type, shape and count of what the epilogue gives."""
    import numpy as np

    decision = next(entry for entry in contract["outputs"] if entry["name"] == contract["decision"])
    allowed = {entry["name"]: np.ones([1, *entry["shape"][1:]], bool) for entry in contract["takes"]}
    found = contracts.epilogue(contract["epilogue"], np.zeros(decision["shape"], np.float32), allowed)
    return {
        "type": "float" if found.dtype.kind == "f" else "int32_t",
        "shape": [int(n) for n in found.shape],
        "count": found.size,
    }


def _added(operator: str) -> str:
    """Registers an operator in the example: ``CONV_2D`` is ``AddConv2D``."""
    name = METHODS.get(operator) or "".join(
        word if word[0].isdigit() else word.capitalize() for word in operator.split("_")
    )
    return f"  if (resolver.Add{name}() != kTfLiteOk) return false;"
