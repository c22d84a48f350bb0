"""An agent's integer policy on a Raspberry Pi, with or without a Coral. Copy this folder to the device: that is all.

policy = Policy("artifacts/pendulum_sac/tflite_int8")
action = policy.predict(observation)     # one observation, or a batch: as SB3's predict(deterministic=True)

python run_policy.py                     # holds the folder to its golden vectors, and measures the latency
python run_policy.py --observation '[0.5, 0.8, -1.0]'

Observations are taken as the environment gives them (a Dict by its keys, images 0 to 255 in the layout of policy.json),
and actions are ready for it. A recurrent policy keeps its states: call policy.reset() where an episode starts.
It needs Python 3.7, numpy, and ai_edge_litert, tflite_runtime or tensorflow; for *_edgetpu.tflite also libedgetpu.
"""

import argparse
import hashlib
import importlib
import json
import sys
import time
from pathlib import Path

import numpy as np

LIBRARY = {"darwin": "libedgetpu.1.dylib", "win32": "edgetpu.dll"}.get(sys.platform, "libedgetpu.so.1")
SLACK = 1 / 16  # of an output's range, beside the recorded error: CPUs' kernels and the Edge TPU round differently
MEASURED = 5.0  # seconds, at most, of decisions that are timed


class Broken(Exception):
    """This folder must not act. Says what is wrong and what to do."""


def runtime():
    """The first TFLite runtime that is installed: its name, its Interpreter, and its load_delegate."""
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter", "tensorflow"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "tensorflow":
            return name, module.lite.Interpreter, module.lite.experimental.load_delegate
        return name.split(".")[0], module.Interpreter, module.load_delegate
    raise Broken("no TFLite runtime is installed: pip install ai-edge-litert (or tflite-runtime, or tensorflow)")


