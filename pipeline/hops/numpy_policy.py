"""A Stable-Baselines3 policy in NumPy, from its weights alone. Copy this file wherever you need it.

policy = NumpyPolicy("artifacts/cartpole_ppo/weights")
outputs = policy({"observation": observations})      # [batch, ...] in the environment's units
outputs["action"]                                    # as SB3's predict(deterministic=True)
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

ACTIVATIONS = {
    "tanh": lambda x, layer: np.tanh(x),
    "relu": lambda x, layer: np.maximum(x, 0),
    "elu": lambda x, layer: np.where(x > 0, x, layer["alpha"] * np.expm1(np.minimum(x, 0))),
    "leaky_relu": lambda x, layer: np.where(x > 0, x, layer["negative_slope"] * x),
    "sigmoid": lambda x, layer: 1 / (1 + np.exp(-x)),
    "silu": lambda x, layer: x / (1 + np.exp(-x)),
    "softplus": lambda x, layer: np.logaddexp(x, 0),
    "hardtanh": lambda x, layer: np.clip(x, layer["min_val"], layer["max_val"]),
    "flatten": lambda x, layer: x.reshape(len(x), -1),
}


class NumpyPolicy:
    def __init__(self, folder):
        self.weights = load_file(Path(folder) / "weights.safetensors")
        self.net = json.loads((Path(folder) / "architecture.json").read_text())

    def __call__(self, inputs):
        x = np.asarray(inputs["observation"])
        for step in self.net["prologue"]:  # VecNormalize, in float64 as Stable-Baselines3 does it
            mean, variance = (np.reshape(step[key], x.shape[1:]) for key in ("mean", "variance"))
            clip = float(step["clip"])
            x = np.clip((x - mean) / np.sqrt(variance + step["epsilon"]), -clip, clip)
        x = x.astype(np.float32)
        for layer in self.net["layers"]:
            if layer["op"] == "linear":
                x = x @ self.weights[layer["name"] + ".weight"].T + self.weights[layer["name"] + ".bias"]
            else:
                x = ACTIVATIONS[layer["op"]](x, layer)
        return {"action": self.finish(x), self.net["decision"]: x}

    def finish(self, x):
        for step in self.net["epilogue"]:
            low, high = (np.array(step.get(key, 0), np.float32) for key in ("low", "high"))
            if step["op"] == "argmax":
                x = x.argmax(axis=1)
            elif step["op"] == "tanh":
                x = np.tanh(x)
            elif step["op"] == "clip":
                x = np.clip(x, low, high)
            elif step["op"] == "unscale":
                x = low + np.float32(0.5) * (x + 1) * (high - low)
            else:
                x = x.reshape(len(x), *step["shape"])
        return x
