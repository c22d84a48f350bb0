"""What libraries do only once in a process, done before a warm process forks, so that no job pays for it.

Each does a conversion in small, as far as it starts no thread: a fork has only the thread that forked. Figures are CPU
time of one job before and after, measured on a 2x64 network.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto


def torch() -> None:
    """The registry of the newer ONNX exporter, and what torch.export imports late: 2.3 s -> 1.1 s."""
    import torch as library

    module = library.nn.Sequential(library.nn.Linear(2, 2), library.nn.Tanh()).eval()
    batch = {0: library.export.Dim("batch")}
    with contextlib.redirect_stdout(io.StringIO()):
        library.onnx.export(module, (library.zeros(2, 2),), dynamo=True, verbose=False, dynamic_shapes=(batch,))


def tensorflow() -> None:
    """Autograph's translation of onnx-tf's own functions, of which there is one an operator: 1.8 s -> 0.3 s.

    The functions are translated, and called in a bare graph: a ``tf.function`` would begin the eager context, whose
    threads a fork would wait for in vain.
    """
    import onnx_tf.backend
    import tensorflow as library
    from tensorflow.python.autograph.core import ag_ctx
    from tensorflow.python.autograph.impl import api

    with library.Graph().as_default():
        module = onnx_tf.backend.prepare(_model()).tf_module
        translated = api.tf_convert(module.__call__.python_function, ag_ctx.ControlStatusCtx(ag_ctx.Status.ENABLED))
        translated(x=library.compat.v1.placeholder(library.float32, [None, 4], name="x"))


def _model() -> ModelProto:
    """An ONNX graph, opset 14, of operators that policies have; [batch, 4] -> [batch, 2]."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    constants = {"w": np.ones((4, 4), np.float32), "b": np.zeros(4, np.float32), "one": np.float32(1)}
    nodes: list[tuple[str, str, str, dict[str, Any]]] = [
        ("Sub", "x b", "a", {}), ("Div", "a one", "c", {}), ("Clip", "c one one", "d", {}), ("Gemm", "d w b", "e", {}),
        ("Tanh", "e", "f", {}), ("Relu", "f", "g", {}), ("ArgMax", "g", "y", {"axis": 1, "keepdims": 0}),
    ]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node(operator, takes.split(), [gives], **more) for operator, takes, gives, more in nodes],
        "rehearsal",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["batch"])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
