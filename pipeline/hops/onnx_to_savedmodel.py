"""onnx (opset 14) -> savedmodel, by onnx-tf. The batch stays dynamic; names stay in the signature."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.hops import savedmodel_canonical

FOLDER = "saved_model"


def convert(source: Path, target: Path, contract: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write ``saved_model/`` with the signature ``serving_default``.

    :raises errors.OpsetUnfit: the ONNX file is of another opset than onnx-tf takes safely
    :raises errors.NotRun: onnx-tf lacks one of its operators
    :raises errors.ConverterFailed: it failed in another way
    """
    import onnx
    import onnx_tf.backend
    import tensorflow as tf

    path = source / contract["files"][0]
    model = onnx.load(path, load_external_data=False)
    opset = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    if opset != settings["opset"]:
        raise errors.OpsetUnfit(
            "onnx-tf 1.10 takes no other opset safely", file=path, expected=settings["opset"], found=opset
        )
    try:
        onnx_tf.backend.prepare(model).export_graph(str(target / FOLDER))
    except Exception as error:  # onnx-tf's refusals share no class; TensorFlow wraps them in its own traceback
        traceback.print_exc()
        absent = re.findall(r"(\w+) version \d+ is not implemented", str(error))
        if absent:
            raise errors.lacking("onnx-tf", absent) from None
        operators = ", ".join(sorted({node.op_type for node in model.graph.node}))
        line = str(error).strip().splitlines()[-1].strip()
        raise errors.ConverterFailed(f"onnx-tf: {line} The graph has {operators}", file=path) from None
    savedmodel_canonical.rewrite(target / FOLDER)
    contract["files"] = [FOLDER]
    contract["signature"] = "serving_default"
    contract["tensorflow"] = tf.__version__
