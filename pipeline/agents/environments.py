"""The agent's gymnasium environment, made as the config says and held to the agent's spaces."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import policies

if TYPE_CHECKING:
    import gymnasium


def make(environment: dict[str, Any], contract: dict[str, Any] | None = None) -> gymnasium.Env[Any, Any]:
    """One environment.

    :param environment: fields of :class:`pipeline.spec.Environment`; ``id`` is not ""
    :param contract: the agent's, to hold the environment's spaces to
    :raises SlipwayError: :class:`errors.EnvironmentMissing` or :class:`errors.EnvironmentUnfit`
    """
    import gymnasium

    name = environment["id"]
    try:
        for module in environment["imports"]:
            importlib.import_module(module)
        env = gymnasium.make(name, disable_env_checker=True, **environment["kwargs"])
    except gymnasium.error.DependencyNotInstalled as error:
        raise errors.EnvironmentMissing(f"environment {name} lacks a package: {_line(error)}") from None
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        raise errors.EnvironmentMissing(f"no environment '{name}': {_line(error)}") from None
    except ImportError as error:
        raise errors.EnvironmentMissing(f"environment {name} needs a package: {_line(error)}") from None
    except Exception as error:
        raise errors.EnvironmentUnfit(f"environment {name} cannot be made: {_line(error)}") from None
    for wrapper in environment["wrappers"]:
        wrap = _wrapper(wrapper)
        try:
            env = wrap(env)
        except Exception as error:
            raise errors.EnvironmentUnfit(f"the wrapper {wrapper} cannot be applied: {_line(error)}") from None
        if not isinstance(env, gymnasium.Env):
            raise errors.EnvironmentUnfit(f"the wrapper {wrapper} made no environment", found=type(env).__name__)
    if contract is not None:
        _check_spaces(env, name, contract)
    return env


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


def _wrapper(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise errors.EnvironmentMissing(f"the wrapper {path} cannot be imported: {_line(error)}") from None


def _check_spaces(env: gymnasium.Env[Any, Any], name: str, contract: dict[str, Any]) -> None:
    pairs = (
        ("observes", contract["observation_space"], env.observation_space),
        ("acts in", contract["action_space"], env.action_space),
    )
    for verb, description, found in pairs:
        wanted = policies.space(description)
        same_type = type(wanted) is type(found)
        if not same_type or wanted.shape != found.shape or getattr(wanted, "n", 0) != getattr(found, "n", 0):
            raise errors.EnvironmentUnfit(
                f"the agent and {name} differ in their spaces",
                expected=f"an environment that {verb} {wanted}",
                found=str(found),
            )
