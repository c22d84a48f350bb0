"""Archives that the config trusts: opened with SB3's own loader, which runs whatever code their pickles hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import errors
from pipeline.agents import archive, policies, records
from pipeline.agents.archive import Archive

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy


def read(path: Path, algorithm: str) -> tuple[Archive, BasePolicy]:
    """What an archive says of its agent, and SB3's policy as SB3 loads it.

    :param algorithm: name of its class; "" where the archive tells
    :raises SlipwayError: :class:`errors.UnknownAlgorithm` or :class:`errors.NotAnAgent`
    """
    name = _name(path, algorithm)
    print(f"trust = true: {path.name} is opened with SB3's own {name}.load, which runs the code in its pickles")
    try:
        agent = policies.algorithm_class(name).load(path, device="cpu")
    except Exception as error:  # whatever the archive's own code makes of this machine
        line = (str(error).strip().splitlines() or [""])[0]
        raise errors.NotAnAgent(
            f"SB3's own loader refuses it ({type(error).__name__}: {line[:200]})",
            remedy="Give the package versions that it was saved with (`python` in the config names an interpreter)",
        ) from None
    policy = agent.policy
    policy.set_training_mode(False)
    policies.check_weights(policy, policy.state_dict())
    kind = type(policy)
    opened = Archive(
        algorithm=name,
        policy_class=f"{kind.__module__}.{kind.__qualname__}",
        policy_kwargs={},
        observation_space=_described(agent.observation_space),
        action_space=_described(agent.action_space),
        settings={},
        version="opened by its own loader",
        weights=policy.state_dict(),
    )
    policies.check_supported(opened)
    return opened, policy


def _name(path: Path, algorithm: str) -> str:
    known = {name.upper(): name for name in policies.SUPPORTED}
    try:
        name = algorithm or archive.algorithm_of(path)
    except errors.SlipwayError as error:
        raise errors.UnknownAlgorithm(
            f"the archive does not tell its algorithm ({error.what})",
            expected=", ".join(policies.SUPPORTED),
            remedy="Set algorithm in the config",
        ) from None
    if name.upper() not in known:
        raise errors.UnknownAlgorithm(f"algorithm '{name}' is unknown", expected=", ".join(policies.SUPPORTED))
    return known[name.upper()]


def _described(space: Any) -> dict[str, Any]:
    """A gymnasium space as the contract describes it."""
    kind = type(space).__name__
    if kind == "Box":
        return records.box(space.low, space.high, space.dtype.name)
    if kind == "Discrete":
        return {"type": kind, "n": int(space.n), "start": int(space.start)}
    if kind == "MultiDiscrete":
        return {"type": kind, "nvec": [int(n) for n in space.nvec.ravel()]}
    if kind == "MultiBinary":
        return {"type": kind, "n": [int(n) for n in space.shape]}
    if kind != "Dict":
        raise errors.UnsupportedPolicy(f"{kind} spaces are not supported")
    return {"type": kind, "spaces": {key: _described(part) for key, part in space.spaces.items()}}
