"""The generators' configurations: a union on `name`, each kind with the fields that it reads."""

import pytest

from study.config import (
    GENERATORS,
    ConfigError,
    RRDBConfig,
    RunConfig,
    SPSRConfig,
    from_dict,
    generator_config,
    get,
    replace,
    to_dict,
)
from study.config.recipes import aesop, get_recipe


def test_spsr_starts_from_an_rrdb_network_that_does_not_shrink_its_input() -> None:
    config = SPSRConfig(features=8, blocks=5, growth=4)
    form = config.fidelity_form
    assert (form.name, form.features, form.blocks, form.growth, form.unshuffle) == ("rrdb", 8, 5, 4, False)
    rrdb = RRDBConfig(features=8, blocks=5, growth=4)
    assert form.determining(4) == rrdb.determining(4)  # at scale 4 there is nothing to shrink
    assert form.determining(2) != rrdb.determining(2)
    assert rrdb.fidelity_form == rrdb


SHARED = {"name", "features", "blocks", "init_scale", "init"}
FIELDS = {
    "rrdb": {"growth", "unshuffle", "bilinear_skip", "head", "icnr"},
    "msrresnet": {"head", "icnr"},
    "swinir": {"depth", "heads", "window", "mlp_ratio", "drop_path", "upsampler", "bilinear_skip"},
    "spsr": {"growth", "bilinear_skip"},
    "edsr": {"residual_scale"},
    "srresnet": set(),
}
VALUES = {"head": "espcn", "icnr": False, "unshuffle": False, "bilinear_skip": True, "upsampler": "nearest+conv"}
VALUES |= {"growth": 8, "depth": 2, "heads": 2, "window": 4, "mlp_ratio": 1.5, "drop_path": 0.2, "residual_scale": 0.1}


def test_each_kind_has_the_fields_that_it_reads() -> None:
    assert {kind: set(model.model_fields) - SHARED for kind, model in GENERATORS.items()} == FIELDS
    assert all(set(model.model_fields) >= SHARED for model in GENERATORS.values())
    assert all(generator_config({"name": kind}).name == kind for kind in set(GENERATORS) - {"swinir"})


@pytest.mark.parametrize("kind", GENERATORS)
@pytest.mark.parametrize("field", VALUES)
def test_a_field_that_a_kind_does_not_read_is_refused(tiny: RunConfig, kind: str, field: str) -> None:
    run = replace(tiny, {"generator": {"name": kind, "blocks": 4} | ({"heads": 4} if kind == "swinir" else {})})
    if field in FIELDS[kind]:
        assert get(replace(run, {f"generator.{field}": VALUES[field]}), f"generator.{field}") == VALUES[field]
        return
    having = " and ".join(name for name in GENERATORS if field in FIELDS[name])
    message = f"unknown field 'generator.{field}' of generator {kind}; only {having} have it"
    stored = to_dict(run)
    stored["generator"][field] = VALUES[field]
    for refuse in (
        lambda: replace(run, {f"generator.{field}": VALUES[field]}),
        lambda: get(run, f"generator.{field}"),
        lambda: from_dict(stored),
    ):
        with pytest.raises(ConfigError) as caught:
            refuse()
        assert str(caught.value) == message


def test_another_kind_keeps_common_fields_and_drops_the_others() -> None:
    rrdb = replace(aesop("small"), {"generator": {"features": 24, "growth": 8, "head": "espcn", "bilinear_skip": True}})
    edsr = replace(rrdb, {"generator.name": "edsr"}).generator
    assert to_dict(edsr) == {
        "name": "edsr",
        "features": 24,
        "blocks": 6,
        "init_scale": 0.1,
        "init": None,
        "residual_scale": 1.0,
    }
    spsr = replace(rrdb, {"generator": {"name": "spsr"}}).generator
    assert (spsr.features, get(spsr, "growth"), get(spsr, "bilinear_skip")) == (24, 8, True)
    with pytest.raises(ConfigError, match=r"unknown field 'generator\.growth' of generator edsr"):
        replace(rrdb, {"generator.name": "edsr", "generator.growth": 8})  # given, though it is the value of before
    with pytest.raises(ConfigError, match=r"generator\.name: Input should be .*'spsr'.*, but got \['edsr'\]"):
        replace(rrdb, {"generator.name": ["edsr"]})
    with pytest.raises(ConfigError, match=r"generator\.name: .*but got None"):
        from_dict(to_dict(rrdb) | {"generator": {"features": 8}})


@pytest.mark.parametrize("name", ["spsr", "swinir-aesop", "aesop"])
def test_a_recipe_has_no_field_of_another_kind(name: str) -> None:
    for size in ("full", "small", "tiny"):
        generator = get_recipe(name, size).generator
        assert set(to_dict(generator)) == SHARED | FIELDS[generator.name]
