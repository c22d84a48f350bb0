"""Rows that are found when a config is read: no step is run."""

from __future__ import annotations

from .row import Bench, Row

ZIP = 'zip = "good.zip"\n'
HUB = '[hub]\nrepo_id = "owner/name"\nfilename = "a.zip"\n'
COMMIT = f'revision = "{"0123456789" * 4}"\n'
RECIPE = '[recipe]\nalgorithm = "PPO"\n'


def _write(content: bytes) -> object:
    return lambda bench: bench.write(content, ".toml")


def _folder(bench: Bench) -> None:
    bench.path(".toml").mkdir()


def _beside(bench: Bench) -> None:
    home = bench.folder / bench.name
    home.mkdir()
    (home / "agent.zip").write_bytes(bench.good)
    (home / "vecnormalize.pkl").touch()


CONFIGS = (
    # --- TOML
    Row(
        "toml_broken",
        "it is not TOML",
        "ConfigUnreadable: agent toml_broken, file {here}/toml_broken.toml: The config is not TOML: Invalid value (at line 1, column 7). Mend the TOML at that place.",
        "zip = \n",
        fact=(32,),
    ),
    Row(
        "toml_bytes",
        "it is not UTF-8",
        "ConfigUnreadable: agent toml_bytes, file {here}/toml_bytes.toml: The config is not UTF-8, as TOML is: byte 7 is 0xff. Save it as UTF-8.",
        make=_write(b'zip = "\xff.zip"\n'),
    ),
    Row(
        "toml_deep",
        "lists nested 5,000 deep",
        "ConfigUnreadable: agent toml_deep, file {here}/toml_deep.toml: The config is not TOML: it is too deeply nested. Mend the TOML at that place.",
        "targets = " + "[" * 5000 + "]" * 5000 + "\n",
    ),
    Row(
        "toml_folder",
        "a folder has a config's name",
        "ConfigUnreadable: agent toml_folder, file {here}/toml_folder.toml: The config cannot be read (Is a directory). A config is a file that can be read.",
        make=_folder,
    ),
    Row(
        "toml_twice",
        "a key is there twice",
        "ConfigUnreadable: agent toml_twice, file {here}/toml_twice.toml: The config is not TOML: Cannot overwrite a value (at line 2, column 17). Mend the TOML at that place.",
        ZIP + ZIP,
    ),
    # --- keys
    Row(
        "key_table",
        "a table is misspelt",
        "ConfigUnknownKey: agent key_table, file {here}/key_table.toml:2: Unknown key 'tolerence'; did you mean 'tolerance'? Correct or remove the key.",
        ZIP + "[tolerence]\nabsolute = 1e-5\n",
        fact=(33,),
    ),
    Row(
        "key_inner",
        "a key of a table is misspelt",
        "ConfigUnknownKey: agent key_inner, file {here}/key_inner.toml:3: Unknown key 'tolerance.absolut'; did you mean 'tolerance.absolute'? Correct or remove the key.",
        ZIP + "[tolerance]\nabsolut = 1e-5\n",
        fact=(33,),
    ),
    Row(
        "key_foreign",
        "a key that Slipway does not have",
        "ConfigUnknownKey: agent key_foreign, file {here}/key_foreign.toml:3: Unknown key 'edgetpu.quux'; known: command, timeout. Correct or remove the key.",
        ZIP + "[edgetpu]\nquux = true\n",
    ),
    Row(
        "key_name",
        "`name` is set",
        "ConfigUnknownKey: agent key_name, file {here}/key_name.toml: 'name' cannot be set: it follows from the file's name. Correct or remove the key.",
        ZIP + 'name = "another"\n',
    ),
    Row(
        "key_rungs",
        "`int8.waver`, for `int8.waiver`",
        "ConfigUnknownKey: agent key_rungs, file {here}/key_rungs.toml:3: Unknown key 'int8.waver'; did you mean 'int8.waiver'? Correct or remove the key.",
        ZIP + '[int8]\nwaver = "we know"\n',
    ),
    # --- types
    Row(
        "type_targets",
        "`targets` is a text",
        "ConfigWrongValue: agent type_targets, file {here}/type_targets.toml:2: `targets`: Expected a list, got a text. Change the value in the config.",
        ZIP + 'targets = "tflite"\n',
        fact=(34,),
    ),
    Row(
        "type_zip",
        "`zip` is a number",
        "ConfigWrongValue: agent type_zip, file {here}/type_zip.toml:1: `zip`: Expected a text, got a whole number. Change the value in the config.",
        "zip = 3\n",
    ),
    Row(
        "type_trust",
        "`trust` is a text",
        "ConfigWrongValue: agent type_trust, file {here}/type_trust.toml:2: `trust`: Expected true or false, got a text. Change the value in the config.",
        ZIP + 'trust = "yes"\n',
    ),
    Row(
        "type_table",
        "a table is a number",
        "ConfigWrongValue: agent type_table, file {here}/type_table.toml:2: `int8`: Expected a table, got a whole number. Change the value in the config.",
        ZIP + "int8 = 3\n",
    ),
    Row(
        "type_waiver",
        "`int8.waiver` is no reason",
        "ConfigWrongValue: agent type_waiver, file {here}/type_waiver.toml:3: `int8.waiver`: Expected a text, got true or false. Change the value in the config.",
        ZIP + "[int8]\nwaiver = true\n",
    ),
    Row(
        "type_images",
        "`images` is none of the two",
        "ConfigWrongValue: agent type_images, file {here}/type_images.toml:2: `images`: Invalid enum value 'rgb'. Expected 'channel-last' or 'channel-first'. Change the value in the config.",
        ZIP + 'images = "rgb"\n',
    ),
    Row(
        "type_imports",
        "`import_from` is a list of numbers",
        "ConfigWrongValue: agent type_imports, file {here}/type_imports.toml:2: `import_from[0]`: Expected a text, got a whole number. Change the value in the config.",
        ZIP + "import_from = [3]\n",
    ),
    # --- values
    Row(
        "targets_empty",
        "`targets` is empty",
        'ConfigWrongValue: agent targets_empty, file {here}/targets_empty.toml:2: Targets is empty. Expected ["all"] or some of: {kinds}. Change the value in the config.',
        ZIP + "targets = []\n",
    ),
    Row(
        "targets_unknown",
        "a target is misspelt",
        "ConfigWrongValue: agent targets_unknown, file {here}/targets_unknown.toml:2: Targets has 'tfilte', which is unknown; did you mean 'tflite'? Expected {kinds}. Change the value in the config.",
        ZIP + 'targets = ["tfilte"]\n',
        fact=(36,),
    ),
    Row(
        "targets_foreign",
        "a target that Slipway does not have",
        "ConfigWrongValue: agent targets_foreign, file {here}/targets_foreign.toml:2: Targets has 'caffe', which is unknown. Expected {kinds}. Change the value in the config.",
        ZIP + 'targets = ["caffe"]\n',
        fact=(36,),
    ),
    Row(
        "tolerance_negative",
        "a tolerance below 0",
        "ConfigWrongValue: agent tolerance_negative, file {here}/tolerance_negative.toml:3: `tolerance.absolute`: want absolute from 0 to 1, found -1e-05. Change the value in the config.",
        ZIP + "[tolerance]\nabsolute = -1e-5\n",
        fact=(35,),
    ),
    Row(
        "tolerance_nan",
        "a tolerance that is NaN",
        "ConfigWrongValue: agent tolerance_nan, file {here}/tolerance_nan.toml:3: `tolerance.absolute`: want absolute from 0 to 1, found nan. Change the value in the config.",
        ZIP + "[tolerance]\nabsolute = nan\n",
        fact=(35,),
    ),
    Row(
        "tolerance_large",
        "a tolerance of 5",
        "ConfigWrongValue: agent tolerance_large, file {here}/tolerance_large.toml:3: `tolerance.relative`: want relative from 0 to 1, found 5.0. Change the value in the config.",
        ZIP + "[tolerance]\nrelative = 5.0\n",
        fact=(35,),
    ),
    Row(
        "tolerance_zero",
        "a tolerance of 0",
        "ConfigWrongValue: agent tolerance_zero, file {here}/tolerance_zero.toml:3: `tolerance.absolute`: want absolute above 0, found 0.0. Change the value in the config.",
        ZIP + "[tolerance]\nabsolute = 0.0\n",
        fact=(35,),
    ),
    Row(
        "timeout_zero",
        "no time at all",
        "ConfigWrongValue: agent timeout_zero, file {here}/timeout_zero.toml:2: `timeout`: want a timeout above 0, found 0. Change the value in the config.",
        ZIP + "timeout = 0\n",
    ),
    Row(
        "opset_low",
        "opset 9",
        "ConfigWrongValue: agent opset_low, file {here}/opset_low.toml:3: `onnx.opset`: want opset 14 (onnx-tf 1.10 takes no other safely), found 9. Change the value in the config.",
        ZIP + "[onnx]\nopset = 9\n",
    ),
    Row(
        "opset_web",
        "an opset that ONNX Runtime Web does not have",
        "ConfigWrongValue: agent opset_web, file {here}/opset_web.toml:3: `onnx.web_opset`: want web_opset from 18 to 26, found 99. Change the value in the config.",
        ZIP + "[onnx]\nweb_opset = 99\n",
    ),
    Row(
        "frames_none",
        "a stack of no frames",
        "ConfigWrongValue: agent frames_none, file {here}/frames_none.toml:4: `environment.frame_stack`: want frame_stack from 1 to 64, found 0. Change the value in the config.",
        ZIP + '[environment]\nid = "CartPole-v1"\nframe_stack = 0\n',
    ),
    Row(
        "wrapper_dotted",
        "a wrapper with a dot for its colon",
        "ConfigWrongValue: agent wrapper_dotted, file {here}/wrapper_dotted.toml:3: `environment.wrappers`: want wrappers as 'package.module:Class', found 'a.b.C'. Change the value in the config.",
        ZIP + '[environment]\nwrappers = ["a.b.C"]\n',
    ),
    Row(
        "allowed_dotted",
        "`import_allowed` with a dot for its colon",
        "ConfigWrongValue: agent allowed_dotted, file {here}/allowed_dotted.toml:2: `import_allowed`: want import_allowed as 'package.module:Class', found 'mine.C'. Change the value in the config.",
        ZIP + 'import_allowed = ["mine.C"]\n',
    ),
    Row(
        "import_from_gone",
        "`import_from` names no folder",
        "ConfigWrongValue: agent import_from_gone, file {here}/import_from_gone.toml:2: import_from names no folder. Found {here}/nowhere. Change the value in the config.",
        ZIP + 'import_from = ["nowhere"]\n',
    ),
    Row(
        "samples_few",
        "3 observations to check on",
        "ConfigWrongValue: agent samples_few, file {here}/samples_few.toml:3: `observations.samples`: want samples from 16 to 100000, found 3. Change the value in the config.",
        ZIP + "[observations]\nsamples = 3\n",
    ),
    Row(
        "samples_many",
        "10⁹ observations to calibrate on",
        "ConfigWrongValue: agent samples_many, file {here}/samples_many.toml:3: `calibration.samples`: want samples from 16 to 100000, found 1000000000. Change the value in the config.",
        ZIP + "[calibration]\nsamples = 1_000_000_000\n",
    ),
    Row(
        "seed_negative",
        "a seed below 0",
        "ConfigWrongValue: agent seed_negative, file {here}/seed_negative.toml:3: `observations.seed`: want a seed of at least 0, found -1. Change the value in the config.",
        ZIP + "[observations]\nseed = -1\n",
    ),
    Row(
        "file_gone",
        "a file of observations that is not there",
        "ConfigWrongValue: agent file_gone, file {here}/file_gone.toml:3: calibration.file names no file. Found {here}/gone.npz. Change the value in the config.",
        ZIP + '[calibration]\nfile = "gone.npz"\n',
    ),
    Row(
        "episodes_none",
        "no episode",
        "ConfigWrongValue: agent episodes_none, file {here}/episodes_none.toml:3: `float16.episodes`: want episodes from 1 to 10000, found 0. Change the value in the config.",
        ZIP + "[float16]\nepisodes = 0\n",
    ),
    Row(
        "kept_percent",
        "a share of the return in per cent",
        "ConfigWrongValue: agent kept_percent, file {here}/kept_percent.toml:3: `int8.return_kept`: want return_kept from 0 to 1, found 98.0. Change the value in the config.",
        ZIP + "[int8]\nreturn_kept = 98.0\n",
    ),
    Row(
        "rungs_unknown",
        "a rung that the ladder does not have",
        "ConfigWrongValue: agent rungs_unknown, file {here}/rungs_unknown.toml:3: `int8.rungs`: want rungs of int8, int8_ranges, int8_float_head, int16x8, float16, in this order, found ['int4']. Change the value in the config.",
        ZIP + '[int8]\nrungs = ["int4"]\n',
    ),
    Row(
        "rungs_order",
        "rungs in another order",
        "ConfigWrongValue: agent rungs_order, file {here}/rungs_order.toml:3: `int8.rungs`: want rungs of int8, int8_ranges, int8_float_head, int16x8, float16, in this order, found ['float16', 'int8']. Change the value in the config.",
        ZIP + '[int8]\nrungs = ["float16", "int8"]\n',
    ),
    Row(
        "command_empty",
        "an empty `edgetpu.command`",
        "ConfigWrongValue: agent command_empty, file {here}/command_empty.toml:3: `edgetpu.command`: want a command of at least one word, found []. Change the value in the config.",
        ZIP + "[edgetpu]\ncommand = []\n",
    ),
    # --- where the agent comes from
    Row(
        "agent_none",
        "neither `zip` nor `[hub]` nor `[recipe]`",
        "ConfigWrongValue: agent agent_none, file {here}/agent_none.toml: Neither zip nor [hub] nor [recipe] algorithm is set: there is no agent to build. Change the value in the config.",
        'vecnormalize = "none"\n',
    ),
    Row(
        "agent_both",
        "both `zip` and `[hub]`",
        "ConfigWrongValue: agent agent_both, file {here}/agent_both.toml:1: Zip and [hub] are both set: the archive comes from one of them. Change the value in the config.",
        ZIP + HUB + COMMIT,
    ),
    Row(
        "hub_partly",
        "`[hub]` without a revision",
        "ConfigWrongValue: agent hub_partly, file {here}/hub_partly.toml:1: [hub] lacks revision. Expected repo_id, filename and revision. Change the value in the config.",
        HUB,
    ),
    Row(
        "hub_branch",
        "a branch for a revision",
        "ConfigWrongValue: agent hub_branch, file {here}/hub_branch.toml:4: hub.revision is no commit, and a branch or tag would be another agent tomorrow. Expected 40 hexadecimal digits, found 'main'. Copy the full commit from the repository's page: Files and versions, History.",
        HUB + 'revision = "main"\n',
    ),
    Row(
        "hub_name",
        "a repository without its owner",
        "ConfigWrongValue: agent hub_name, file {here}/hub_name.toml:2: hub.repo_id is no repository. Expected owner/name, found 'name'. Change the value in the config.",
        HUB.replace("owner/", "") + COMMIT,
    ),
    Row(
        "hub_statistics",
        "`vecnormalize` beside `[hub]`",
        "ConfigWrongValue: agent hub_statistics, file {here}/hub_statistics.toml:1: Vecnormalize is set, but [hub] fetches the agent: set hub.vecnormalize instead. Change the value in the config.",
        'vecnormalize = "v.pkl"\n' + HUB + COMMIT,
    ),
    Row(
        "recipe_nowhere",
        "a recipe without an environment",
        "ConfigWrongValue: agent recipe_nowhere, file {here}/recipe_nowhere.toml:1: [recipe] needs [environment] id. Change the value in the config.",
        RECIPE,
    ),
    Row(
        "recipe_statistics",
        "a recipe with statistics",
        "ConfigWrongValue: agent recipe_statistics, file {here}/recipe_statistics.toml:1: Vecnormalize is set, but the recipe makes its own statistics. Change the value in the config.",
        'vecnormalize = "v.pkl"\n' + RECIPE + '[environment]\nid = "CartPole-v1"\n',
    ),
    Row(
        "recipe_steps",
        "a recipe of no steps",
        "ConfigWrongValue: agent recipe_steps, file {here}/recipe_steps.toml:3: `recipe.steps`: want steps above 0, found 0. Change the value in the config.",
        RECIPE + 'steps = 0\n[environment]\nid = "CartPole-v1"\n',
    ),
    # --- names
    Row(
        "my agent",
        "a name with a blank",
        "AgentNameUnfit: agent my agent, file {here}/my agent.toml: The agent's name is unfit for a path. Expected letters, digits, '-' and '_', at most 64, a letter or digit first, found 'my agent'. Rename the config: its file name is the agent's name.",
        ZIP,
        fact=(39,),
    ),
    Row(
        "n" * 65,
        "a name of more than 64 characters",
        "AgentNameUnfit: agent nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn, file {here}/nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn.toml: The agent's name is unfit for a path. Expected letters, digits, '-' and '_', at most 64, a letter or digit first, found 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn'. Rename the config: its file name is the agent's name.",
        ZIP,
        fact=(39,),
    ),
    Row(
        "onnx",
        "the name of a kind",
        "AgentNameUnfit: agent onnx, file {here}/onnx.toml: 'onnx' is the name of a task, so an agent cannot have it. Rename the config: its file name is the agent's name.",
        ZIP,
    ),
    Row(
        "good_twin",
        "two names that differ in case alone",
        "AgentNameUnfit: agent good_twin, file {here}/good_twin.toml: Agents 'Good_twin' and 'good_twin' would share one folder where case is ignored. Rename the config: its file name is the agent's name.",
        make=lambda bench: (
            (bench.folder / "Good_twin.toml").write_text(ZIP + 'targets = ["weights"]\n')
            and bench.path(".toml").write_text(ZIP)
        ),
        fact=(38,),
    ),
    # --- files
    Row(
        "zip_missing",
        "the archive is not there",
        "AgentFileMissing: agent zip_missing, file {here}/zip_missing.toml: {here}/gone.zip does not exist (looked in {here}). Check `zip` in the config; it is relative to the config's folder.",
        'zip = "gone.zip"\n',
        fact=(1,),
    ),
    Row(
        "zip_folder",
        "the archive is a folder",
        "AgentFileMissing: agent zip_folder, file {here}/zip_folder.toml: {here} is a folder. Check `zip` in the config; it is relative to the config's folder.",
        'zip = "."\n',
        fact=(1,),
    ),
    Row(
        "zip_null",
        "the archive's path holds a NUL",
        "ConfigWrongValue: agent zip_null, file {here}/zip_null.toml:1: `zip` holds a NUL character. Change the value in the config.",
        'zip = "a\\u0000.zip"\n',
    ),
    Row(
        "zip_long",
        "the archive's name is longer than any file's",
        f"AgentFileMissing: agent zip_long, file {{here}}/zip_long.toml: {{here}}/{'x' * 300} does not exist (looked in {{here}}). Check `zip` in the config; it is relative to the config's folder.",
        'zip = "' + "x" * 300 + '"\n',
    ),
    Row(
        "statistics_missing",
        "the statistics are not there",
        'StatisticsMissing: agent statistics_missing, file {here}/statistics_missing.toml: {here}/gone.pkl does not exist (looked in {here}). Set vecnormalize = "…" or vecnormalize = "none" in the config.',
        ZIP + 'vecnormalize = "gone.pkl"\n',
    ),
    Row(
        "statistics_unsaid",
        "statistics beside the archive that the config does not name",
        'StatisticsMissing: agent statistics_unsaid, file {here}/statistics_unsaid.toml: The config does not say whether {here}/statistics_unsaid/vecnormalize.pkl belongs to the archive. Set vecnormalize = "…" or vecnormalize = "none" in the config.',
        'zip = "statistics_unsaid/agent.zip"\n',
        make=_beside,
        fact=(24,),
    ),
)
