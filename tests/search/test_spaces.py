"""Search spaces: the shipped ones are valid, and a faulty one is refused before any training."""

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from study.config import RunConfig, custom_loss_path, get, parse_assignments, replace
from study.config.recipes import aesop, for_task
from study.search.spaces import DRY_DRAWS, FOLDER, SearchSpace, SpaceError, load_space

NETWORKS = ("vgg19", "squeezenet", "alexnet")

HEAD = """
from study.config.recipes import aesop, for_task
SIZE, TRIALS = "tiny", 5
REFERENCE = {"psnr_y": 20.0, "swd": 60.0}
GROUPS = ["loss.guidance"]
def base(size, networks):
    return aesop(size)
"""
WHOLE = (
    HEAD
    + """
def sample(trial, base):
    return {
        "loss.fidelity": trial.suggest_float("loss.fidelity", 0.1, 2.0, log=True),
        "budget.batch": trial.suggest_int("budget.batch", 1, 8),
    }
"""
)


@pytest.fixture(scope="module")
def tiny() -> RunConfig:
    return aesop("tiny")


@pytest.fixture
def space_of(tmp_path: Path) -> Any:
    """Write a space file and load it."""

    def load(text: str) -> SearchSpace:
        path = tmp_path / "mine.py"
        path.write_text(text)
        return load_space(str(path))

    return load


def sample_with(body: str) -> str:
    return HEAD + f"\ndef sample(trial, base):\n    {body}\n"


def random_trial() -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()


# --- loading -------------------------------------------------------------------------------------------------------


def test_a_space_is_loaded_by_name_or_path() -> None:
    by_name, by_path = load_space("quick"), load_space(str(FOLDER / "quick.py"))
    assert by_name.name == by_path.name == "quick"
    assert by_name.fingerprint == by_path.fingerprint
    assert (by_name.size, by_name.trials) == ("tiny", 12)
    assert by_name.groups[0] == "loss.guidance"


def test_a_file_elsewhere_gives_its_parts(space_of: Any, tmp_path: Path, tiny: RunConfig) -> None:
    space = space_of(WHOLE)
    assert (space.name, space.path, space.size, space.trials) == ("mine", tmp_path / "mine.py", "tiny", 5)
    assert space.reference == {"psnr_y": 20.0, "swd": 60.0}
    assert space.groups == ("loss.guidance",)
    assert space.base("tiny", NETWORKS) == tiny
    assert "mine" not in sys.modules


def test_the_fingerprint_is_the_files_program(space_of: Any) -> None:
    first = space_of(WHOLE).fingerprint
    assert space_of(WHOLE).fingerprint == first
    same = (
        '"""Why."""\n' + WHOLE.replace("(trial, base):", '(trial, base):\n    """Draw."""  # a comment') + "\n# why\n"
    )
    assert space_of(same).fingerprint == first
    assert space_of(same).text == same
    assert space_of(WHOLE.replace("0.1, 2.0", "0.2, 2.0")).fingerprint != first


@pytest.mark.parametrize("name", ["quik", "nowhere/mine.py"])
def test_an_unknown_space_lists_the_known_ones(name: str) -> None:
    with pytest.raises(
        SpaceError, match=r"one of: aesop, baselines, consistency, guidance, mdf, perceptual_weight, quick"
    ) as caught:
        load_space(name)
    assert name in str(caught.value)
    assert "__init__" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("def sample(:", "SyntaxError"),
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_file_that_raises_is_named_with_the_cause(space_of: Any, text: str, cause: str) -> None:
    with pytest.raises(SpaceError, match=rf"mine\.py cannot be read: {cause}"):
        space_of(text)


