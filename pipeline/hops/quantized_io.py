"""The quantized core with inputs and outputs of another type: float32 or uint8. The integers inside stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.hops import fixed_batch, for_users, tflite_joined


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.tflite``.

    :param settings: ``io``, "float32" or "uint8"
    :raises errors.NotRun: the core has no 8-bit inputs that could be uint8
    """
    dtypes = {entry["dtype"] for entry in (*contract["inputs"], *contract["outputs"])}
    if settings["io"] == "uint8" and dtypes != {"int8"}:
        raise errors.NotRun(f"not supported: inputs and outputs of rung {contract['rung']} are not all in 8 bits")
    core = (source / contract["files"][0]).read_bytes()
    outside = tflite_joined.UINT8 if settings["io"] == "uint8" else tflite_joined.FLOAT32
    content = tflite_joined.joined([core], [output["name"] for output in contract["outputs"]], outside)
    (target / fixed_batch.FILE).write_bytes(content)
    fixed_batch.describe(content, contract)
    for_users.run_policy_copy(target, contract)
