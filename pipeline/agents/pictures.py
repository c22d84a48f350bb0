"""The gate as pictures: the job that says in figures what was measured, and has it drawn.

Three pictures, each as SVG and PNG: ``returns`` (who returns how much, and the gate), ``errors`` (which dimension of
the observation the error depends on) and ``layers`` (what rounding costs in each). ``pictures.json`` holds their
figures, and why one is missing. How they look is :mod:`pipeline.agents.plots`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import artifacts
from pipeline import contract as contracts
from pipeline.agents import plots

if TYPE_CHECKING:
    import numpy as np

    Arrays = Mapping[str, np.ndarray]
    Told = tuple[dict[str, Any], Any]  # figures for the reader, and the points that are drawn beside them

FILE = "pictures.json"
ROWS = 2000  # observations at most, spread evenly
BINS, LEAST = 12, 16  # by which an error is explained, and observations in each at least
SHUFFLED = 40  # orders of the errors, which tell what chance explains
SHOWN = 16  # dimensions
SIDE = 84  # cells of an image at most, each way
AT_ONCE = 4096  # columns, so that images do not fill the memory
MEASURE = (
    "share of the variance of the errors' ranks that lies between bins of equal count of a dimension's values: "
    "(H - k + 1) / (n - k), with H of Kruskal and Wallis (1952) over k bins of n observations (Tomczak and Tomczak "
    "2014, Trends in Sport Sciences 21:19). Chance: what the strongest dimension reaches in 19 of 20 shuffles"
)
# What the dimensions are, by Gymnasium's documentation; of the environments themselves, without wrappers.
NAMES = {
    "Acrobot": ("cos θ₁", "sin θ₁", "cos θ₂", "sin θ₂", "velocity of θ₁ (rad/s)", "velocity of θ₂ (rad/s)"),
    "CartPole": ("cart position (m)", "cart velocity (m/s)", "pole angle (rad)", "pole velocity (rad/s)"),
    "LunarLander": ("x", "y", "velocity in x", "velocity in y", "angle", "angular velocity", "left leg", "right leg"),
    "MountainCar": ("position", "velocity"),
    "Pendulum": ("cos θ", "sin θ", "angular velocity (rad/s)"),
}


def draw(source: Path, target: Path, settings: dict[str, Any]) -> None:
    """Write the pictures that can be drawn, and ``pictures.json``.

    :param source: the end of the ladder
    :param settings: ``agent``, ``environment`` (the config's table), ``return_kept``, ``observations`` and ``outputs``
        (folders of what was asked and of what the artifact answered), and ``rungs``, those that were tried, in order:
        ``rung``, ``folder``, ``episodes`` (a file), ``status``, ``chosen``, ``closed_loop`` ({} where nothing acted)
    :raises errors.NotRun: there is no matplotlib that can draw them
    """
    with plots.ready():
        made = {
            "returns": (plots.returns, returns(settings)),
            "errors": (plots.errors, dependence(contracts.load(source), settings)),
            "layers": (plots.layers, layers(settings)),
        }
        for name, (picture, (told, points)) in made.items():
            if "missing" in told:
                print(f"{name} is not drawn: {told['missing']}")
            else:
                plots.save(picture(settings, told, points), target, name)
    figures = {name: told for name, (_, (told, _)) in made.items()}
    (target / FILE).write_text(json.dumps(figures, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def returns(settings: Mapping[str, Any]) -> Told:
    """What the gate found of every rung that acted, and the returns of the episodes."""
    rungs = [rung for rung in settings["rungs"] if rung["closed_loop"]]
    if not rungs:
        name = settings["environment"]["id"]
        return {"missing": f"nothing acted in {name}" if name else "the config names no environment to act in"}, None
    told, points = [], []
    for rung in rungs:
        loop = rung["closed_loop"]
        scale = max(abs(loop["source"] - loop["random"]), 1e-9)
        figures = {name: _digits(loop[name]) for name in ("artifact", "kept", "low", "high")}
        gate = _digits(loop["source"] - (1 - settings["return_kept"]) * scale)
        about = {"episodes": loop["episodes"], "gate": gate, "scale": _digits(scale)}
        told.append({**_named(rung), **figures, **about})
        points.append(json.loads(Path(rung["episodes"]).read_text(encoding="utf-8"))["returns"])
    most = max(rungs, key=lambda rung: int(rung["closed_loop"]["episodes"]))["closed_loop"]
    means = {name: _digits(most[name]) for name in ("random", "source")}
    return {"rungs": told, "return_kept": settings["return_kept"], "solved_at": most.get("solved_at"), **means}, points


def layers(settings: Mapping[str, Any]) -> Told:
    """The cost of rounding by layer, of every rung that rounds to integers.

    ``cut`` is what the three causes do not explain: answers beyond the ends of the integers' range.
    """
    told = []
    for rung in settings["rungs"]:
        if (path := Path(rung["folder"]) / "layers.json").is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            for layer in found:
                known = sum(layer[cause] ** 2 for cause in ("inherited", "weights", "steps"))
                layer["label"] = _short(layer["name"])
                layer["cut"] = _digits(max(0.0, layer["error"] ** 2 - known) ** 0.5)
            told.append({**_named(rung), "layers": found})
    return ({"rungs": told}, None) if told else ({"missing": "no rung that was tried rounds to integers"}, None)


def dependence(contract: Mapping[str, Any], settings: Mapping[str, Any]) -> Told:
    """On which dimensions of the observation the error of the artifact depends; the strongest first."""
    import numpy as np

    seen = Path(settings["observations"])
    samples = json.loads((seen / "about.json").read_text(encoding="utf-8"))["samples"]
    rows = np.linspace(0, samples - 1, min(samples, ROWS)).round().astype(int)
    reference, outputs = (
        artifacts.arrays(seen / "reference.npz"),
        artifacts.arrays(Path(settings["outputs"]) / "outputs.npz"),
    )
    output, error, differ = _errors(contract, {n: v[rows] for n, v in reference.items() if n in outputs},
                                    {n: v[rows] for n, v in outputs.items()})  # fmt: skip
    stored, found, reached, count = artifacts.arrays(seen / "observations.npz"), [], [np.zeros(SHUFFLED)], 0
    for entry in contract["takes"]:
        if entry["role"] != "observation":
            continue
        values = stored[entry["name"]]
        if contract["states"]:  # sequences, one after the other
            values = values.reshape(-1, *values.shape[2:])
        image = entry["layout"].startswith("channel-")
        parts, chance = (_image if image else _vector)(entry, values[rows], error, settings["environment"])
        found += parts
        reached.append(chance)
        count += 1 if image else values[0].size
    found.sort(key=lambda part: -part[0]["share"])
    told = {
        "output": output,
        "observations": len(rows),
        "mean": _digits(error.mean()),
        "differ": None if differ is None else int(differ.sum()),
        "measure": MEASURE,
        "chance": _digits(np.quantile(np.max(reached, axis=0), 0.95)),
        "dimensions": count,
        "strongest": [entry for entry, _ in found[:SHOWN]],
    }
    return told, (error, differ, [points for _, points in found[:SHOWN]])


def _errors(contract: Mapping[str, Any], reference: Arrays, outputs: Arrays) -> tuple[str, np.ndarray, Any]:
    """What the error is of, the error of every row, and which decisions differ (None where the action is a Box).

    Of a Box the action's, as a share of each range; else that of the values that are decided by. Means over both.
    """
    import numpy as np

    span = contracts.action_range(contract["action_space"])
    name = "action" if span is not None else contract["decision"]
    error = np.abs(outputs[name].astype(np.float64) - reference[name]).reshape(len(outputs[name]), -1)
    if span is not None:
        return name, (error / span).mean(axis=1), None
    differ = (outputs["action"] != reference["action"]).reshape(len(error), -1).any(axis=1)
    return name, error.mean(axis=1), differ


def _vector(entry: dict[str, Any], values: np.ndarray, error: np.ndarray, environment: dict[str, Any]) -> Any:
    """Every dimension of an input that is no image: its figures, and its values."""
    import numpy as np

    shape, flat = values.shape[1:], values.reshape(len(values), -1)
    bare = environment["id"].rpartition(":")[2].partition("-v")[0].removesuffix("Continuous")
    known = () if environment["wrappers"] or environment["frame_stack"] > 1 else NAMES.get(bare, ())
    called = entry.get("key", entry["name"])
    shares, chance = explained(flat, error)
    found = []
    for column in np.argsort(-shares, kind="stable")[:SHOWN]:
        index = [int(i) for i in np.unravel_index(column, shape)]
        label = known[column] if len(known) == flat.shape[1] else f"{called}{index if flat.shape[1] > 1 else ''}"
        told = {"input": called, "index": index, "label": label, "share": _digits(shares[column])}
        found.append(({**told, **_course(flat[:, column], error)}, flat[:, column]))
    return found, chance


def _course(values: np.ndarray, error: np.ndarray) -> dict[str, list[float]]:
    """The error over one dimension: quantiles in each bin, and where the bin is."""
    import numpy as np

    codes = _bins(values[:, None])[:, 0]
    inside = [codes == code for code in np.unique(codes)]
    found = {"from": [_digits(values[rows].min()) for rows in inside]}
    found["to"] = [_digits(values[rows].max()) for rows in inside]
    for name, share in (("low", 0.1), ("median", 0.5), ("high", 0.9)):
        found[name] = [_digits(np.quantile(error[rows], share)) for rows in inside]
    return found


def _image(entry: dict[str, Any], values: np.ndarray, error: np.ndarray, _: dict[str, Any]) -> Any:
    """An image: its strongest cell, and a map of them all; of several channels the strongest."""
    import numpy as np

    if entry["layout"] == "channel-first":
        values = np.moveaxis(values, 1, -1)
    cell = -(-max(values.shape[1:3]) // SIDE)
    if cell > 1:
        for axis in (1, 2):
            values = np.add.reduceat(values, range(0, values.shape[axis], cell), axis=axis, dtype=np.float32)
    shares, chance = explained(values.reshape(len(values), -1), error)
    cells = shares.reshape(values.shape[1:]).max(axis=-1)
    index = [int(i) * cell for i in np.unravel_index(cells.argmax(), cells.shape)]
    called = entry.get("key", entry["name"])
    told = {"input": called, "index": index, "label": f"{called} at {index}", "cell": cell}
    return [({**told, "share": _digits(cells.max())}, cells)], chance


def explained(values: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How strongly each column explains the error, as :data:`MEASURE` says: 0 to 1.

    :param values: [rows, columns]
    :param error: [rows]
    :return: [columns], and the largest of them for each of the shuffled errors
    """
    import numpy as np

    _, inverse, counts = np.unique(error, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return np.zeros(values.shape[1]), np.zeros(SHUFFLED)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    draws, rows, apart = np.random.default_rng(0), len(error), ranks - ranks.mean()
    orders = np.stack([apart, *(draws.permutation(apart) for _ in range(SHUFFLED))]) / np.sqrt((apart**2).sum())
    orders = orders.astype(np.float32)
    found = []
    for start in range(0, values.shape[1], AT_ONCE):
        codes = _bins(values[:, start : start + AT_ONCE])
        between, groups = 0.0, 0.0
        for code in range(2 * BINS - 1):
            inside = (codes == code).astype(np.float32)
            count = inside.sum(axis=0)
            between = between + (orders @ inside) ** 2 / np.maximum(count, 1)
            groups = groups + (count > 0)
        found.append(1 - (1 - between) * (rows - 1) / np.maximum(rows - groups, 1))
    shares = np.maximum(np.concatenate(found, axis=1), 0)
    return shares[0], shares[1:].max(axis=1)


def _bins(values: np.ndarray) -> np.ndarray:
    """The bin of every value in its column: of equal count, but a value that would be in two is a bin of its own."""
    import numpy as np

    ordered = np.sort(values, axis=0)
    codes = np.zeros(values.shape, np.int8)
    bins = max(2, min(BINS, len(values) // LEAST))
    for part in range(1, bins):
        edge = len(values) * part // bins
        codes += values >= ordered[edge]
        codes += values > ordered[edge - 1]  # the same, but where one value lies on both sides of the edge
    return codes


def _named(rung: Mapping[str, Any]) -> dict[str, Any]:
    return {name: rung[name] for name in ("rung", "status", "chosen")}


def _short(name: str) -> str:
    """The name of a layer, from that of a converted tensor: its module, where that can be told."""
    parts = [part for part in name.split(";")[0].split("/") if part and not part.startswith("onnx_tf_prefix")]
    return "output" if len(parts) < 2 else parts[-2]


def _digits(value: float) -> float:
    """Four of them: the last ones differ from one machine's float arithmetic to another's."""
    return float(f"{value:.4g}")