@pytest.mark.parametrize("part", ["SIZE", "REFERENCE", "GROUPS", "base", "sample"])
def test_a_missing_part_is_named(space_of: Any, part: str) -> None:
    with pytest.raises(SpaceError, match=rf"mine\.py does not define {part};.*quick\.py"):
        space_of(WHOLE + f"\ndel {part}\n")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            "OBJECTIVES = ('psnr_y', 'swd')",
            r"defines OBJECTIVES, which nothing reads; The parts of a space are SIZE, TRI",
        ),
        ("TRIAL = 7", r"defines TRIAL, which nothing reads; did you mean TRIALS\?"),
        ("NETWORK: tuple = ('vgg16',)", r"NETWORK, which nothing reads; did you mean NETWORKS\?"),
        ("SEED, _ = 3, 4", "defines SEED, which nothing reads"),
        ("STRATIFIED = {'loss.fidelity': (1.0, 0.5)}", r"STRATIFIED, .*did you mean STRATIFY\?"),
        ("def stratified(base, networks):\n    return {}", r"stratified, .*did you mean stratify\?"),
    ],
)
def test_what_only_looks_like_a_part_is_refused(space_of: Any, more: str, problem: str) -> None:
    with pytest.raises(SpaceError, match=problem):
        space_of(f"{WHOLE}\n{more}\n")


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("TRIALS = 10**6 + 1", "TRIALS: Input should be less than or equal to 1000000, but got 1000001; change it in"),
        ("TRIALS = '5'", "TRIALS: Input should be a valid integer, but got '5'"),
        ("GROUPS = [f'loss.{number}' for number in range(21)]", "GROUPS: .* should have at most 20 items"),
        ("GROUPS = ('loss.guidance', 'loss.guidance')", "GROUPS: .*names must be different and not empty"),
        ("REFERENCE = {'psnr_y': float('inf'), 'swd': 60.0}", "REFERENCE.psnr_y: Input should be .*, but got inf"),
        ("REFERENCE = {'psnr_y': 20.0, 'swd': '60'}", "REFERENCE.swd: Input should be a valid number, but got '60'"),
        ("REFERENCE = (20.0, 60.0)", "REFERENCE: Input should be a valid dictionary, but got"),
        ("STRATIFY = {'loss.fidelity': 1.0}", "STRATIFY.loss.fidelity: Input should be a valid tuple, but got 1.0"),
    ],
)
def test_values_that_a_studys_files_could_not_hold_are_refused(space_of: Any, more: str, problem: str) -> None:
    with pytest.raises(SpaceError, match=rf"mine\.py: {problem}"):
        space_of(f"{WHOLE}\n{more}\n")


def test_constants_and_functions_of_the_file_itself_are_allowed(space_of: Any, tiny: RunConfig) -> None:
    body = "PATCHES = [64]\ndef _half(x):\n    return x / 2\ndef plain(x):\n    return x\n"
    space = space_of(body + sample_with("return {'budget.patch': trial.suggest_categorical('budget.patch', PATCHES)}"))
    assert space.varied(tiny) == {"budget.patch"}


# --- drawing -------------------------------------------------------------------------------------------------------


def test_a_draw_is_the_base_with_what_was_suggested(space_of: Any, tiny: RunConfig) -> None:
    trial = random_trial()
    config = space_of(WHOLE).sample(trial, tiny)
    assert config == replace(tiny, trial.params)
    assert set(trial.params) == {"loss.fidelity", "budget.batch"}


def test_own_values_are_the_recipes(space_of: Any, tiny: RunConfig) -> None:
    assert space_of(WHOLE).own_values(tiny) == {"loss.fidelity": 1.0, "budget.batch": 4}


