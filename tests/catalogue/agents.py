"""Rows that are found when an agent's files are read, or its environment is made: in a toolchain, by a step."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from .row import Bench, Row

GOOD = 'zip = "good.zip"\ntargets = ["weights"]\n'
CARTPOLE = '[environment]\nid = "CartPole-v1"\n'
SYSTEM = b"cposix\nsystem\n(S'touch executed'\ntR."


class MyExtractor(BaseFeaturesExtractor):
    """Of this file, so cloudpickle names it."""

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, features_dim=4)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return seen


def by_value() -> bytes:
    """Arguments with a class that no module holds."""

    class MyExtractor(BaseFeaturesExtractor):
        """cloudpickle writes its code."""

    return cloudpickle.dumps({"features_extractor_class": MyExtractor})


def written(content: bytes) -> Callable[[Bench], None]:
    return lambda bench: bench.write(content)


def having(**fields: Any) -> Callable[[Bench], None]:
    """The good agent with other fields in its ``data``."""
    return lambda bench: bench.data(**fields)


def member(name: str, content: bytes) -> Callable[[Bench], None]:
    """The good agent with another member."""
    return lambda bench: bench.pack({**bench.members(), name: content})


def weighing(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Bench], None]:
    return lambda bench: bench.weights(change)


def directory(change: Callable[[zipfile.ZipInfo], None]) -> Callable[[Bench], None]:
    """The good agent with another entry for its weights in the zip's directory."""

    def make(bench: Bench) -> None:
        bench.pack(bench.members(), lambda infos: [change(info) for info in infos if info.filename == "policy.pth"])

    return make


def _cut(bench: Bench) -> None:
    bench.write(bench.good[:-100])


def _flipped(bench: Bench) -> None:
    """One bit of the weights, under a checksum that is as it was."""
    bench.pack(bench.members())
    content = bytearray(bench.path(".zip").read_bytes())
    content[content.index(b"policy.pth") + 500] ^= 1
    bench.write(bytes(content))


def _huge(info: zipfile.ZipInfo) -> None:
    info.file_size, info.compress_size = 600 << 20, 600_000


def _beyond(info: zipfile.ZipInfo) -> None:
    info.file_size = 1500 << 20


def _locked(info: zipfile.ZipInfo) -> None:
    info.flag_bits |= 1


def _squeezed(info: zipfile.ZipInfo) -> None:
    info.compress_type = zipfile.ZIP_LZMA


def _doubled(bench: Bench) -> None:
    content = bench.members()
    with zipfile.ZipFile(bench.path(".zip"), "w") as opened:
        for name, held in content.items():
            opened.writestr(name, held)
        opened.filelist.append(opened.getinfo("policy.pth"))


def _inner_bomb(bench: Bench) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        opened.writestr("archive/data.pkl", b"\x80\x02}.")
        opened.writestr("archive/data/0", b"0")
        opened.infolist()[1].file_size = 1500 << 20
    member("policy.pth", held.getvalue())(bench)


def _code_among_weights(bench: Bench) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as opened:
        opened.writestr("archive/data.pkl", SYSTEM)
    member("policy.pth", held.getvalue())(bench)


def _poison(state: dict[str, torch.Tensor]) -> None:
    state["action_net.weight"][0, 3] = float("nan")


def _widen(state: dict[str, torch.Tensor]) -> None:
    state["mlp_extractor.policy_net.0.weight"] = torch.zeros(8, 9)


def _double(state: dict[str, torch.Tensor]) -> None:
    state["action_net.weight"] = state["action_net.weight"].double()


def statistics(change: Callable[[VecNormalize], None], env: str = "CartPole-v1") -> Callable[[Bench], None]:
    """Statistics beside the good agent, changed before they are saved."""

    def make(bench: Bench) -> None:
        held = VecNormalize(DummyVecEnv([lambda: gymnasium.make(env)]))
        change(held)
        held.save(str(bench.path(".pkl")))

    return make


def _negative(held: VecNormalize) -> None:
    held.obs_rms.var[3] = -0.1


def _unknown(held: VecNormalize) -> None:
    held.obs_rms.mean[1] = float("nan")


def _no_epsilon(held: VecNormalize) -> None:
    held.epsilon = 0.0


def _nothing(held: VecNormalize) -> None:
    """As it is."""


def pickled(value: object) -> Callable[[Bench], None]:
    held = value if isinstance(value, bytes) else pickle.dumps(value)
    return lambda bench: bench.write(held, ".pkl")


