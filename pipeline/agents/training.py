"""An agent from its recipe: trained with Stable-Baselines3, saved as SB3 saves."""

from __future__ import annotations

import difflib
import re
import tempfile
import traceback
import zipfile
from pathlib import Path
from typing import Any

from pipeline import errors
from pipeline.agents import environments, policies
from pipeline.agents.policies import CONTRIB

ALGORITHMS = ("A2C", "DDPG", "DQN", "PPO", "SAC", "TD3")


def train(target: Path, settings: dict[str, Any]) -> None:
    """Write ``agent.zip``, and ``vecnormalize.pkl`` if the recipe normalizes.

    :param settings: ``recipe`` and ``environment``, the fields of their tables in :mod:`pipeline.settings`
    :raises SlipwayError: :class:`errors.UnknownAlgorithm`, :class:`errors.EnvironmentMissing` or
        :class:`errors.TrainingFailed`
    """
    import torch
    from stable_baselines3.common import logger
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

    recipe, environment = settings["recipe"], settings["environment"]
    name = recipe["algorithm"]
    known = (*ALGORITHMS, *CONTRIB)
    if name not in known:
        close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise errors.UnknownAlgorithm(f"algorithm '{name}' is unknown{hint}", expected=", ".join(known))
    torch.set_num_threads(1)
    venv: VecEnv = DummyVecEnv([lambda: environments.make(environment) for _ in range(recipe["environments"])])
    try:
        if recipe["normalize"]:
            venv = VecNormalize(venv, **recipe["normalize"])
        model = policies.algorithm_class(name)(
            recipe["policy"], venv, seed=recipe["seed"], device="cpu", **recipe["hyperparameters"]
        )
        with tempfile.TemporaryDirectory() as place:  # SB3's logger makes a folder, and leaves it
            if "tensorboard_log" not in recipe["hyperparameters"]:
                model.set_logger(logger.configure(place, []))
            model.learn(recipe["steps"])
    except Exception as error:  # whatever SB3 makes of arguments that it does not expect
        traceback.print_exc()
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise errors.TrainingFailed(f"{name} refused the recipe: {line}") from None
    model.start_time = 0  # otherwise the moment in which learning began
    model.save(target / "agent.zip")
    _canonicalize(target / "agent.zip")
    if isinstance(venv, VecNormalize):
        venv.save(str(target / "vecnormalize.pkl"))


def _canonicalize(path: Path) -> None:
    """Write SB3's archive anew without what differs from run to run and changes nothing: the members' dates, addresses
    in the printed forms that stand beside what is pickled, and the line on the operating system.
    """
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["data"] = re.sub(rb" at 0x[0-9a-f]+>", b">", members["data"])
    told = members["system_info.txt"].splitlines(keepends=True)
    members["system_info.txt"] = b"".join(line for line in told if b"OS:" not in line)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
