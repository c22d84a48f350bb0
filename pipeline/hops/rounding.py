"""Weights rounded to integers together, so that a layer answers as before, and not each to its nearest.

The nearest integer is the best for a weight alone. A layer adds hundreds of products of inputs that go up and down
together, and so do their errors: a public DQN agent of CartPole, whose Q values near 100 differ by tenths, fell from a
return of 500 to 56. Here what one rounding does to the layer's answers is taken back by the weights not yet rounded
(GPTQ: Frantar et al. 2022, arXiv:2210.17323, after Hassibi and Stork 1993), and what is left on average by the bias
(bias correction: Nagel et al. 2019, arXiv:1906.04721). Knows numbers, and no framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

DAMPING = 1e-3  # of the mean variance of the inputs: what was never seen must not move weights far
BLOCK = 128  # columns between two updates of all that follow
MOST = 127


def together(
    weights: np.ndarray, scale: np.ndarray, inputs: np.ndarray, answers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Integers and a bias for a linear layer.

    :param weights: [outputs, inputs], as trained
    :param scale: [outputs] or [1]: a weight is an integer from -127 to 127 times it
    :param inputs: [samples, inputs], what the layer is given by the layers before it, rounded as they are
    :param answers: [samples, outputs], what the trained layer answers where nothing is rounded
    :return: integers [outputs, inputs], int8, and the bias [outputs], float64
    """
    import numpy as np

    middle, aim = inputs.mean(axis=0), answers.mean(axis=0)
    seen, wanted = inputs - middle, answers - aim
    variance = seen.T @ seen / len(seen)
    variance += np.eye(len(variance)) * (DAMPING * variance.trace() / len(variance) + 1e-12)
    # First the real weights that answer best to what the layers before it make of their inputs, near the trained ones.
    fitted = weights + np.linalg.solve(variance, seen.T @ (wanted - seen @ weights.T) / len(seen)).T
    integers = _rounded(fitted, scale.reshape(-1, 1), variance)
    return integers.astype(np.int8), aim - (integers * scale.reshape(-1, 1)) @ middle


def _rounded(weights: np.ndarray, scale: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Column by column, the error of each given to the columns behind it by the inverse of the variance."""
    import numpy as np

    inverse = np.linalg.cholesky(np.linalg.inv(variance)).T
    left, found = weights.copy(), np.empty_like(weights)
    for start in range(0, left.shape[1], BLOCK):
        end = min(start + BLOCK, left.shape[1])
        errors = np.empty((len(left), end - start))
        for column in range(start, end):
            found[:, column] = np.clip(np.round(left[:, column] / scale[:, 0]), -MOST, MOST)
            error = (left[:, column] - found[:, column] * scale[:, 0]) / inverse[column, column]
            left[:, column:end] -= np.outer(error, inverse[column, column:end])
            errors[:, column - start] = error
        left[:, end:] -= errors @ inverse[start:end, end:]
    return found
