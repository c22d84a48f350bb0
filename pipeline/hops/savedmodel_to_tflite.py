"""savedmodel -> tflite, float32 or with weights in float16 or int8, by TFLiteConverter. Batch 1, raw observation in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.hops import fixed_batch, for_users


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.tflite``.

    :param settings: ``weights``, "float32", "float16", or "dynamic": in int8, in activations of float32
    """
    import tensorflow as tf

    converter = fixed_batch.converter(source, contract)
    if settings["weights"] != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if settings["weights"] == "float16":
        converter.target_spec.supported_types = [tf.float16]
    content = fixed_batch.convert(converter)
    (target / fixed_batch.FILE).write_bytes(content)
    fixed_batch.describe(content, contract)
    if contract["part"] == "core":
        for_users.run_policy_copy(target, contract)