class Policy:
    """The policy in a folder, held to its golden vectors before it is let act.

    :param folder: policy.json and the model
    :param cpu: run policy.tflite on the CPU; beside a model for the Edge TPU, copy it there from what was compiled
    :raises Broken: a file is missing or damaged, the two are not of one build, or a golden vector does not hold
    """

    def __init__(self, folder=".", cpu=False, threads=1):
        self.folder = Path(folder)
        try:
            self.contract = json.loads(self._read("policy.json").decode("utf-8"))
            self.model = self._model(cpu)
            self.interpreter = self._interpreter(threads)
            self.interpreter.allocate_tensors()
            self._takes = self._named("inputs", self.interpreter.get_input_details())
            self._gives = self._named("outputs", self.interpreter.get_output_details())
            golden = self.contract["golden"]["inputs"]
            self.golden = {e["name"]: np.array(golden[e["name"]], e["dtype"]) for e in self.contract["takes"]}
            self.reset()
            self.errors, self.allowed = self._errors(), self._allowed()
            self._hold()
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise Broken(f"policy.json or model damaged ({type(error).__name__}: {error}). Copy both again") from error

    def predict(self, observation, action_mask=None):
        """The action, for one observation or for a batch of them.

        :param observation: as the environment gives it; of a Dict space a dict by its keys
        :param action_mask: of a MaskablePPO, true where a choice is allowed; None allows all
        :raises ValueError: it is not of the policy's shape, or holds NaN
        """
        inputs, single = self._observed(observation)
        rows = len(next(iter(inputs.values())))
        for entry in self.contract["takes"]:
            shape = (rows, *entry["shape"][1:])
            if entry["role"] == "mask":
                allowed = np.ones(shape, bool) if action_mask is None else np.asarray(action_mask, bool)
                inputs[entry["name"]] = allowed.reshape(shape)
            elif entry["role"] in ("state", "keep"):  # 0 where an episode starts
                inputs[entry["name"]] = self._fed.get(entry["name"], np.zeros(shape, np.float32))
                if inputs[entry["name"]].shape != shape:
                    raise ValueError(f"the states are not of {rows} observations: call reset() in between")
        if action_mask is not None and "action_mask" not in inputs:
            raise ValueError("this policy takes no action_mask")
        outputs = self.decide(inputs)
        self._fed = {state["input"]: outputs[state["output"]] for state in self.contract["states"]}
        self._fed["keep"] = np.ones((rows, 1), np.float32)
        return outputs["action"][0] if single else outputs["action"]

    def reset(self, rows=None):
        """An episode starts: forget all states, or those where ``rows`` (bool, one for each observation) is true."""
        if rows is None:
            self._fed = {}
        elif self._fed:
            self._fed["keep"][np.asarray(rows, bool)] = 0

    def decide(self, inputs):
        """Every output by name from all inputs that policy.json lists under "takes", [batch, ...] by name."""
        ready = prologue(self.contract["prologue"], inputs)
        count = len(next(iter(ready.values())))
        rows = [self._invoke({name: ready[name][row : row + 1] for name in self._takes}) for row in range(count)]
        outputs = {name: np.concatenate([row[name] for row in rows]) for name in self._gives}
        outputs["action"] = epilogue(self.contract["epilogue"], outputs[self.contract["decision"]], inputs)
        return outputs

    def _errors(self):
        """The largest absolute error of each output over the golden vectors."""
        found, wanted = self.decide(self.golden), self.contract["golden"]["outputs"]
        return {name: float(np.abs(found[name] - np.array(wanted[name])).max()) for name in self._gives}

    def _allowed(self):
        """What each of those errors may be: what was found when the model was made, and some slack."""
        found = {}
        for name, entry in self._gives.items():
            golden, scale = self.contract["golden"], entry["quantization"][0]
            span = scale * 256 ** np.dtype(entry["dtype"]).itemsize or 2 * np.abs(golden["outputs"][name]).max()
            found[name] = golden["largest_error"][name] + SLACK * span
        return found

    def _hold(self):
        for name in self._gives:
            if not self.errors[name] <= self.allowed[name]:
                off = f"{name} is off by {self.errors[name]:.3g} on the golden vectors, not {self.allowed[name]:.3g}"
                raise Broken(
                    off + " at most: this does not decide as the agent did. Copy the folder again, or rebuild it"
                )
        told = self.contract["golden"]["outputs"]
        decision = np.array(told[self.contract["decision"]], np.float32)
        action = epilogue(self.contract["epilogue"], decision, self.golden)
        if np.shape(action) != np.shape(told["action"]) or not np.allclose(action, told["action"], atol=1e-4):
            raise Broken("the steps of the epilogue do not give the golden actions. Copy policy.json again")

    def _read(self, name):
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise Broken(f"{self.folder / name} cannot be read ({error.strerror}). Copy the whole folder") from error

    def _model(self, cpu):
        name = self.contract["files"][0]
        name = name.replace("_edgetpu", "") if cpu else name
        found = hashlib.sha256(self._read(name)).hexdigest()
        if self.contract["sha256"].get(name, found) != found:
            raise Broken(f"{name} is damaged, or not of this policy.json: its sha256 differs. Copy both again")
        return self.folder / name

    def _interpreter(self, threads):
        name, interpreter, load_delegate = runtime()
        self.place = name + " on the CPU"
        if not self.model.name.endswith("_edgetpu.tflite"):
            return interpreter(str(self.model), num_threads=threads)
        try:
            delegate = load_delegate(LIBRARY)
        except (OSError, ValueError) as error:
            raise Broken(f"no Coral answers ({LIBRARY} gave no delegate). Attach it and install libedgetpu") from error
        self.place = name + " on the Edge TPU"
        return interpreter(str(self.model), experimental_delegates=[delegate])

    def _named(self, side, details):
        """Tensors by the names of policy.json, held to the shapes, dtypes and scales that it tells."""
        tensors, found = {tensor["name"]: tensor for tensor in details}, {}
        for entry in self.contract[side]:
            tensor = found[entry["name"]] = tensors[entry["tensor"]]
            told = self.contract["quantization"].get(entry["name"], {"scale": 0.0, "zero_point": 0})
            stated = [entry["shape"], entry["dtype"], told["scale"], told["zero_point"]]
            held = [tensor["shape"].tolist(), np.dtype(tensor["dtype"]).name, *tensor["quantization"]]
            if stated != held:
                raise ValueError(f"{entry['name']} is {held} in the model, {stated} in policy.json")
        return found

    def _observed(self, observation):
        """The observation's inputs, [batch, ...] by name, and whether it was a single one."""
        inputs, singles = {}, set()
        for entry in self.contract["takes"]:
            if entry["role"] != "observation":
                continue
            name, shape = entry["name"], tuple(entry["shape"][1:])
            if "key" in entry and (not isinstance(observation, dict) or entry["key"] not in observation):
                raise ValueError(f"the observation has no key {entry['key']!r}")
            values = np.asarray(observation[entry["key"]] if "key" in entry else observation)
            if values.shape != shape and (not values.ndim or values.shape[1:] != shape):
                found = f"expected {shape} or (batch, ...) of it, {entry['layout']}; found {values.shape}"
                raise ValueError(f"the observation {name} has another shape: {found}")
            singles.add(values.shape == shape)
            inputs[name] = values.reshape((-1, *shape)).astype(entry["dtype"])
            if np.isnan(inputs[name]).any():
                raise ValueError(f"the observation {name} holds NaN")
        if len(singles) != 1 or len({len(values) for values in inputs.values()}) != 1:
            raise ValueError("the parts of the observation are not of one batch")
        return inputs, singles.pop()

    def _invoke(self, tensors):
        for name, values in tensors.items():
            entry, (scale, zero_point) = self._takes[name], self._takes[name]["quantization"]
            if scale:
                limits = np.iinfo(entry["dtype"])
                values = np.clip(np.round(values / np.float32(scale)) + zero_point, limits.min, limits.max)
            self.interpreter.set_tensor(entry["index"], values.astype(entry["dtype"]))
        self.interpreter.invoke()
        found = {name: self.interpreter.get_tensor(entry["index"]) for name, entry in self._gives.items()}
        for name, entry in self._gives.items():
            scale, zero_point = entry["quantization"]
            if scale:
                found[name] = (found[name].astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
        return found


def prologue(steps, inputs):
    """What stands before the network: inputs of the whole policy -> those of the network, float32."""
    found = dict(inputs)
    for step in steps:
        x = found[step["input"]]
        shape = x.shape[1:]
        if step["op"] == "normalize":  # VecNormalize, in float64 as Stable-Baselines3 does it
            mean, variance = (np.reshape(step[key], shape) for key in ("mean", "variance"))
            limit = float(step["clip"])
            x = np.clip((x - mean) / np.sqrt(variance + step["epsilon"]), -limit, limit)
        elif step["op"] == "equalize":
            x = (x - np.reshape(step["middle"], shape)) / np.reshape(step["half"], shape)
        elif step["op"] == "one_hot":
            index = x.reshape(len(x), -1)
            x = np.concatenate([index[:, [i]] == np.arange(n) for i, n in enumerate(step["sizes"])], axis=1)
        elif step["op"] == "reset":
            x = x * inputs[step["by"]]
        else:
            raise ValueError("unknown step " + repr(step["op"]))
        found[step["input"]] = x
    return {name: x.astype(np.float32) for name, x in found.items()}


def epilogue(steps, x, inputs):
    """What stands behind the network: its decision, [batch, ...] -> actions for the environment."""
    for step in steps:
        low, high = (np.array(step.get(key, 0), np.float32) for key in ("low", "high"))
        if step["op"] == "mask":
            x = np.where(inputs[step["input"]], x, np.float32(step["value"]))
        elif step["op"] == "argmax" and "sizes" in step:
            parts = np.split(x, np.cumsum(step["sizes"])[:-1], axis=1)
            x = np.stack([part.argmax(axis=1) for part in parts], axis=1)
        elif step["op"] == "argmax":
            x = x.argmax(axis=1)
        elif step["op"] == "positive":
            x = (x > 0).astype(np.int64)
        elif step["op"] == "tanh":
            x = np.tanh(x)
        elif step["op"] == "clip":
            x = np.clip(x, low, high)
        elif step["op"] == "unscale":
            x = low + np.float32(0.5) * (x + np.float32(1)) * (high - low)
        elif step["op"] == "reshape":
            x = x.reshape([len(x), *step["shape"]])
        else:
            raise ValueError("unknown step " + repr(step["op"]))
    return x


def latency(policy, decisions):
    """Milliseconds of each decision on the first golden vector, prologue and epilogue included."""
    inputs, ended = {name: values[:1] for name, values in policy.golden.items()}, [time.perf_counter()]
    while len(ended) <= max(1, decisions) and ended[-1] < ended[0] + MEASURED:
        policy.decide(inputs)
        ended.append(time.perf_counter())
    return 1e3 * np.diff(ended)


def main(arguments=None):
    """Check the folder, time it, and answer an observation if there is one. Exit code 0; 1 says why on stderr."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", default=Path(__file__).resolve().parent, help="of the policy; this file's own")
    parser.add_argument("--cpu", action="store_true", help="run policy.tflite on the CPU, not the compiled model")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--decisions", type=int, default=1000, help="how many are timed, within 5 s")
    parser.add_argument("--observation", help="as JSON: what to answer")
    parser.add_argument("--action-mask", help="as JSON: of a MaskablePPO, true where a choice is allowed")
    asked = parser.parse_args(arguments)
    try:
        policy = Policy(asked.folder, asked.cpu, asked.threads)
        print(f"{policy.contract['agent']} ({policy.contract['algorithm']}): {policy.model.name} in {policy.place}")
        errors = [f"{name} {error:.3g} (allowed {policy.allowed[name]:.3g})" for name, error in policy.errors.items()]
        print(f"golden vectors hold: {len(next(iter(policy.golden.values())))}, largest error of {', '.join(errors)}")
        spent = latency(policy, asked.decisions)
        p50, p99 = np.percentile(spent, [50, 99])
        print(f"latency of {len(spent)} decisions: p50 {p50:.3f} ms, p99 {p99:.3f} ms")
        if asked.observation is not None:
            mask = None if asked.action_mask is None else json.loads(asked.action_mask)
            print("action:", json.dumps(policy.predict(json.loads(asked.observation), mask).tolist()))
    except (Broken, ValueError) as error:
        print("run_policy: " + str(error), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
