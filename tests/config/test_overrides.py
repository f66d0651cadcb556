"""Configurations from plain dicts and assignments, and back: what is refused, and how it is named."""

import json
import math
from typing import Any

import pytest

from study.config import (
    GENERATORS,
    RENAMED_FIELDS,
    RENAMED_VALUES,
    ConfigError,
    RunConfig,
    flatten,
    from_dict,
    get,
    known_paths,
    parse_assignments,
    refuse_old_names,
    replace,
    to_dict,
)
from study.config.recipes import aesop


@pytest.mark.parametrize("size", ["full", "small", "tiny"])
def test_a_config_survives_real_json(size: str) -> None:
    config = aesop(size)
    again = from_dict(json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert isinstance(again.optimiser.betas, tuple)


@pytest.mark.parametrize(
    ("changes", "path", "hint"),
    [
        ({"loss.adverserial": 1e-2}, "'loss.adverserial'", "loss.adversarial"),
        ({"loss": {"adverserial": 1e-2}}, "'loss.adverserial'", "loss.adversarial"),
        ({"fidelity.budget.iteration": 9}, "'fidelity.budget.iteration'", "fidelity.budget.iterations"),
        ({"autoencoder.bottleneck_chanels": 6}, "'autoencoder.bottleneck_chanels'", "autoencoder.bottleneck_channels"),
        ({"lossy.adversarial": 1e-2}, "'lossy.adversarial'", "loss.adversarial"),
        ({"loss.adversarial.weight": 1}, "'loss.adversarial.weight'", "loss.adversarial"),
        ({"zzz": 1}, "'zzz'", "known here: recipe, size, seed"),
        (
            {"data.zzzzzzzzzzzzzz": 1},
            "'data.zzzzzzzzzzzzzz'",
            "known here: data.train, data.val, data.train_lq, data.val_lq, data.task",
        ),
    ],
)
def test_an_unknown_field_is_named_with_its_path_and_a_close_one(
    tiny: RunConfig, changes: dict[str, Any], path: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(tiny, changes)
    assert f"unknown field {path}" in str(caught.value)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("recipe", 5, "valid string"),
        ("size", "huge", "'full', 'small' or 'tiny'"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 0.5, "valid integer"),
        ("data.scale", 5, "2, 3 or 4"),
        ("data.train", "", "at least 1 character"),
        ("data.train", None, "valid string"),
        ("generator.name", "srgan", "'rrdb', 'msrresnet', 'swinir', 'spsr', 'edsr' or 'srresnet'"),
        ("generator.features", 0, "greater than or equal to 1"),
        ("generator.blocks", "many", "valid integer"),
        ("generator.init_scale", 0, "greater than 0"),
        ("discriminator.features", 257, "less than or equal to 256"),
        ("loss.adversarial", True, "valid number"),
        ("budget.batch", "8", "valid integer"),
        ("autoencoder.bicubic_skip", "yes", "valid boolean"),
        ("budget", 3, "should be an object"),
        ("budget.iterations", 0, "greater than or equal to 1"),
        ("budget.batch", 4097, "less than or equal to 4096"),
        ("budget.patch", 7, "greater than or equal to 8"),
        ("autoencoder.bottleneck_channels", 0, "greater than or equal to 1"),
        ("autoencoder.factor", 1, "2, 3 or 4"),
        ("autoencoder.decoder", "unet", "'rrdb' or 'msrresnet'"),
        ("autoencoder.bicubic_skip", "perhaps", "valid boolean"),
        ("loss.guidance", "lpips", "'pixel', 'aesop', 'bottleneck'"),
        ("loss.gan", "wgan", "'relativistic', 'relativistic-joint' or 'vanilla'"),
        ("loss.criterion", "huber", "'l1' or 'l2'"),
        ("loss.adversarial", -0.1, "greater than or equal to 0"),
        ("loss.adversarial", math.nan, "finite number"),
        ("loss.perceptual", math.inf, "finite number"),
        ("loss.fidelity", None, "valid number"),
        ("optimiser.learning_rate", 0, "greater than 0"),
        ("optimiser.learning_rate", math.nan, "finite number"),
        ("optimiser.ema_decay", 1, "less than 1"),
        ("optimiser.schedule", "linear", "'constant', 'cosine' or 'steps'"),
        ("eval_schedule.evaluate_every", 0, "greater than or equal to 1"),
    ],
)
def test_a_wrong_type_or_range_names_field_rule_and_value(tiny: RunConfig, path: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(tiny, {path: value})
    assert str(caught.value).startswith(f"{path}: ")
    assert rule in str(caught.value)
    assert f"got {value!r}" in str(caught.value)


@pytest.mark.parametrize("betas", [[0.9], [0.9, 0.99, 0.999], [0.9, "much"], [0.9, 1.0], [-0.1, 0.9]])
def test_betas_are_two_numbers_below_one(tiny: RunConfig, betas: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"optimiser"):
        replace(tiny, {"optimiser.betas": betas})


def test_all_faults_are_named_at_once(tiny: RunConfig) -> None:
    values = to_dict(tiny)
    del values["budget"]["patch"], values["loss"]
    values["seed"] = "first"
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    message = str(caught.value)
    assert "budget.patch: Field required" in message
    assert "loss: Field required" in message
    assert "seed: " in message


def test_a_config_cannot_be_written_to(tiny: RunConfig) -> None:
    with pytest.raises(ValueError, match="frozen"):
        tiny.loss.adversarial = 0.5


def test_replace_makes_a_variant_and_leaves_its_argument_alone(tiny: RunConfig) -> None:
    before = to_dict(tiny)
    changes = {"loss.adversarial": 0.25, "budget": {"iterations": 7}, "optimiser": {"betas": [0.5, 0.9]}}
    variant = replace(tiny, changes)
    assert to_dict(tiny) == before
    assert changes == {"loss.adversarial": 0.25, "budget": {"iterations": 7}, "optimiser": {"betas": [0.5, 0.9]}}
    expected = flatten(before) | {"loss.adversarial": 0.25, "budget.iterations": 7, "optimiser.betas": [0.5, 0.9]}
    assert flatten(to_dict(variant)) == expected
    assert replace(tiny, {}) == tiny


def test_replace_checks_all_changes_together(tiny: RunConfig) -> None:
    together = {"bottleneck_channels": 2, "bicubic_skip": False, "bottleneck_weight": 0}
    variant = replace(tiny, {f"autoencoder.{name}": value for name, value in together.items()})
    assert variant.autoencoder.bottleneck_channels == 2
    with pytest.raises(ConfigError):
        replace(tiny, {"autoencoder.bottleneck_channels": 2})


def test_get_reads_every_known_path_and_names_an_unknown_one(tiny: RunConfig) -> None:
    whole = replace(tiny, {"autoencoder.decoder_fidelity.seed": 3})  # the one part that may be absent
    plain = flatten(to_dict(whole))
    known = known_paths()
    assert [path for path in known if path in plain] == list(plain)
    kinds = {"swinir": {"heads": 4}, "spsr": {"blocks": 4}}
    runs = [replace(tiny, {"generator": {"name": kind, **kinds.get(kind, {})}}) for kind in GENERATORS]
    assert {path for run in (whole, *runs) for path in flatten(to_dict(run))} - {"autoencoder.decoder_fidelity"} == set(
        known
    )
    for path, value in plain.items():
        found = get(whole, path)
        assert (list(found) if isinstance(found, tuple) else found) == value
    assert get(tiny, "autoencoder.budget") == tiny.autoencoder.budget
    for wrong in ("loss.adverserial", "loss.adversarial.x", "model_fields", "loss.__class__", ""):
        with pytest.raises(ConfigError, match="unknown field"):
            get(tiny, wrong)


def test_assignments_are_json_where_they_can_be_and_strings_where_not() -> None:
    arguments = [
        "loss.adversarial=1e-2",
        "budget.patch=64",
        "generator.name=rrdb",
        "data.val=null",
        "data.train=/photos/a=b",
        "autoencoder.bicubic_skip=true",
        "optimiser.betas=[0.9, 0.99]",
        ' recipe ="mine"',
        'budget={"batch": 2}',
        "data.train=",
        "seed=1",
        "seed=2",
    ]
    assert parse_assignments(arguments) == {
        "loss.adversarial": 0.01,
        "budget.patch": 64,
        "generator.name": "rrdb",
        "data.val": None,
        "data.train": "",
        "autoencoder.bicubic_skip": True,
        "optimiser.betas": [0.9, 0.99],
        "recipe": "mine",
        "budget": {"batch": 2},
        "seed": 2,
    }
    assert parse_assignments(["data.train=/photos/a=b"]) == {"data.train": "/photos/a=b"}


@pytest.mark.parametrize("argument", ["loss.adversarial", "=3", "  =3", ""])
def test_an_assignment_without_its_parts_is_refused_with_an_example(argument: str) -> None:
    with pytest.raises(ConfigError, match=r"FIELD=VALUE.*loss\.adversarial=1e-2") as caught:
        parse_assignments([argument])
    assert repr(argument) in str(caught.value)


def test_an_assignment_of_nan_is_refused(tiny: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"loss\.adversarial.*finite"):
        replace(tiny, parse_assignments(["loss.adversarial=NaN"]))


def test_nested_dicts_are_flattened_below_a_prefix() -> None:
    nested = {"a": {"b": 1, "c": {"d": None}}, "e": [1]}
    assert flatten(nested) == {"a.b": 1, "a.c.d": None, "e": [1]}
    assert flatten(nested, "config") == {"config.a.b": 1, "config.a.c.d": None, "config.e": [1]}


# --- former names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"), [*RENAMED_FIELDS.items(), ("cadence.evaluate_every", "eval_schedule.evaluate_every")]
)
def test_a_former_field_is_refused_with_its_new_name(tiny: RunConfig, old: str, new: str) -> None:
    message = f"unknown field {old!r}; it is called {new} now"
    parent, _, name = old.rpartition(".")
    stored = to_dict(tiny)
    (stored.setdefault(parent, {}) if parent else stored)[name] = 1
    for refuse in (
        lambda: replace(tiny, {old: 1}),
        lambda: replace(tiny, parse_assignments([f"{old}=1"])),
        lambda: get(tiny, old),
        lambda: refuse_old_names({old: None}),
        lambda: refuse_old_names(flatten(stored)),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert message in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        from_dict(stored)
    assert f"it is called {new.partition('.')[0] if old.startswith('cadence') else new} now" in str(caught.value)
    assert new in known_paths() or f"{new}.evaluate_every" in known_paths()


@pytest.mark.parametrize(("field", "old", "new"), [(*key, new) for key, new in RENAMED_VALUES.items()])
def test_a_former_value_is_refused_with_its_new_name(tiny: RunConfig, field: str, old: str, new: str) -> None:
    stored = to_dict(tiny)
    part, _, name = field.partition(".")
    stored[part][name] = old
    message = f"{field}: unknown value {old!r}; it is called {new} now"
    for refuse in (
        lambda: replace(tiny, parse_assignments([f"{field}={old}"])),
        lambda: from_dict(stored),
        lambda: refuse_old_names(flatten(stored)),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert message in str(caught.value)


def test_present_names_are_not_refused(tiny: RunConfig) -> None:
    present = flatten(to_dict(tiny)) | dict.fromkeys(("recipe", "loss.guidance"))
    refuse_old_names(present)
    assert not present.keys() & RENAMED_FIELDS.keys(), "a name that is present and refused"


# --- fields that only some runs read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "reader"),
    [
        ("loss.downsampling", "torch", {"loss.guidance": "consistency"}),
        ("loss.critics_range", "signed", {"loss.guidance": "mdf"}),
        ("loss.kl", "forward", {"loss.guidance": "probabilistic"}),
        ("loss.kl_form", "exact", {"loss.guidance": "probabilistic"}),
    ],
)
def test_a_field_of_another_guidance_is_refused(tiny: RunConfig, path: str, value: str, reader: dict[str, Any]) -> None:
    (kind,) = reader.values()
    with pytest.raises(ConfigError) as caught:
        replace(tiny, {path: value})
    assert str(caught.value).startswith(f"{path} is read with loss.guidance {kind} only, but loss.guidance is aesop; ")
    with_reader = replace(tiny, {path: value, **reader})
    assert get(with_reader, path) == value
    other = replace(with_reader, {"loss.guidance": "pixel"})  # a study may vary the guidance of a run that has it
    assert get(other, path) == value
    assert replace(tiny, {path: get(tiny, path)}) == tiny
    searched = replace(tiny, {path: value}, varied={"loss.guidance", "loss.fidelity"})
    assert get(searched, path) == value, "some trials of a search over the guidance read it"


def test_init_scale_is_refused_where_no_network_reads_it() -> None:
    small = aesop("small")
    with pytest.raises(ConfigError, match=r"generator\.init_scale is read with generator\.name msrresnet or autoenc"):
        replace(small, {"generator.init_scale": 0.7})
    decoder = replace(small, {"generator.init_scale": 0.7, "autoencoder.decoder": "msrresnet"})
    assert decoder.generator.init_scale == 0.7