def seen(**arrays: np.ndarray) -> Callable[[Bench], None]:
    """A file of observations."""
    return lambda bench: np.savez(bench.path(".npz"), **arrays)  # type: ignore[arg-type]


def _with(what: str) -> str:
    return GOOD + f'vecnormalize = "{what}.pkl"\n'


def _from(what: str) -> str:
    return GOOD + f'[observations]\nfile = "{what}.npz"\n'


NESTED = spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)})})

ARCHIVES = (
    Row(
        "zip_empty",
        "no bytes",
        "AgentFileDamaged: agent zip_empty, hop sb3, file {here}/zip_empty.zip: zip_empty.zip is empty (0 bytes). Fetch or save the file again.",
        make=written(b""),
        fact=(2,),
    ),
    Row(
        "zip_cut",
        "a download that broke off",
        "AgentFileDamaged: agent zip_cut, hop sb3, file {here}/zip_cut.zip: zip_cut.zip is cut short: no zip directory at its end. Fetch or save the file again.",
        make=_cut,
        fact=(3,),
    ),
    Row(
        "zip_page",
        "a web page",
        "NotAnAgent: agent zip_page, hop sb3, file {here}/zip_page.zip: zip_page.zip is not a zip (it starts with '<!DOCTYPE html><html'). Fetch the real file.",
        make=written(b"<!DOCTYPE html><html>"),
        fact=(4,),
    ),
    Row(
        "zip_pointer",
        "a Git LFS pointer",
        "NotAnAgent: agent zip_pointer, hop sb3, file {here}/zip_pointer.zip: zip_pointer.zip is not a zip (it starts with 'version https://git-'). Fetch the real file.",
        make=written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        fact=(4,),
    ),
    Row(
        "zip_flipped",
        "a bit that flipped",
        "AgentFileDamaged: agent zip_flipped, hop sb3, file {here}/zip_flipped.zip: Member policy.pth of zip_flipped.zip is damaged (checksum mismatch). Fetch or save the file again.",
        make=_flipped,
        fact=(5,),
    ),
    Row(
        "zip_bomb",
        "a bomb",
        "NotAnAgent: agent zip_bomb, hop sb3, file {here}/zip_bomb.zip: Member policy.pth unpacks to 629,145,600 bytes from 600,000; the limit is a ratio of 200. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=directory(_huge),
        fact=(6,),
    ),
    Row(
        "zip_beyond",
        "a member of 1.5 GiB",
        "NotAnAgent: agent zip_beyond, hop sb3, file {here}/zip_beyond.zip: Member policy.pth unpacks to 1,572,864,000 bytes; the limit is 1 GiB. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=directory(_beyond),
        fact=(6,),
    ),
    Row(
        "pth_bomb",
        "a bomb in the weights",
        "NotAnAgent: agent pth_bomb, hop sb3, file {here}/pth_bomb.zip: Member archive/data/0 unpacks to 1,572,864,000 bytes; the limit is 1 GiB. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=_inner_bomb,
        fact=(7,),
    ),
    Row(
        "zip_traversal",
        "a name that leaves the archive",
        "NotAnAgent: agent zip_traversal, hop sb3, file {here}/zip_traversal.zip: Member name '../../x' leaves the archive; refused. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=member("../../x", b""),
        fact=(8,),
    ),
    Row(
        "zip_doubled",
        "two members of one name",
        "NotAnAgent: agent zip_doubled, hop sb3, file {here}/zip_doubled.zip: zip_doubled.zip has two members named policy.pth. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=_doubled,
        fact=(9,),
    ),
    Row(
        "zip_locked",
        "a password",
        "NotAnAgent: agent zip_locked, hop sb3, file {here}/zip_locked.zip: zip_locked.zip is password protected; not supported. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=directory(_locked),
        fact=(10,),
    ),
    Row(
        "zip_squeezed",
        "LZMA",
        "NotAnAgent: agent zip_squeezed, hop sb3, file {here}/zip_squeezed.zip: Member policy.pth is compressed in a way that Stable-Baselines3 does not use. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=directory(_squeezed),
    ),
    Row(
        "zip_other",
        "another zip",
        "NotAnAgent: agent zip_other, hop sb3, file {here}/zip_other.zip: zip_other.zip has no member 'data': not a Stable-Baselines3 agent. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=lambda bench: bench.pack({"readme.txt": b"no agent"}),
        fact=(11,),
    ),
    Row(
        "zip_weightless",
        "no weights",
        "NotAnAgent: agent zip_weightless, hop sb3, file {here}/zip_weightless.zip: zip_weightless.zip has no member 'policy.pth': not a Stable-Baselines3 agent. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=lambda bench: bench.without("policy.pth"),
        fact=(11,),
    ),
    Row(
        "zip_crowded",
        "65 members",
        "NotAnAgent: agent zip_crowded, hop sb3, file {here}/zip_crowded.zip: zip_crowded.zip has 65 members; the limit is 64. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=lambda bench: bench.pack({f"{n}": b"" for n in range(65)}),
    ),
    Row(
        "data_text",
        "`data` is no JSON",
        "NotAnAgent: agent data_text, hop sb3, file {here}/data_text.zip: Member data is not valid JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)). Give the .zip that Stable-Baselines3's `save` wrote.",
        make=member("data", b"{'policy_class': 1}"),
        fact=(12,),
    ),
    Row(
        "data_deep",
        "`data` is nested 200,000 deep",
        "NotAnAgent: agent data_deep, hop sb3, file {here}/data_deep.zip: Member data is not valid JSON (too deeply nested). Give the .zip that Stable-Baselines3's `save` wrote.",
        make=member("data", b"[" * 200_000),
        fact=(12,),
    ),
    Row(
        "data_list",
        "`data` is a list",
        "NotAnAgent: agent data_list, hop sb3, file {here}/data_list.zip: Member data is not a JSON object. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=member("data", b"[]"),
        fact=(12,),
    ),
    Row(
        "data_spaceless",
        "`data` without its spaces",
        "NotAnAgent: agent data_spaceless, hop sb3, file {here}/data_spaceless.zip: Member data has no 'observation_space': not a Stable-Baselines3 agent. Give the .zip that Stable-Baselines3's `save` wrote.",
        make=member("data", json.dumps({"policy_class": None}).encode()),
    ),
    Row(
        "pth_text",
        "weights that are none",
        "WeightsUnfit: agent pth_text, hop sb3, file {here}/pth_text.zip: policy.pth cannot be read as tensors. Take another checkpoint; this one does not belong to its own description.",
        make=member("policy.pth", b"weights"),
    ),
    # --- code
    Row(
        "code_space",
        "code in a space",
        "PickleRefused: agent code_space, hop sb3, file {here}/code_space.zip: observation_space: the pickle refers to posix.system, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(observation_space=SYSTEM),
        fact=(13,),
    ),
    Row(
        "code_weights",
        "code in the weights",
        "PickleRefused: agent code_weights, hop sb3, file {here}/code_weights.zip: policy.pth: the pickle refers to posix.system, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=_code_among_weights,
        fact=(13,),
    ),
    Row(
        "code_policy",
        "a policy class of someone's own",
        "PickleRefused: agent code_policy, hop sb3, file {here}/code_policy.zip: policy_class: the pickle refers to mine.MyPolicy, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(policy_class=b"cmine\nMyPolicy\n."),
    ),
    Row(
        "class_value",
        "a features extractor by value",
        'PickleRefused: agent class_value, hop sb3, file {here}/class_value.zip: policy_kwargs holds the features extractor MyExtractor by value. Nothing was executed. Have its code where it can be imported (see import_from) and set import_allowed = ["package.module:MyExtractor"] in the config.',
        make=having(policy_kwargs=by_value()),
        fact=(15,),
    ),
    Row(
        "class_name",
        "a features extractor by name",
        'PickleRefused: agent class_name, hop sb3, file {here}/class_name.zip: policy_kwargs holds the features extractor MyExtractor by name. Nothing was executed. Have its code where it can be imported (see import_from) and set import_allowed = ["catalogue.agents:MyExtractor"] in the config.',
        make=having(policy_kwargs=pickle.dumps({"features_extractor_class": MyExtractor})),
        fact=(15,),
    ),
    Row(
        "class_absent",
        "`import_allowed` names what is not installed",
        'UnsupportedPolicy: agent class_absent, hop sb3, file {here}/class_name.zip: policy_kwargs holds the features extractor MyExtractor. Expected FlattenExtractor, NatureCNN, CombinedExtractor, no_such_package:MyExtractor. Set import_allowed = ["catalogue.agents:MyExtractor"] in the config if its code is yours.',
        'zip = "class_name.zip"\nimport_allowed = ["no_such_package:MyExtractor"]\n',
    ),
    Row(
        "class_other",
        "`import_allowed` names another class",
        'UnsupportedPolicy: agent class_other, hop sb3, file {here}/class_name.zip: policy_kwargs holds the features extractor MyExtractor. Expected FlattenExtractor, NatureCNN, CombinedExtractor, mine.nets:Other. Set import_allowed = ["catalogue.agents:MyExtractor"] in the config if its code is yours.',
        'zip = "class_name.zip"\nimport_allowed = ["mine.nets:Other"]\n',
    ),
    Row(
        "activation_lambda",
        "an activation that is a function",
        "PickleRefused: agent activation_lambda, hop sb3, file {here}/activation_lambda.zip: policy_kwargs: the pickle refers to builtins.getattr, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(policy_kwargs=pickle.dumps({"activation_fn": torch.tanh})),
        fact=(16,),
    ),
    Row(
        "activation_softmax",
        "an activation over a whole layer",
        "PickleRefused: agent activation_softmax, hop sb3, file {here}/activation_softmax.zip: policy_kwargs: the pickle refers to torch.nn.modules.activation.Softmax, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(policy_kwargs=pickle.dumps({"activation_fn": torch.nn.Softmax})),
        fact=(16,),
    ),
    # --- what the policy is made of
    Row(
        "kwarg_unknown",
        "an argument that SB3's policy does not have",
        "UnsupportedPolicy: agent kwarg_unknown, hop sb3, file {here}/kwarg_unknown.zip: policy_kwargs has 'banana', unknown to ActorCriticPolicy. Leave the agent out; the README says what is supported.",
        make=having(policy_kwargs={"banana": 1}),
        fact=(17,),
    ),
    Row(
        "arch_negative",
        "-5 units",
        "UnsupportedPolicy: agent arch_negative, hop sb3, file {here}/arch_negative.zip: policy_kwargs.net_arch[0] = -5; want whole numbers 1..16384. Leave the agent out; the README says what is supported.",
        make=having(policy_kwargs={"net_arch": [-5]}),
        fact=(18,),
    ),
    Row(
        "arch_text",
        "units that are text",
        "UnsupportedPolicy: agent arch_text, hop sb3, file {here}/arch_text.zip: policy_kwargs.net_arch[0] = '64'; want whole numbers 1..16384. Leave the agent out; the README says what is supported.",
        make=having(policy_kwargs={"net_arch": ["64"]}),
        fact=(18,),
    ),
    Row(
        "arch_huge",
        "10⁶ units",
        "UnsupportedPolicy: agent arch_huge, hop sb3, file {here}/arch_huge.zip: policy_kwargs.net_arch[0] = 1000000; want whole numbers 1..16384. Leave the agent out; the README says what is supported.",
        make=having(policy_kwargs={"net_arch": [1_000_000]}),
        fact=(18,),
    ),
    Row(
        "arch_large",
        "more units than there are weights",
        "WeightsUnfit: agent arch_large, hop sb3, file {here}/arch_large.zip: policy_kwargs.net_arch asks for more weights than there are. Expected at most 107, found 16,000. Take another checkpoint; this one does not belong to its own description.",
        make=having(policy_kwargs={"net_arch": [16_000]}),
        fact=(18,),
    ),
    Row(
        "weights_shape",
        "weights of another shape",
        "WeightsUnfit: agent weights_shape, hop sb3, file {here}/weights_shape.zip: mlp_extractor.policy_net.0.weight does not fit the spaces and policy_kwargs. Expected 8x4, found 8x9. Take another checkpoint; this one does not belong to its own description.",
        make=weighing(_widen),
        fact=(19,),
    ),
    Row(
        "weights_lacking",
        "a layer without weights",
        "WeightsUnfit: agent weights_lacking, hop sb3, file {here}/weights_lacking.zip: The file lacks action_net.bias (1 in all). Take another checkpoint; this one does not belong to its own description.",
        make=weighing(lambda state: state.pop("action_net.bias")),
    ),
    Row(
        "weights_more",
        "weights without a layer",
        "WeightsUnfit: agent weights_more, hop sb3, file {here}/weights_more.zip: The file has extra, which ActorCriticPolicy does not. Take another checkpoint; this one does not belong to its own description.",
        make=weighing(lambda state: state.update(extra=torch.zeros(1))),
    ),
    Row(
        "weights_nan",
        "a weight that is NaN",
        "WeightsNotFinite: agent weights_nan, hop sb3, file {here}/weights_nan.zip: 1 of 16 numbers in action_net.weight are NaN or infinite, the first at [0,3]. The training diverged: take an earlier checkpoint.",
        make=weighing(_poison),
        fact=(20,),
    ),
    Row(
        "weights_double",
        "float64 weights",
        "WeightsUnfit: agent weights_double, hop sb3, file {here}/weights_double.zip: action_net.weight is torch.float64; only float32 is supported. Take another checkpoint; this one does not belong to its own description.",
        make=weighing(_double),
        fact=(21,),
    ),
    Row(
        "algorithm_other",
        "another algorithm than the config says",
        "UnknownAlgorithm: agent algorithm_other, hop sb3, file {here}/algorithm_other.toml: The config and the archive differ in their algorithm. Expected SAC, found PPO. Correct the name in the config.",
        GOOD + 'algorithm = "SAC"\n',
        fact=(22,),
    ),
    Row(
        "output_unknown",
        "an output that the agent does not have",
        "ConfigWrongValue: agent output_unknown, hop sb3, file {here}/output_unknown.toml:3: Outputs has 'log_std', which this PPO agent does not have. Expected logits, value. Change the value in the config.",
        GOOD + 'outputs = ["log_std"]\n',
    ),
    Row(
        "stochastic_none",
        "draws from a policy that is no distribution",
        "ConfigWrongValue: agent stochastic_none, hop sb3, file {here}/stochastic_none.toml:3: Stochastic is set, but DQN policies have no distribution. Change the value in the config.",
        'zip = "dqn.zip"\ntargets = ["weights"]\nstochastic = true\n',
    ),
    Row(
        "trust_nameless",
        "`trust` without an algorithm that SB3 has",
        "UnknownAlgorithm: agent trust_nameless, hop sb3, file {here}/trust_nameless.toml:4: Algorithm 'PPPO' is unknown. Expected PPO, A2C, TRPO, MaskablePPO, RecurrentPPO, SAC, TQC, CrossQ, TD3, DDPG, DQN, QRDQN, ARS. Correct the name in the config.",
        GOOD + 'trust = true\nalgorithm = "PPPO"\n',
    ),
    Row(
        "trust_cut",
        "`trust` in a file that SB3 refuses",
        "NotAnAgent: agent trust_cut, hop sb3, file {here}/zip_cut.zip: SB3's own loader refuses it (AssertionError: No data found in the saved file). Give the package versions that it was saved with (`python` in the config names an interpreter).",
        'zip = "zip_cut.zip"\ntrust = true\nalgorithm = "PPO"\n',
    ),
    # --- spaces
    Row(
        "space_tuple",
        "a Tuple space",
        "PickleRefused: agent space_tuple, hop sb3, file {here}/space_tuple.zip: observation_space: the pickle refers to gymnasium.spaces.tuple.Tuple, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(observation_space=spaces.Tuple([spaces.Discrete(2)])),
        fact=(23,),
    ),
    Row(
        "space_text",
        "a Text space",
        "PickleRefused: agent space_text, hop sb3, file {here}/space_text.zip: observation_space: the pickle refers to gymnasium.spaces.text.Text, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(observation_space=spaces.Text(3)),
        fact=(23,),
    ),
    Row(
        "space_nested",
        "a Dict in a Dict",
        "UnsupportedPolicy: agent space_nested, hop sb3, file {here}/space_nested.zip: A Dict inside a Dict under 'a' is not supported: SB3 has no policy for it. Leave the agent out; the README says what is supported.",
        make=having(observation_space=NESTED),
    ),
    Row(
        "space_bits",
        "MultiBinary actions of two dimensions",
        "UnsupportedPolicy: agent space_bits, hop sb3, file {here}/space_bits.zip: MultiBinary actions of several dimensions are not supported by SB3 either. Leave the agent out; the README says what is supported.",
        make=having(action_space=spaces.MultiBinary([2, 2])),
    ),
    Row(
        "space_json",
        "a space that is no pickle",
        "PickleRefused: agent space_json, hop sb3, file {here}/space_json.zip: Expected a space in the pickle. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        make=having(observation_space={"shape": [4]}),
    ),
)