FAULTS = [
    ("raise KeyError('patch')", r"KeyError: 'patch'"),
    ("return None", r"AttributeError"),
    ("return {'budget.patch': 50}", r"budget\.patch must be a multiple of data\.scale \(4\), but got 50"),
    ("return {'loss.adverserial': 1}", r"unknown field 'loss\.adverserial'; did you mean loss\.adversarial"),
    ("return {'loss.fidelity': -1.0}", r"loss\.fidelity: .*greater than or equal to 0"),
    ("return {'seed': trial.suggest_int('sed', 0, 3)}", r"unknown field 'sed'"),
    (
        "trial.suggest_float('loss.fidelity', 2.0, 3.0); return {}",
        r"\[2\.0, 3\.0\].*own value.* is 1\.0; .*widen it there",
    ),
    ("trial.suggest_int('budget.patch', 8, 32); return {}", r"\[8, 32\].*own value.* is 64; .*widen it there"),
    (
        "trial.suggest_categorical('budget.patch', [32, 96]); return {}",
        r"\[32, 96\].*own value.* is 64; .*add it there",
    ),
]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ("return {'loss.fidelity': trial.suggest_float('loss.fidelity', 2.0, 3.0)}", 2.0),
        ("return {'loss.fidelity': trial.suggest_float('loss.fidelity@pixel', 0.1, 0.5)}", 0.5),
        ("return {'budget.patch': trial.suggest_int('budget.patch', 32, 32)}", 32),
        ("return {'budget.patch': trial.suggest_categorical('budget.patch', [96, 32])}", 96),
        ("return {'loss.gan': trial.suggest_categorical('loss.gan', ['vanilla'])}", "vanilla"),
        ("return {'autoencoder.init': trial.suggest_categorical('autoencoder.init', [None])}", None),
        (
            "return {'generator.head': trial.suggest_categorical('generator.head', ['espcn', 'nearest'])}",
            "espcn",
        ),
    ],
)
def test_a_range_without_the_recipes_value_names_one_that_the_search_can_begin_with(
    space_of: Any, tiny: RunConfig, body: str, value: object
) -> None:
    space = space_of(sample_with(body))
    if value is None:
        tiny = replace(tiny, {"autoencoder.init": str(space.path)})
    with pytest.raises(SpaceError, match="--set") as caught:
        space.try_out(tiny)
    (remedy,) = re.findall(r"--set (\S+?)(?:,|$)", str(caught.value))
    changes = parse_assignments([remedy])
    assert list(changes.values()) == [value]
    assert list(changes) == list(space.varied(tiny))
    assert len(space.try_out(replace(tiny, changes))) == DRY_DRAWS + 1


@pytest.mark.parametrize(("body", "cause"), FAULTS)
def test_a_faulty_space_is_found_out_before_any_training(space_of: Any, tiny: RunConfig, body: str, cause: str) -> None:
    with pytest.raises(SpaceError, match=rf"mine\.py.*{cause}"):
        space_of(sample_with(body)).try_out(tiny)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("return {'budget.patch': trial.suggest_int('budget.patch', 33, 95)}", r"budget\.patch must be a multiple"),
        ("return {'seed': 1 // (0 if trial.suggest_int('seed', 0, 9) > 4 else 1)}", "ZeroDivisionError"),
    ],
)
def test_a_fault_of_other_values_is_found_too(space_of: Any, tiny: RunConfig, body: str, cause: str) -> None:
    space = space_of(sample_with(body))
    assert len(space.own_values(tiny)) == 1
    with pytest.raises(SpaceError, match=rf"mine\.py, trial with \{{'.*\}}: .*{cause}"):
        space.try_out(tiny)


def test_a_space_that_prunes_while_it_draws_is_found_out(space_of: Any, tiny: RunConfig) -> None:
    with pytest.raises(SpaceError, match=r"mine\.py.*TrialPruned"):
        space_of("import optuna\n" + sample_with("raise optuna.TrialPruned('not this one')")).try_out(tiny)


def test_a_group_that_is_no_field_is_found_out(space_of: Any, tiny: RunConfig) -> None:
    with pytest.raises(SpaceError, match=r"loss\.guidanc"):
        space_of(WHOLE + "\nGROUPS = ['loss.guidanc']\n").try_out(tiny)


def test_a_trial_shows_the_values_that_failed(space_of: Any, tiny: RunConfig) -> None:
    space = space_of(sample_with("trial.suggest_float('loss.fidelity', 0.5, 2.0); raise ValueError('far too bold')"))
    trial = random_trial()
    with pytest.raises(SpaceError) as caught:
        space.sample(trial, tiny)
    assert str(trial.params["loss.fidelity"]) in str(caught.value)
    assert "ValueError: far too bold" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


# --- custom losses -------------------------------------------------------------------------------------------------

CUSTOM = """
def sample(trial, base):
    guidance = trial.suggest_categorical("loss.guidance", ["aesop", "custom"])
    return {"loss.guidance": guidance, "loss.custom": "my_loss.py" if guidance == "custom" else None}
"""


