"""Points of trials are exported under the names of other tools."""

import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from study.config import RunConfig, replace, to_dict
from study.config.recipes import get_recipe
from study.export import main
from study.models import save_weights
from study.models.build import build_generator


def make_point(folder: Path, config: RunConfig) -> Path:
    torch.manual_seed(0)
    point = folder / "trials" / "0007" / "points" / "0000160.safetensors"
    save_weights(build_generator(config.generator, config.data.scale), point, layout="plain")
    (point.parent.parent / "config.json").write_text(json.dumps({"key": "k", "config": to_dict(config)}))
    return point


def test_a_point_becomes_a_file_that_basicsr_reads(tmp_path: Path) -> None:
    config = replace(get_recipe("esrgan", "small"), {"generator": {"features": 8, "blocks": 1, "growth": 4}})
    point = make_point(tmp_path, config)
    console = Console(record=True, width=200)
    assert main([str(point), "--output", str(tmp_path / "esrgan.pth")], console) == 0
    assert "rrdb, scale 4, 8 features, 1 blocks, trained as esrgan" in console.export_text()
    params = torch.load(tmp_path / "esrgan.pth", weights_only=True)["params"]
    assert {"conv_first.weight", "body.0.rdb3.conv5.bias", "conv_up2.weight", "conv_last.bias"} <= params.keys()


def test_spsrs_generator_is_exported_under_its_authors_names(tmp_path: Path) -> None:
    config = replace(get_recipe("spsr", "small"), {"generator": {"features": 8, "blocks": 4, "growth": 4}})
    main([str(make_point(tmp_path, config)), "--output", str(tmp_path / "spsr.pth")], Console())
    names = set(torch.load(tmp_path / "spsr.pth", weights_only=True))
    assert {"model.1.sub.3.RDB2.conv4.0.weight", "HR_conv0_new.0.bias", "get_g_nopadding.weight_h"} <= names


def test_a_generator_with_our_skip_is_refused(tmp_path: Path) -> None:
    point = make_point(tmp_path, get_recipe("swinir-gan", "tiny"))
    with pytest.raises(ValueError, match=r"bilinear_skip or generator\.head, which no other tool has"):
        main([str(point), "--output", str(tmp_path / "out.pth")], Console())
    assert not (tmp_path / "out.pth").exists()


def test_another_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(ValueError, match="is not a point of a trial"):
            main([str(path), "--output", str(tmp_path / "out.pth")], Console())


def test_the_old_option_is_refused_with_the_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["point.safetensors", "--out", "out.pth"], Console())
    assert "--out is called --output now" in capsys.readouterr().err
