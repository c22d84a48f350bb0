"""savedmodel -> tflite, float32 or with float16 weights, by TFLiteConverter. Batch 1, raw observation in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.hops import fixed_batch


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``policy.tflite``.

    :param settings: ``weights``, "float32" or "float16"
    """
    import tensorflow as tf

    converter = fixed_batch.converter(source, contract)
    if settings["weights"] == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    content = fixed_batch.convert(converter)
    (target / fixed_batch.FILE).write_bytes(content)
    fixed_batch.describe(content, contract)
