"""savedmodel -> TensorFlow.js graph model, by tensorflowjs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pipeline import errors

FILE = "model.json"


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``model.json`` and its weight shards.

    The converter loses the outputs' names where two have the same shape and dtype, and writes each node's
    attributes in random order: both are put right here.

    :raises errors.NotRun: TensorFlow.js lacks one of its operators
    """
    import tensorflow as tf
    from tensorflowjs.converters import tf_saved_model_conversion_v2

    folder = str(source / contract["files"][0])
    try:
        tf_saved_model_conversion_v2.convert_tf_saved_model(folder, str(target))
    except ValueError as error:
        title, _, absent = str(error).partition("\n")
        if not title.startswith("Unsupported Ops"):
            raise
        raise errors.lacking("TensorFlow.js", re.split(r"[\s,]+", absent.strip())) from None
    signature = tf.saved_model.load(folder).signatures[contract["signature"]]
    path = target / FILE
    model = json.loads(path.read_text(encoding="utf-8"))
    # TensorFlow flattens structured outputs in the order of their sorted names: Identity, Identity_1, …
    written = {entry["name"]: entry for entry in model["signature"]["outputs"].values()}
    nodes = ["Identity:0", *(f"Identity_{n}:0" for n in range(1, len(written)))]
    names = sorted(signature.structured_outputs)
    model["signature"]["outputs"] = {name: written[node] for name, node in zip(names, nodes, strict=True)}
    # What makes `predict` answer by name; the graph's outputs stand in the order of the signature's sorted keys.
    model["userDefinedMetadata"] = {"structuredOutputKeys": names}
    path.write_text(json.dumps(model, sort_keys=True, separators=(",", ":")), encoding="utf-8")
    for output in contract["outputs"]:
        if output["dtype"] == "int64":  # JavaScript has no comfortable 64-bit integers: TFJS answers int32
            output["dtype"] = "int32"
    contract["files"] = [FILE, *(shard for group in model["weightsManifest"] for shard in group["paths"])]
