"""Where artifacts are run for their checks. A new runtime is its file, a line here, and a test.

Each module has ``load(artifact, contract, needs) -> run``; ``run`` takes inputs by name ([batch, ...]) and
returns outputs by name. ``needs`` holds the folders of the toolchains that the runtime names besides its own.
"""

from __future__ import annotations

from pipeline.spec import Runtime

RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("onnxruntime", "device"),
        Runtime("ortweb", "device", needs=("node",)),
        Runtime("tensorflow", "tensorflow"),
        Runtime("tfjs", "device", needs=("node",)),
        Runtime("litert", "device"),
        Runtime("tflite_micro", "device"),
        Runtime("micro", "device"),
        Runtime("edgetpu", "device"),
        Runtime("torchscript", "torch"),
        Runtime("libtorch", "torch", needs=("libtorch",)),
        Runtime("weights", "device"),
    )
}
