"""A Stable-Baselines3 policy in NumPy, from its weights alone. Copy this file wherever you need it.

policy = NumpyPolicy("artifacts/cartpole_ppo/weights")
outputs = policy({"observation": observations})      # [batch, ...] in the environment's units
outputs["action"]                                    # as SB3's predict(deterministic=True)

Inputs are those of policy.json. Of a recurrent policy feed the new states back, and keep = 0 where an episode starts.
"""

import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x, layer):
    beta, threshold = layer.get("beta", 1), layer.get("threshold", 20)
    return np.where(x * beta > threshold, x, np.logaddexp(x * beta, 0) / beta)


def elu(x, alpha, divisor=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / divisor))


ACTIVATIONS = {
    "tanh": lambda x, layer: np.tanh(x),
    "relu": lambda x, layer: np.maximum(x, 0),
    "relu6": lambda x, layer: np.clip(x, 0, 6),
    "elu": lambda x, layer: elu(x, layer["alpha"]),
    "celu": lambda x, layer: elu(x, layer["alpha"], layer["alpha"]),
    "selu": lambda x, layer: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "leaky_relu": lambda x, layer: np.where(x > 0, x, np.float32(layer["negative_slope"]) * x),
    "sigmoid": lambda x, layer: sigmoid(x),
    "silu": lambda x, layer: x * sigmoid(x),
    "mish": lambda x, layer: x * np.tanh(softplus(x, layer)),
    "gelu": lambda x, layer: x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "softplus": softplus,
    "softsign": lambda x, layer: x / (1 + np.abs(x)),
    "hardtanh": lambda x, layer: np.clip(x, layer["min_val"], layer["max_val"]),
    "hardsigmoid": lambda x, layer: np.clip(x / 6 + 0.5, 0, 1),
    "hardswish": lambda x, layer: x * np.clip(x / 6 + 0.5, 0, 1),
    "hardshrink": lambda x, layer: np.where(np.abs(x) > layer["lambd"], x, 0),
    "softshrink": lambda x, layer: x - np.clip(x, -layer["lambd"], layer["lambd"]),
    "tanhshrink": lambda x, layer: x - np.tanh(x),
    "logsigmoid": lambda x, layer: -np.logaddexp(0, -x),
    "flatten": lambda x, layer: x.reshape(len(x), -1),
    "transpose": lambda x, layer: x.transpose(layer["axes"]),
    "affine": lambda x, layer: x * np.float32(layer["scale"]) + np.float32(layer["shift"]),
}


class NumpyPolicy:
    def __init__(self, folder):
        self.weights = load_file(Path(folder) / "weights.safetensors")
        self.net = json.loads((Path(folder) / "architecture.json").read_text())

    def __call__(self, inputs):
        given = self.prepare({name: np.asarray(values) for name, values in inputs.items()})
        features = [self.through(part["layers"], given[part["input"]]) for part in self.net["features"]]
        x, states = np.concatenate(features, axis=1), {}
        for layer, name in enumerate(self.net["memory"]):  # an LSTM, its gates in torch's order
            joined = np.concatenate([x, given[f"h{layer}"]], axis=1)
            i, f, g, o = (self.linear(f"{name}.{gate}", joined) for gate in range(4))
            cell = sigmoid(f) * given[f"c{layer}"] + sigmoid(i) * np.tanh(g)
            x = sigmoid(o) * np.tanh(cell)
            states |= {f"new_h{layer}": x, f"new_c{layer}": cell}
        decision = self.through(self.net["layers"], x)
        return {"action": self.finish(decision, given), self.net["decision"]: decision, **states}

    def prepare(self, given):
        found = dict(given)
        for step in self.net["prologue"]:
            x = found[step["input"]]
            if step["op"] == "normalize":  # VecNormalize, in float64 as Stable-Baselines3 does it
                mean, variance = (np.reshape(step[key], x.shape[1:]) for key in ("mean", "variance"))
                clip = float(step["clip"])
                x = np.clip((x - mean) / np.sqrt(variance + step["epsilon"]), -clip, clip)
            elif step["op"] == "one_hot":
                index = x.reshape(len(x), -1)
                x = np.concatenate([index[:, [i]] == np.arange(n) for i, n in enumerate(step["sizes"])], axis=1)
            else:  # reset the state where an episode starts
                x = x * given[step["by"]]
            found[step["input"]] = x
        return {
            name: x if x.dtype == bool and name == "action_mask" else x.astype(np.float32) for name, x in found.items()
        }

    def through(self, layers, x):
        for layer in layers:
            if layer["op"] == "linear":
                x = self.linear(layer["name"], x)
            elif layer["op"] == "conv":
                x = self.convolve(layer, x)
            else:
                x = ACTIVATIONS[layer["op"]](x, layer).astype(np.float32)
        return x

    def linear(self, name, x):
        return x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]

    def convolve(self, layer, x):
        weight, (down, right) = self.weights[layer["name"] + ".weight"], layer["stride"]
        windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::down, ::right]
        found = np.tensordot(windows, weight, axes=([1, 4, 5], [1, 2, 3])) + self.weights[layer["name"] + ".bias"]
        return found.transpose(0, 3, 1, 2)

    def finish(self, x, given):
        for step in self.net["epilogue"]:
            low, high = (np.array(step.get(key, 0), np.float32) for key in ("low", "high"))
            if step["op"] == "mask":
                x = np.where(given["action_mask"], x, np.float32(step["value"]))
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
                x = low + np.float32(0.5) * (x + 1) * (high - low)
            else:
                x = x.reshape(len(x), *step["shape"])
        return x