STATISTICS = (
    Row(
        "statistics_shape",
        "statistics of another agent",
        "StatisticsUnfit: agent statistics_shape, hop sb3, file {here}/statistics_shape.pkl: statistics_shape.pkl has obs_rms.mean of another shape than the agent observes. Expected (4,), found (3,). Give the vecnormalize.pkl saved with this agent.",
        _with("statistics_shape"),
        statistics(_nothing, "Pendulum-v1"),
        fact=(25,),
    ),
    Row(
        "statistics_variance",
        "a variance below 0",
        "StatisticsUnfit: agent statistics_variance, hop sb3, file {here}/statistics_variance.pkl: obs_rms.var[3] of statistics_variance.pkl is -0.1; must be finite and not negative. Give the vecnormalize.pkl saved with this agent.",
        _with("statistics_variance"),
        statistics(_negative),
        fact=(26,),
    ),
    Row(
        "statistics_nan",
        "a mean that is NaN",
        "StatisticsUnfit: agent statistics_nan, hop sb3, file {here}/statistics_nan.pkl: obs_rms.mean[1] of statistics_nan.pkl is nan; must be finite and not negative. Give the vecnormalize.pkl saved with this agent.",
        _with("statistics_nan"),
        statistics(_unknown),
        fact=(26,),
    ),
    Row(
        "statistics_epsilon",
        "an epsilon of 0",
        "StatisticsUnfit: agent statistics_epsilon, hop sb3, file {here}/statistics_epsilon.pkl: statistics_epsilon.pkl has clip_obs 10.0 and epsilon 0.0; both must be above 0. Give the vecnormalize.pkl saved with this agent.",
        _with("statistics_epsilon"),
        statistics(_no_epsilon),
        fact=(26,),
    ),
    Row(
        "statistics_key",
        "a key that the agent does not observe",
        "StatisticsUnfit: agent statistics_key, hop sb3, file {here}/dict.pkl: dict.pkl normalizes 'goal'. Expected keys of the agent: seen, wanted. Give the vecnormalize.pkl saved with this agent.",
        'zip = "dict.zip"\nvecnormalize = "dict.pkl"\ntargets = ["weights"]\n',
        fact=(27,),
    ),
    Row(
        "statistics_other",
        "a pickle of something else",
        "StatisticsUnfit: agent statistics_other, hop sb3, file {here}/statistics_other.pkl: statistics_other.pkl does not hold a VecNormalize. Give the vecnormalize.pkl saved with this agent.",
        _with("statistics_other"),
        pickled({"mean": 0}),
    ),
    Row(
        "statistics_text",
        "no pickle",
        "StatisticsUnfit: agent statistics_text, hop sb3, file {here}/statistics_text.pkl: statistics_text.pkl is not a pickle (it starts with '<html>'). Give the vecnormalize.pkl saved with this agent.",
        _with("statistics_text"),
        pickled(b"<html>"),
    ),
    Row(
        "statistics_code",
        "code",
        "PickleRefused: agent statistics_code, hop sb3, file {here}/statistics_code.pkl: The pickle refers to posix.system, which is not on the allowed list. Nothing was executed. Save the agent with Stable-Baselines3's own classes only.",
        _with("statistics_code"),
        pickled(SYSTEM),
    ),
)

