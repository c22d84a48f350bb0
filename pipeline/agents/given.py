"""Observations of the user's own: a ``.npz`` that the config names."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import contract as contracts
from pipeline import errors

if TYPE_CHECKING:
    import numpy as np

    Inputs = dict[str, np.ndarray]

LEAST = 16


def read(path: Path, contract: dict[str, Any], samples: int) -> Inputs:
    """Inputs by name (but for states), [rows, ...]: at most so many rows, evenly spread.

    :param path: arrays by the names of the contract's inputs; of a single observation any name will do
    :raises errors.InputsUnfit: it is no ``.npz``, or its arrays are not what the agent observes
    :raises errors.ObservationsNotFinite: it holds NaN or infinity
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            held = {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, AttributeError, KeyError, zipfile.BadZipFile) as error:
        line = str(error).partition(". If you trust")[0] or type(error).__name__  # numpy would have it unpickled
        raise errors.InputsUnfit(
            f"the observations cannot be read: {line}", file=path, expected="a .npz file"
        ) from None
    wanted = {**contract, "takes": [entry for entry in contract["takes"] if entry["role"] in ("observation", "mask")]}
    names = [entry["name"] for entry in wanted["takes"]]
    if len(names) == 1 and len(held) == 1:
        held = dict(zip(names, held.values(), strict=True))
    try:
        contracts.check_inputs(wanted, held)
    except errors.InputsUnfit as unfit:
        raise unfit.at(file=path) from None
    lengths = {name: len(values) for name, values in held.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < LEAST:
        raise errors.InputsUnfit(
            "the observations are too few, or not as many of each",
            file=path,
            expected=f"at least {LEAST}",
            found=lengths,
        )
    for entry in wanted["takes"]:
        values = held[entry["name"]]
        if values.dtype.kind not in "biuf":
            raise errors.InputsUnfit(f"'{entry['name']}' is not of numbers", file=path, found=values.dtype)
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1).astype(float)).all(axis=1))
        if bad.size:
            raise errors.ObservationsNotFinite(
                f"'{entry['name']}' is NaN or infinite in row {bad[0]}", file=path, remedy="Take such rows out"
            )
    total = next(iter(lengths.values()))
    rows = np.linspace(0, total - 1, min(total, samples)).round().astype(int)
    return {name: values[rows] for name, values in held.items()}
