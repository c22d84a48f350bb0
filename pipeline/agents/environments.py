"""The agent's gymnasium environment, made as the config says and held to the agent's spaces."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import spaces

if TYPE_CHECKING:
    import gymnasium
    import numpy as np


def make(environment: dict[str, Any], contract: dict[str, Any] | None = None) -> gymnasium.Env[Any, Any]:
    """One environment.

    :param environment: fields of :class:`pipeline.settings.Environment`; ``id`` is not ""
    :param contract: the agent's, to hold the environment's spaces to
    :raises SlipwayError: :class:`errors.EnvironmentMissing` or :class:`errors.EnvironmentUnfit`
    """
    import gymnasium

    name = environment["id"]
    env = _registered(environment)
    for wrapper in environment["wrappers"]:
        wrap = _wrapper(wrapper)
        try:
            env = wrap(env)
        except Exception as error:
            raise errors.EnvironmentUnfit(f"the wrapper {wrapper} cannot be applied: {_line(error)}") from None
        if not isinstance(env, gymnasium.Env):
            raise errors.EnvironmentUnfit(f"the wrapper {wrapper} made no environment", found=type(env).__name__)
    if environment["frame_stack"] > 1:
        from pipeline.agents import stacking

        try:
            env = stacking.Stacked(env, environment["frame_stack"], _paddings(contract))
        except TypeError as error:
            raise errors.EnvironmentUnfit(
                f"the observations of {name} cannot be stacked: {error}", remedy="Leave frame_stack out of the config"
            ) from None
    if contract is not None:
        _check_spaces(env, name, contract)
    return env


def _registered(environment: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """The environment as gymnasium makes it; where it is optional and its version is no more, in the newest one."""
    import gymnasium

    name = environment["id"]
    try:
        for module in environment["imports"]:
            importlib.import_module(module)
        return gymnasium.make(name, disable_env_checker=True, **environment["kwargs"])
    except gymnasium.error.DependencyNotInstalled as error:
        raise errors.EnvironmentMissing(f"environment {name} lacks a package: {_line(error)}") from None
    except gymnasium.error.DeprecatedEnv as error:
        newest = _newest(name)
        if not environment["optional"] or newest == name:
            raise errors.EnvironmentMissing(f"no environment '{name}': {_line(error)}") from None
        print(f"gymnasium has no {name} any more: {newest} stands in for it")
        return _registered({**environment, "id": newest})
    except gymnasium.error.UnregisteredEnv as error:
        raise errors.EnvironmentMissing(f"no environment '{name}': {_line(error)}") from None
    except ImportError as error:
        raise errors.EnvironmentMissing(f"environment {name} needs a package: {_line(error)}") from None
    except Exception as error:
        raise errors.EnvironmentUnfit(f"environment {name} cannot be made: {_line(error)}") from None


def _newest(name: str) -> str:
    """The id of an environment in its newest version."""
    from gymnasium.envs import registration

    namespace, plain, _ = registration.parse_env_id(name)
    return registration.get_env_id(namespace, plain, registration.find_highest_version(namespace, plain))


def reward_threshold(environment: dict[str, Any]) -> float | None:
    """The return from which the environment counts as solved; None where it names none."""
    env = make(environment)
    with contextlib.closing(env):
        threshold = env.spec.reward_threshold if env.spec else None
    return None if threshold is None else float(threshold)


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def _wrapper(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise errors.EnvironmentMissing(f"the wrapper {path} cannot be imported: {_line(error)}") from None


def _paddings(contract: dict[str, Any] | None) -> dict[str, Any]:
    """What stands in a stack before an episode's first frame, by key; nothing means 0."""
    entries = contract["takes"] if contract else []
    return {entry.get("key", ""): entry["padding"] for entry in entries if "padding" in entry}


def _check_spaces(env: gymnasium.Env[Any, Any], name: str, contract: dict[str, Any]) -> None:
    observed = spaces.held(contract["observation_space"], contract["images"])
    hint = _hint(spaces.gymnasium_space(observed), env.observation_space)
    pairs = (("observes", observed, env.observation_space), ("acts in", contract["action_space"], env.action_space))
    for verb, description, found in pairs:
        wanted = spaces.gymnasium_space(description)
        if not _same(wanted, found):
            raise errors.EnvironmentUnfit(
                f"the agent and {name} differ in their spaces",
                expected=f"an environment that {verb} {' '.join(str(wanted).split())}",
                found=" ".join(str(found).split()),
                remedy=hint if verb == "observes" else "",
            )


def _same(wanted: Any, found: Any) -> bool:
    """Of one type, and of the same shape and choices; bounds and dtypes may differ."""
    if type(wanted) is not type(found):
        return False
    if hasattr(wanted, "spaces"):
        keys = set(wanted.spaces) == set(found.spaces)
        return keys and all(_same(part, found.spaces[key]) for key, part in wanted.spaces.items())
    choices = [str(getattr(space, "nvec", getattr(space, "n", ""))) for space in (wanted, found)]
    return wanted.shape == found.shape and choices[0] == choices[1]


def _hint(wanted: Any, found: Any) -> str:
    """What to set in the config where the difference tells; "" where it does not."""
    if hasattr(wanted, "spaces") and hasattr(found, "spaces"):
        apart = set(wanted.spaces) ^ set(found.spaces)
        if apart:
            missing, extra = (sorted(apart & set(space.spaces)) for space in (wanted, found))
            return f"Keys of the observation: missing {missing or 'none'}, unknown {extra or 'none'}"
        return next(filter(None, (_hint(part, found.spaces[key]) for key, part in wanted.spaces.items())), "")
    if wanted.shape and found.shape and len(wanted.shape) == len(found.shape) and wanted.shape != found.shape:
        if len(wanted.shape) == 3 and wanted.shape in (
            (*found.shape[1:], found.shape[0]),
            (found.shape[2], *found.shape[:2]),
        ):
            other = spaces.CHANNEL_FIRST if wanted.shape[:2] == found.shape[1:] else spaces.CHANNEL_LAST
            return f'The image has the other layout: set images = "{other}" in the config'
        for axis in {0, -1}:
            rest = [[*space.shape] for space in (wanted, found)]
            sizes = [shape.pop(axis) for shape in rest]
            if rest[0] == rest[1] and sizes[0] > sizes[1] and sizes[0] % sizes[1] == 0:
                frames = sizes[0] // sizes[1]
                return f"If it was trained with VecFrameStack, set environment.frame_stack = {frames}"
    return ""


def observed(env: gymnasium.Env[Any, Any], observation: Any, contract: dict[str, Any]) -> dict[str, np.ndarray]:
    """An observation as the contract's inputs, without a batch, in the environment's own dtypes.

    :raises errors.EnvironmentUnfit: its action mask has another width than the agent's actions
    """
    import numpy as np

    found = {}
    for entry in contract["takes"]:
        if entry["role"] == "observation":
            found[entry["name"]] = np.asarray(observation[entry["key"]] if "key" in entry else observation)
        elif entry["role"] == "mask":
            found[entry["name"]] = _mask(env, entry["shape"][1])
    return found


def _mask(env: gymnasium.Env[Any, Any], width: int) -> np.ndarray:
    """The environment's ``action_masks()``, as sb3_contrib asks for it; without that method all is allowed."""
    import numpy as np

    try:
        give = env.get_wrapper_attr("action_masks")
    except AttributeError:
        return np.ones(width, bool)
    mask = np.asarray(give()).reshape(-1)
    if len(mask) != width:
        raise errors.EnvironmentUnfit(
            "the environment's action mask has another width", expected=width, found=len(mask)
        )
    return mask.astype(bool)
