"""A SavedModel in TensorFlow, by its signature."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from pipeline.contract import Run


def load(artifact: Path, contract: Mapping[str, Any], needs: Mapping[str, str]) -> Run:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(artifact / contract["files"][0]))

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = loaded.signatures[contract["signature"]](**{k: tf.constant(v) for k, v in inputs.items()})
        return {name: value.numpy() for name, value in answers.items()}

    return run