ENVIRONMENTS = (
    Row(
        "statistics_frame",
        "statistics of one frame, and a stack that the config does not name",
        "StatisticsUnfit: agent statistics_frame, hop sb3, file {here}/statistics_frame.pkl: The statistics are of another shape than the agent observes. Expected 12 numbers, found 4. Give the statistics saved with this agent, or, if it was trained with VecFrameStack, set environment.frame_stack = 3 in the config.",
        'zip = "stacked.zip"\nvecnormalize = "statistics_frame.pkl"\ntargets = ["weights"]\n',
        statistics(_nothing),
    ),
    Row(
        "env_unknown",
        "an id that does not exist",
        "EnvironmentMissing: agent env_unknown, hop observations, file {here}/env_unknown.toml: No environment 'CartPole-v9': Environment version `v9` for environment `CartPole` doesn't exist. It provides versioned environments: [ `v0`, `v1` ]. Install its package, or leave [environment] out: observations then come from statistics.",
        GOOD + '[environment]\nid = "CartPole-v9"\n',
        fact=(30,),
    ),
    Row(
        "env_misspelt",
        "an id that is misspelt",
        "EnvironmentMissing: agent env_misspelt, hop observations, file {here}/env_misspelt.toml: No environment 'CartPol-v1': Environment `CartPol` doesn't exist. Did you mean: `CartPole`? Install its package, or leave [environment] out: observations then come from statistics.",
        GOOD + '[environment]\nid = "CartPol-v1"\n',
        fact=(30,),
    ),
    Row(
        "env_lacking",
        "an environment whose package is not installed",
        "EnvironmentMissing: agent env_lacking, hop observations, file {here}/env_lacking.toml:3: Environment FetchReach-v1 needs a package: No module named 'gymnasium_robotics'. Install its package, or leave [environment] out: observations then come from statistics.",
        GOOD + '[environment]\nid = "FetchReach-v1"\nimports = ["gymnasium_robotics"]\n',
        fact=(29,),
    ),
    Row(
        "env_namespace",
        "an id of a package that nothing imports",
        "EnvironmentMissing: agent env_namespace, hop observations, file {here}/env_namespace.toml: No environment 'ALE/Pong-v5': Namespace ALE not found. Have you installed the proper package for ALE? Install its package, or leave [environment] out: observations then come from statistics.",
        GOOD + '[environment]\nid = "ALE/Pong-v5"\n',
        fact=(29,),
    ),
    Row(
        "env_other",
        "another environment than the agent's",
        "EnvironmentUnfit: agent env_other, hop observations, file {here}/env_other.toml: The agent and Pendulum-v1 differ in their spaces. Expected an environment that observes Box([-4.8 -inf -0.41887903 -inf], [4.8 inf 0.41887903 inf], (4,), float32), found Box([-1. -1. -8.], [1. 1. 8.], (3,), float32). Name the environment (and wrappers) that the agent was trained in.",
        GOOD + '[environment]\nid = "Pendulum-v1"\n',
        fact=(31,),
    ),
    Row(
        "env_argument",
        "an argument that the environment does not have",
        "EnvironmentUnfit: agent env_argument, hop observations, file {here}/env_argument.toml:3: Environment CartPole-v1 cannot be made: CartPoleEnv.__init__() got an unexpected keyword argument 'banana' was raised from the environment creator for CartPole-v1 with kwargs ({'banana': 1}). Name the environment (and wrappers) that the agent was trained in.",
        GOOD + CARTPOLE + "kwargs = { banana = 1 }\n",
    ),
    Row(
        "env_wrapper",
        "a wrapper that does not exist",
        "EnvironmentMissing: agent env_wrapper, hop observations, file {here}/env_wrapper.toml: The wrapper gymnasium.wrappers:NoSuchWrapper cannot be imported: module 'gymnasium.wrappers' has no attribute 'NoSuchWrapper'. Install its package, or leave [environment] out: observations then come from statistics.",
        GOOD + CARTPOLE + 'wrappers = ["gymnasium.wrappers:NoSuchWrapper"]\n',
    ),
    Row(
        "env_unwrapped",
        "a wrapper that is none",
        "EnvironmentUnfit: agent env_unwrapped, hop observations, file {here}/env_unwrapped.toml: The wrapper builtins:repr made no environment. Found str. Name the environment (and wrappers) that the agent was trained in.",
        GOOD + CARTPOLE + 'wrappers = ["builtins:repr"]\n',
    ),
    Row(
        "env_frames",
        "frames of what cannot be stacked",
        "EnvironmentUnfit: agent env_frames, hop observations, file {here}/env_frames.toml: The observations of FrozenLake-v1 cannot be stacked: only Box observations can be stacked, found Discrete(16). Leave frame_stack out of the config.",
        GOOD + '[environment]\nid = "FrozenLake-v1"\nframe_stack = 2\n',
    ),
    Row(
        "env_unstacked",
        "a stack of frames that the config does not name",
        "EnvironmentUnfit: agent env_unstacked, hop observations, file {here}/env_unstacked.toml: The agent and CartPole-v1 differ in their spaces. Expected an environment that observes Box([-4.8 -4.8 -4.8 -inf -inf -inf -0.41887903 -0.41887903 -0.41887903 -inf -inf -inf], [4.8 4.8 4.8 inf inf inf 0.41887903 0.41887903 0.41887903 inf inf inf], (12,), float32), found Box([-4.8 -inf -0.41887903 -inf], [4.8 inf 0.41887903 inf], (4,), float32). If it was trained with VecFrameStack, set environment.frame_stack = 3.",
        'zip = "stacked.zip"\ntargets = ["weights"]\n' + CARTPOLE,
    ),
    Row(
        "recipe_algorithm",
        "a recipe of an algorithm that SB3 does not have",
        "UnknownAlgorithm: agent recipe_algorithm, hop recipe, file {here}/recipe_algorithm.toml:2: Algorithm 'PPPO' is unknown; did you mean 'PPO'? Expected A2C, DDPG, DQN, PPO, SAC, TD3, ARS, CrossQ, MaskablePPO, QRDQN, RecurrentPPO, TQC, TRPO. Correct the name in the config.",
        '[recipe]\nalgorithm = "PPPO"\n' + CARTPOLE,
    ),
    Row(
        "recipe_argument",
        "a hyperparameter that it does not have",
        "TrainingFailed: agent recipe_argument, hop recipe, file {here}/recipe_argument.toml: PPO refused the recipe: PPO.__init__() got an unexpected keyword argument 'n_stepz'. Correct [recipe] in the config.",
        '[recipe]\nalgorithm = "PPO"\nsteps = 64\nhyperparameters = { n_stepz = 8 }\n' + CARTPOLE,
    ),
    Row(
        "python_other",
        "a program for an interpreter that is none",
        "ConfigWrongValue: agent python_other, hop sb3, file {here}/python_other.toml:3: Python names /bin/echo, which is no Python. Install there: torch, stable-baselines3, gymnasium, onnx, onnxscript, numpy; or leave `python` out of the config.",
        GOOD + 'python = "/bin/echo"\n',
    ),
    Row(
        "python_gone",
        "an interpreter that is not there",
        "ConfigWrongValue: agent python_gone, hop sb3, file {here}/python_gone.toml:3: Python names /no/such/python, which does not run (No such file or directory). Install there: torch, stable-baselines3, gymnasium, onnx, onnxscript, numpy; or leave `python` out of the config.",
        GOOD + 'python = "/no/such/python"\n',
    ),
    # --- observations of the user's own
    Row(
        "file_text",
        "observations that are no `.npz`",
        "InputsUnfit: agent file_text, hop observations, file {here}/file_text.npz: The observations cannot be read: This file contains pickled (object) data. Expected a .npz file. policy.json lists the inputs with their shapes, dtypes and layouts.",
        _from("file_text"),
        lambda bench: bench.write(b"1,2,3", ".npz"),
    ),
    Row(
        "file_shape",
        "observations of another shape",
        "InputsUnfit: agent file_shape, hop observations, file {here}/file_shape.npz: The input 'observation' (observation) has another shape. Expected ['batch', 4], found ['batch', 3]. policy.json lists the inputs with their shapes, dtypes and layouts.",
        _from("file_shape"),
        seen(observation=np.zeros((40, 3))),
        fact=(40,),
    ),
    Row(
        "file_name",
        "observations under another name",
        "InputsUnfit: agent file_name, hop observations, file {here}/file_name.npz: There is no input 'a'. Expected observation, found a. policy.json lists the inputs with their shapes, dtypes and layouts.",
        _from("file_name"),
        seen(a=np.zeros((40, 4)), b=np.zeros((40, 4))),
    ),
    Row(
        "file_few",
        "too few observations",
        "InputsUnfit: agent file_few, hop observations, file {here}/file_few.npz: The observations are too few, or not as many of each. Expected at least 16, found {'observation': 3}. policy.json lists the inputs with their shapes, dtypes and layouts.",
        _from("file_few"),
        seen(observation=np.zeros((3, 4))),
        fact=(40,),
    ),
    Row(
        "file_nan",
        "observations that are NaN",
        "ObservationsNotFinite: agent file_nan, hop observations, file {here}/file_nan.npz: 'observation' is NaN or infinite in row 0. Take such rows out.",
        _from("file_nan"),
        seen(observation=np.full((40, 4), np.nan)),
        fact=(40,),
    ),
    Row(
        "file_words",
        "observations that are words",
        "InputsUnfit: agent file_words, hop observations, file {here}/file_words.npz: 'observation' is not of numbers. Found <U1. policy.json lists the inputs with their shapes, dtypes and layouts.",
        _from("file_words"),
        seen(observation=np.full((40, 4), "x")),
    ),
)

# What was given is right, and yet something fails: the exit code is 1.
FAILURES = (
    Row(
        "check_fails",
        "a check fails (here: a tolerance that no float keeps)",
        "CheckFailed: agent check_fails, hop weights:weights:check, file {here}/artifacts/check_fails/weights/weights/verdict.json: …: max difference …; needs absolute tolerance … > 1e-12 at observation … (expected …, found …). The artifact stays for inspection, and nothing is built from it.",
        GOOD + "[tolerance]\nabsolute = 1e-12\nrelative = 0.0\n",
        code=1,
        fact=(49,),
    ),
    Row(
        "job_slow",
        "a step takes longer than `timeout`",
        "JobTimedOut: agent job_slow, hop observations, file {here}/artifacts/job_slow/log/observations.txt: Observe was stopped after 2 s, twice. Raise `timeout` in the config if the work is really that large.",
        GOOD + "timeout = 2\n" + CARTPOLE + "[observations]\nepisodes = 100_000\n",
        code=1,
        fact=(48,),
    ),
)