def test_a_custom_loss_beside_its_space_is_pinned_at_first_draw(space_of: Any, tiny: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "my_loss.py").write_text("first")
    space = space_of(HEAD + CUSTOM)
    drawn = {draw.loss.custom for draw in space.try_out(tiny)}
    pinned = f"{tmp_path / 'my_loss.py'}@sha256:{hashlib.sha256(b'first').hexdigest()}"
    assert drawn == {None, pinned}
    (tmp_path / "my_loss.py").write_text("edited")
    assert {draw.loss.custom for draw in space.try_out(tiny)} == {None, pinned}
    assert {draw.loss.custom for draw in space_of(HEAD + CUSTOM).try_out(tiny)} != {None, pinned}  # the next command


def test_an_custom_loss_that_is_not_there_is_found_out(space_of: Any, tiny: RunConfig) -> None:
    with pytest.raises(SpaceError, match=r"mine\.py, trial .*loss\.custom must name a Python file, but .*my_loss\.py"):
        space_of(HEAD + CUSTOM).try_out(tiny)


def test_custom_losses_may_be_compared_with_each_other(space_of: Any, tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
    strata = """
GROUPS = ["loss.custom"]
STRATIFY = {"loss.custom": ("a.py", "b.py")}
def base(size, networks):
    return replace(aesop(size), {"loss.guidance": "custom", "loss.custom": "a.py"})
def sample(trial, base):
    return {"loss.custom": trial.suggest_categorical("loss.custom", ["b.py", "a.py"])}
"""
    space = space_of("from study.config import replace\n" + HEAD + strata)
    base = space.base("tiny", NETWORKS)
    assert space.own_values(base) == {"loss.custom": "a.py"}
    names = [Path(custom_loss_path(draw.loss.custom or "")).name for draw in space.try_out(base)]
    assert names[:5] == ["a.py", "a.py", "b.py", "a.py", "b.py"]


# --- the shipped spaces --------------------------------------------------------------------------------------------

SHIPPED = [("quick", "tiny"), ("aesop", "full"), ("aesop", "small"), ("aesop", "tiny")]


@pytest.mark.parametrize(("name", "size"), SHIPPED)
def test_a_shipped_space_draws_valid_runs_that_differ(name: str, size: str) -> None:
    space = load_space(name)
    base = space.base(size, NETWORKS)
    draws = space.try_out(base)
    assert len(draws) == DRY_DRAWS + 1
    assert draws[0] == base
    assert len(set(draws)) == DRY_DRAWS + 1
    assert {draw.loss.guidance for draw in draws} == {"pixel", "aesop"}
    assert len({draw.budget.patch for draw in draws}) >= 2
    assert len({draw.autoencoder.bottleneck_channels for draw in draws if draw.loss.uses_autoencoder}) >= 2


@pytest.mark.parametrize(("name", "size"), SHIPPED)
def test_a_shipped_space_starts_from_the_recipe_itself(name: str, size: str) -> None:
    space = load_space(name)
    base = space.base(size, NETWORKS)
    recipe = space.own_values(base)
    assert recipe == {path: get(base, path) for path in recipe}
    assert {"loss.guidance", "loss.adversarial", "autoencoder.bottleneck_channels", "budget.patch"} <= set(recipe)
    assert space.sample(optuna.trial.FixedTrial(recipe), base) == base


@pytest.mark.parametrize(("name", "size"), SHIPPED)
def test_trials_of_a_shipped_space_see_similar_pixels_per_step(name: str, size: str) -> None:
    space = load_space(name)
    draws = space.try_out(space.base(size, NETWORKS))
    pixels = [draw.budget.pixels_per_step for draw in draws]
    # A batch is a whole number of patches: with two patches of 96 for four of 64, an eighth is the least error.
    assert max(abs(count / pixels[0] - 1) for count in pixels) <= 0.125
    assert len({draw.budget.iterations for draw in draws}) == 1


@pytest.mark.parametrize("name", ["quick", "aesop"])
def test_a_shipped_space_has_reference_and_groups_that_exist(name: str) -> None:
    space = load_space(name)
    assert set(space.reference) == {"psnr_y", "lpips_alex", "swd"}
    base = space.base(space.size, NETWORKS)
    assert all(get(base, path) is not None for path in space.groups)
    assert space.trials >= 12


def test_quick_offers_only_tiny_and_says_what_does_not_fit() -> None:
    space = load_space("quick")
    with pytest.raises(SpaceError, match=r"quick\.py.*budget\.patch offers \[32, 64\].*128"):
        space.try_out(space.base("small", NETWORKS))


def test_quick_does_without_the_network_it_cannot_have() -> None:
    space = load_space("quick")
    base = space.base("tiny", ["alexnet"])
    assert base.loss.perceptual == 0
    assert base.loss.adversarial == 5e-3
    assert "loss.perceptual" not in space.own_values(base)
    assert {draw.loss.perceptual for draw in space.try_out(base)} == {0.0}
    assert space.base("tiny", ["squeezenet"]).loss.perceptual > 0


# --- stratified spaces ---------------------------------------------------------------------------------------------

ALL_NETWORKS = ("vgg19", "vgg16", "squeezenet", "alexnet")
STRATIFY = {
    "baselines": 9,
    "consistency": 10,
    "guidance": 6,
    "mdf": 7,
    "perceptual_weight": 15,
}


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
@pytest.mark.parametrize("name", STRATIFY)
def test_strata_cover_every_combination_once(name: str, size: str) -> None:
    base = load_space(name).base(size, ALL_NETWORKS)
    space = load_space(name).around(base, ALL_NETWORKS)
    space.try_out(base)
    strata = [tuple(space.stratum_of(number).items()) for number in range(STRATIFY[name])]
    combinations = 1
    for values in space.stratified.values():
        combinations *= len(values)
    assert len(set(strata)) == combinations == STRATIFY[name]
    recipe = space.own_values(base)
    assert all(recipe[path] == value for path, value in strata[0])


def test_strata_that_would_lose_a_combination_are_refused(space_of: Any, tiny: RunConfig) -> None:
    space = space_of(WHOLE + '\nSTRATIFY = {"loss.fidelity": (0.5, 1.0)}\n')
    with pytest.raises(
        SpaceError, match=r"STRATIFY must begin with the recipe's own value, which is 1\.0 for loss\.fid"
    ):
        space.try_out(tiny)


@pytest.mark.parametrize(
    ("name", "networks", "path", "left"),
    [
        ("perceptual_weight", ["alexnet"], "loss.perceptual_network", {"alexnet"}),
        ("perceptual_weight", ["alexnet", "squeezenet"], "loss.perceptual_network", {"alexnet", "squeezenet"}),
        ("perceptual_weight", [], "loss.perceptual_network", {"vgg16", "alexnet", "squeezenet"}),
        ("mdf", ["alexnet"], "recipe", {"mdf", "l1", "l2", "ssim", "ms-ssim", "lpips-mix"}),
        ("mdf", [], "recipe", {"mdf", "l1", "l2", "ssim", "ms-ssim"}),
    ],
)
def test_values_whose_network_is_missing_are_no_strata(
    name: str, networks: list[str], path: str, left: set[str]
) -> None:
    base = load_space(name).base("tiny", networks)
    space = load_space(name).around(base, networks)
    assert set(space.stratified[path]) == left
    draws = space.try_out(base)
    assert {get(draw, path) for draw in draws} == left


@pytest.mark.parametrize("task", [("denoise", 25.0), ("jpeg", 10.0)])
@pytest.mark.parametrize("name", ["mdf", "perceptual_weight"])
def test_the_losses_are_compared_on_every_task(name: str, task: tuple[Any, float]) -> None:
    base = for_task(load_space(name).base("tiny", ALL_NETWORKS), *task)
    space = load_space(name).around(base, ALL_NETWORKS)
    draws = space.try_out(base)
    assert {(draw.data.task, draw.data.scale, draw.generator.name) for draw in draws} == {(task[0], 1, "msrresnet")}
    assert len(set(draws)) >= STRATIFY[name]


def test_former_names_of_parts_are_refused(space_of: Any) -> None:
    former = "in_turn"
    with pytest.raises(SpaceError, match=f"{former.upper()} is called STRATIFY now"):
        space_of(f"{WHOLE}\n{former.upper()} = {{'loss.fidelity': (1.0, 0.5)}}\n")
    with pytest.raises(SpaceError, match=f"{former} is called stratify now"):
        space_of(f"{WHOLE}\ndef {former}(base, networks):\n    return {{}}\n")
