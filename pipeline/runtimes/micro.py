"""The C++ for microcontrollers, compiled for this machine, around TensorFlow Lite Micro's own kernels.

``policy_data.cc`` and ``policy.h`` become a library. Its ``act`` is asked as a firmware asks it, and what it takes for
TFLM's interpreter hands the tensors to TFLM's Python package, which runs the bytes that came out of the compiled array.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors, toolchains
from pipeline.runtimes import micro_interpreter

if TYPE_CHECKING:
    import numpy as np

    from pipeline.contract import Run

# Without fused multiplications, which would round otherwise than NumPy does; hidden, as the tables of two policies in
# one process would be taken for one another (GCC makes static variables of inline functions unique in a process).
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fvisibility=hidden", "-shared", "-fPIC"]
HARNESS = """\
#include "policy.h"
#include "policy_data.h"

namespace {
struct Tensor {
  struct {
    int8_t* int8;
    uint8_t* uint8;
    int16_t* i16;
    float* f;
  } data;
  explicit Tensor(void* held) {
    data.int8 = static_cast<int8_t*>(held);
    data.uint8 = static_cast<uint8_t*>(held);
    data.i16 = static_cast<int16_t*>(held);
    data.f = static_cast<float*>(held);
  }
  Tensor* operator->() { return this; }
};
struct Interpreter {
  void** inputs;
  void** outputs;
  int (*invoke)();
  Tensor input(int i) { return Tensor(inputs[i]); }
  Tensor output(int i) { return Tensor(outputs[i]); }
  int Invoke() { return invoke(); }
};
}  // namespace

#pragma GCC visibility push(default)
extern "C" {
const unsigned char* slipway_data() { return policy_data; }
unsigned slipway_size() { return policy_data_size; }
unsigned slipway_expected() { return policy::kDataBytes; }
unsigned slipway_inputs() { return sizeof(policy::Inputs); }
int slipway_act(policy::Inputs* in, policy::Action* action, void** inputs, void** outputs, int (*invoke)()) {
  Interpreter interpreter{inputs, outputs, invoke};
  return policy::act(interpreter, *in, *action) ? 0 : 1;
}
}
"""


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    """One observation at a time; ``figures`` holds the arena's size.

    :raises errors.NotRun: there is no C++ compiler here
    :raises errors.ConverterFailed: the C++ does not compile
    :raises errors.OutputsUnfit: header, array and contract are not of one build
    """
    library = _library(artifact)
    if library.slipway_size() != library.slipway_expected():
        what = "policy.h is of another policy_data.cc"
        raise errors.OutputsUnfit(what, expected=library.slipway_expected(), found=library.slipway_size())
    library.slipway_data.restype = ctypes.c_void_p
    content = ctypes.string_at(library.slipway_data(), library.slipway_size())
    fitted = micro_interpreter.fit(content)
    return micro_interpreter.Measured(_Policy(library, fitted, contract), {"arena_bytes": fitted.arena_bytes})


def _library(artifact: Path) -> Any:
    compiler = toolchains.compiler()
    if compiler is None:
        raise errors.NotRun(toolchains.absence("libtorch"))
    with tempfile.TemporaryDirectory() as name:
        harness, library = Path(name) / "harness.cc", Path(name) / "policy.so"
        harness.write_text(HARNESS, encoding="utf-8")
        sources = [str(harness), str(artifact / "policy_data.cc")]
        command = [compiler, *FLAGS, "-I", str(artifact), "-o", str(library), *sources]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stderr)
        if done.returncode:
            telling = next((line for line in done.stderr.splitlines() if "error:" in line), f"code {done.returncode}")
            raise errors.ConverterFailed(f"the C++ does not compile: {telling.strip()[:300]}")
        return ctypes.CDLL(str(library))


class _Policy:
    """``policy::act`` for each observation, its inputs and action read and written as C structs."""

    def __init__(self, library: Any, fitted: micro_interpreter.Fitted, contract: Mapping[str, Any]) -> None:
        import numpy as np

        self.library, self.fitted, self.contract = library, fitted, contract
        fields = [(entry["name"], entry["dtype"], (math.prod(entry["shape"]),)) for entry in contract["inputs"]]
        self.inputs = np.dtype(fields, align=True)
        if self.inputs.itemsize != library.slipway_inputs():
            what = "policy.h takes other inputs than policy.json"
            raise errors.OutputsUnfit(what, expected=self.inputs.itemsize, found=library.slipway_inputs())
        self.action = next(entry for entry in contract["outputs"] if entry["name"] == "action")
        self.tensors = [
            {name: np.zeros(entry["shape"], entry["dtype"]) for name, entry in side.items()}
            for side in (fitted.takes, fitted.gives)
        ]
        self.failed: Exception | None = None

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import numpy as np

        rows = [self._act({name: values[row] for name, values in inputs.items()}) for row in range(_count(inputs))]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _act(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import numpy as np

        held = np.zeros(1, self.inputs)
        for name, values in given.items():
            held[name] = values.ravel()
        action = np.zeros(self.action["shape"], self.action["dtype"])
        places = [_pointers(side, tensors) for side, tensors in zip(self._sides(), self.tensors, strict=True)]
        invoke = ctypes.CFUNCTYPE(ctypes.c_int)(self._invoke)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (held, action)]
        if self.library.slipway_act(*pointers, *places, invoke):
            raise self.failed or errors.ConverterFailed("policy::act failed")
        found = {"action": action, self.contract["decision"]: self._decision()}
        return {**found, **{state["output"]: held[state["input"]] for state in self.contract["states"]}}

    def _sides(self) -> tuple[Any, Any]:
        return self.fitted.takes, self.fitted.gives

    def _invoke(self) -> int:
        """What the C++ takes for ``MicroInterpreter::Invoke``."""
        try:
            found = self.fitted(**self.tensors[0])
        except Exception as error:  # it cannot cross the C++
            self.failed = error
            return 1
        for name, values in found.items():
            self.tensors[1][name][...] = values
        return 0

    def _decision(self) -> np.ndarray:
        """The core's decision, which the C++ keeps to itself."""
        import numpy as np

        name = self.contract["decision"]
        values, entry = self.tensors[1][name], self.fitted.gives[name]
        if not entry["scale"]:
            return values.copy()
        return (values.astype(np.float32) - np.float32(entry["zero_point"])) * np.float32(entry["scale"])


def _count(inputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(inputs.values())))


def _pointers(told: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, np.ndarray]) -> Any:
    """An array of the tensors' addresses, in the order of their places in the model."""
    found = (ctypes.c_void_p * len(tensors))()
    for name, entry in told.items():
        found[entry["place"]] = tensors[name].ctypes.data
    return found
