"""`study/evaluate.py` from its command line: weights, studies, images, interpolations, and all errors."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from study import evaluate
from study.config import AUTOENCODER_FIELDS, GeneratorConfig, RunConfig, to_dict
from study.config.recipes import get_recipe
from study.data import bicubic_upsample
from study.evaluation.scores import measure
from study.evaluation.sets import find_sets, open_set
from study.evaluation.systems import System, common_scale
from study.files import write_json
from study.metrics import psnr_y
from study.metrics.evaluator import study_evaluator
from study.models import MSRResNet, RRDBNet, save_weights
from study.models.build import build_autoencoder, build_generator
from study.record.events import FrontMoved, PointEvaluated, StudyStateChanged, TrialStarted
from study.record.journal import Journal
from study.record.metadata import SINGLE_RUN, SearchInfo, write_metadata
from study.record.paths import RunDirectory
from study.record.points import FidelityPoint, InterpolatedPoint, Spent, TrialPoint
from study.training.evaluation import evaluate_generator
from tests.analysis.made_events import metadata_of

CPU = torch.device("cpu")


def photo(seed: int, height: int = 72, width: int = 60) -> np.ndarray:
    """Make smooth colours with noise, which bicubic reconstructs neither perfectly nor badly."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / random.uniform(3, 9) + columns / random.uniform(3, 9)) for _ in range(3)]
    return (np.stack(waves, axis=2) * 90 + 128 + random.normal(0, 4, (height, width, 3))).clip(0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Write two sets of two images each."""
    for number, name in enumerate(("Set5/HR/baby", "Set5/HR/bird", "Set14/HR/zebra", "Set14/HR/comic")):
        save(tmp_path / "sets" / f"{name}.png", photo(number))
    return tmp_path / "sets"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_weights(MSRResNet(8, 1, 4), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def run(*arguments: object) -> str:
    console = Console(width=160, record=True, force_terminal=False)
    assert evaluate.main([str(argument) for argument in arguments], console) == 0
    return console.export_text()


def means(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text())["means"]
    return found


def test_systems_against_sets_in_one_table(sets: Path, weights: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "table.json", tmp_path / "images.csv"

    text = run("bicubic", weights, "--hr", sets, "--name", "Set5", "--name", "Set14", "--metrics", "psnr_y", "lr_psnr",
               "--output", out, "--per-image", images, "--save-images", tmp_path / "sr")  # fmt: skip

    assert "PSNR-Y ↑ [dB]" in text
    assert "Set5 (2)" in text
    assert list(means(out)["psnr_y"]) == ["bicubic", "small"]
    with open(images, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["set"], row["image"]) for row in rows[:2]] == [
        ("bicubic", "Set5", "baby"),
        ("small", "Set5", "baby"),
    ]
    assert len(rows) == 8
    for model in ("bicubic", "small"):
        for name in ("Set5", "Set14"):
            values = [float(row["psnr_y"]) for row in rows if row["model"] == model and row["set"] == name]
            assert means(out)["psnr_y"][model][name] == pytest.approx(np.mean(values), abs=1e-12)
    # The saved images, as a folder of SR images, have the same values.
    again = tmp_path / "again.json"
    run(tmp_path / "sr" / "small", "--hr", sets, "--name", "Set5", "--name", "Set14",
        "--metrics", "psnr_y", "lr_psnr", "--output", again)  # fmt: skip
    assert means(again)["psnr_y"]["small"] == pytest.approx(means(out)["psnr_y"]["small"], abs=1e-4)


def test_the_tool_gives_a_trials_values(sets: Path, tmp_path: Path) -> None:
    """The same weights have the same digits from `evaluate.py` and in training."""
    config: RunConfig = get_recipe("aesop", "tiny")
    torch.manual_seed(1)
    generator = MSRResNet(config.generator.features, config.generator.blocks, 4, init_scale=config.generator.init_scale)
    trial = tmp_path / "runs" / "mine" / "trials" / "0003"
    (trial / "points").mkdir(parents=True)
    save_weights(generator, trial / "points" / "0000160.safetensors", layout="plain")
    write_json(trial / "config.json", {"key": "adversarial-x", "config": to_dict(config)})
    pairs = open_set(find_sets([sets / "Set5"], [], [], 4)[0], 4).pairs
    expected = evaluate_generator(generator, pairs, study_evaluator(None, CPU)).metrics

    run(trial, trial / "points" / "0000160.safetensors", "--hr", sets / "Set5",
        "--metrics", "psnr_y", "ssim_y", "swd", "lr_psnr", "--output", tmp_path / "t.json")  # fmt: skip

    found = means(tmp_path / "t.json")
    assert list(found["psnr_y"]) == ["trial 3 at 160", "trial 3 at 160 (2)"]
    for name in ("psnr_y", "ssim_y", "swd", "lr_psnr"):
        assert found[name]["trial 3 at 160"]["Set5"] == expected[name]


def test_a_studys_folder_gives_its_front(sets: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = get_recipe("aesop", "tiny")
    run_dir = RunDirectory(tmp_path / "runs" / "mine")
    write_metadata(run_dir.root, metadata_of(to_dict(config)))
    key = "fidelity-0a"
    between = InterpolatedPoint(FidelityPoint(key), TrialPoint(0, 160), "weights", 0.5)
    of_images = InterpolatedPoint(FidelityPoint(key), TrialPoint(0, 160), "images", 0.25)
    former = (TrialPoint(0, 80),)
    members = (TrialPoint(7, 80), between, TrialPoint(0, 160), of_images)
    journal = Journal(run_dir.journal)
    for trial in (0, 7):
        journal.append(TrialStarted(trial=trial, config=to_dict(config), params={}, upstream={"fidelity": key}))
    journal.append(FrontMoved(trials_ended=1, hypervolume=1.0, members=former))
    journal.append(FrontMoved(trials_ended=2, hypervolume=2.0, members=members))
    for point in (TrialPoint(0, 80), *members[:3]):
        file = run_dir.weights(point)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_weights(MSRResNet(16, 2, 4), file, layout="plain")

    run(run_dir.root, "--hr", sets / "Set5", "--metrics", "psnr_y", "--output", tmp_path / "t.json")

    assert list(means(tmp_path / "t.json")["psnr_y"]) == ["trial 7 at 80", between.label, "trial 0 at 160"]
    assert f"left out of its front, no weights in this folder: {of_images.label}" in caplog.text


def test_a_study_without_a_front_is_refused(sets: Path, tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path / "mine")
    write_metadata(run_dir.root, metadata_of(to_dict(get_recipe("aesop", "tiny"))))
    Journal(run_dir.journal).append(StudyStateChanged(state="RUNNING"))

    with pytest.raises(ValueError, match="this study has no front yet; name a trial's folder or a weight file"):
        run(run_dir.root, "--hr", sets / "Set5")


def test_a_run_of_train_gives_its_last_point(sets: Path, tmp_path: Path) -> None:
    config = get_recipe("esrgan", "tiny")
    run_dir = RunDirectory(tmp_path / "one")
    metadata = metadata_of(to_dict(config))
    write_metadata(run_dir.root, replace(metadata, search=SearchInfo(SINGLE_RUN, trials=1, seed=0)))
    journal = Journal(run_dir.journal)
    journal.append(StudyStateChanged(state="RUNNING"))
    with pytest.raises(
        ValueError, match=r"one: this run has no point yet; name the folder of an artifact, or a weight"
    ):
        run(run_dir.root, "--hr", sets / "Set5")
    journal.append(TrialStarted(trial=0, config=to_dict(config), params={}, upstream={}))
    for iteration in (80, 160):
        point = TrialPoint(0, iteration)
        torch.manual_seed(iteration)
        save_weights(build_generator(config.generator, 4), run_dir.weights(point), layout="plain")
        evaluated = {"metrics": {"psnr_y": 20.0}, "images": {}, "terms": {}, "spent": Spent(), "samples": ""}
        journal.append(PointEvaluated(point=point, **evaluated))

    last = run_dir.weights(TrialPoint(0, 160))
    run(run_dir.root, last, "--hr", sets / "Set5", "--metrics", "psnr_y", "--output", tmp_path / "t.json")

    table = {name: value["Set5"] for name, value in means(tmp_path / "t.json")["psnr_y"].items()}
    assert next(iter(table)) == "one"
    assert len(set(table.values())) == 1


def test_a_study_that_cannot_be_read_is_refused(sets: Path, tmp_path: Path) -> None:
    run_dir = RunDirectory(tmp_path / "mine")
    point = TrialPoint(0, 80)
    journal = Journal(run_dir.journal)
    journal.append(TrialStarted(trial=0, config={"loss": {"artifact": 1.0}}, params={}, upstream={}))
    journal.append(FrontMoved(trials_ended=1, hypervolume=1.0, members=(point,)))
    run_dir.weights(point).parent.mkdir(parents=True)
    run_dir.weights(point).touch()
    with pytest.raises(ValueError, match=r"study\.json does not exist: give a directory that study/sweep\.py wrote"):
        run(run_dir.root, "--hr", sets / "Set5")

    write_json(run_dir.study, {"version": 3})
    with pytest.raises(ValueError, match=r"study\.json: its version is 3, but this code reads 2; read it with"):
        run(run_dir.root, "--hr", sets / "Set5")

    run_dir.study.unlink()
    write_metadata(run_dir.root, metadata_of(to_dict(get_recipe("aesop", "tiny"))))
    problem = r"0000080\.safetensors: the run of trial 0: .*'loss\.artifact'; it is called loss\.ldl now"
    with pytest.raises(ValueError, match=problem):
        run(run_dir.root, "--hr", sets / "Set5")


def test_artifacts_are_read_with_their_settings(sets: Path, tmp_path: Path) -> None:
    config = get_recipe("aesop", "tiny")
    fidelity, ae = tmp_path / "artifacts" / "fidelity-0a", tmp_path / "artifacts" / "autoencoder-0b"
    generator = config.generator.determining(4)
    write_json(fidelity / "config.json", {"key": "fidelity-0a", "part": {"data": {"scale": 4}, "generator": generator}})
    save_weights(MSRResNet(16, 2, 4), fidelity / "weights.safetensors", layout="plain")
    part = {name: getattr(config.autoencoder, name) for name in AUTOENCODER_FIELDS}
    write_json(ae / "config.json", {"key": "autoencoder-0b", "part": {**part, "scale_head": False, "budget": {}}})
    save_weights(build_autoencoder(config.autoencoder), ae / "weights.safetensors", layout="plain")

    run(fidelity, "--hr", sets / "Set5", "--metrics", "ae_psnr", "--autoencoder", ae, "--output", tmp_path / "t.json")

    assert means(tmp_path / "t.json")["ae_psnr"]["fidelity-0a"]["Set5"] > 0
    provenance = json.loads((tmp_path / "t.json").read_text())["provenance"]
    assert "sha256" in provenance["auto-encoder of AE-PSNR"]
    with pytest.raises(ValueError, match="is autoencoder-0b, not a generator"):
        run(ae, "--hr", sets / "Set5")


def test_interpolations_run_from_one_network_to_the_other(sets: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    for name in ("a", "b"):
        save_weights(MSRResNet(8, 1, 4, init_scale=0.5), tmp_path / f"{name}.pth")

    first, second = tmp_path / "a.pth", tmp_path / "b.pth"
    run(first, second, "--interpolate", first, second, "--alphas", 0, 0.5, 1,
        "--hr", sets / "Set5", "--metrics", "psnr_y", "--output", tmp_path / "t.json")  # fmt: skip

    found = {name: value["Set5"] for name, value in means(tmp_path / "t.json")["psnr_y"].items()}
    assert list(found) == ["a", "b", "a + 0 (b - a)", "a + 0.5 (b - a)", "a + 1 (b - a)"]
    assert found["a + 0 (b - a)"] == found["a"]
    assert found["a + 1 (b - a)"] == pytest.approx(found["b"], abs=1e-6)
    assert found["a + 0.5 (b - a)"] not in (found["a"], found["b"])


def test_images_are_found_by_name_with_or_without_suffix(sets: Path, tmp_path: Path) -> None:
    for name, file in (("baby", "baby_esrgan_x4.png"), ("bird", "bird.png")):
        hr = np.asarray(Image.open(sets / "Set5" / "HR" / f"{name}.png"))
        save(tmp_path / "results" / file, hr)

    run(tmp_path / "results", "--hr", sets / "Set5", "--metrics", "psnr_y", "ssim_y", "--output", tmp_path / "t.json")

    assert means(tmp_path / "t.json")["psnr_y"]["results"]["Set5"] == pytest.approx(80)
    assert means(tmp_path / "t.json")["ssim_y"]["results"]["Set5"] == pytest.approx(1)


def test_images_of_no_hr_image_are_named(sets: Path, tmp_path: Path) -> None:
    for name in ("baby", "bird", "bridge", "babys"):
        save(tmp_path / "results" / f"{name}.png", photo(1))
    others = f"{tmp_path}/results: of no HR image of Set5, and not evaluated: babys.png, bridge.png"
    given = ("--hr", sets / "Set5", "--metrics", "psnr_y")
    assert others in run(tmp_path / "results", *given).replace("\n", "")
    (tmp_path / "results" / "bird.png").unlink()
    with pytest.raises(ValueError, match=r"(?s)no SR image of bird; add it.*not evaluated: babys\.png, bridge\.png"):
        run(tmp_path / "results", *given)


def test_low_quality_images_beside_hr_are_said(sets: Path, tmp_path: Path) -> None:
    for name in ("baby", "bird"):
        save(sets / "Set5" / "LR_bicubic" / "X4" / f"{name}x4.png", photo(1, 18, 15))
    said = run("bicubic", "--hr", sets / "Set5", "--metrics", "psnr_y", "--output", tmp_path / "t.json")
    assert "Set5: the low-quality images are given (LR_bicubic/X4)" in said
    origins = json.loads((tmp_path / "t.json").read_text())["provenance"]["low-quality images"]
    assert origins == {"Set5": "given (LR_bicubic/X4)"}


def test_all_problems_of_images_come_in_one_report(sets: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name in ("small", "grey", "clear", "twice"):
        save(sets / "Set5" / "HR" / f"{name}.png", photo(9))
    hr = photo(9)
    save(results / "small.png", hr[:40])
    save(results / "grey.png", hr.mean(axis=2).astype(np.uint8))
    save(results / "clear.png", np.dstack([hr, np.full(hr.shape[:2], 128, np.uint8)]))
    save(results / "twice_a.png", hr)
    save(results / "twice_b.png", hr)
    save(results / "bird.png", hr)

    with pytest.raises(ValueError, match="these images cannot be evaluated") as raised:
        run(results, "--hr", sets / "Set5", "--metrics", "psnr_y", "--output", tmp_path / "t.json")

    text = str(raised.value)
    assert "no SR image of baby; add it" in text
    assert "small.png: is 60 x 40 px, but HR Set5/small is 60 x 72 px" in text
    assert "grey.png: is grey, but its HR image has colour" in text
    assert "clear.png" not in text
    assert "twice_a.png, twice_b.png all match twice; keep one" in text
    assert "bird.png" not in text
    assert not (tmp_path / "t.json").exists()


def test_transparent_pixels_show_white_as_in_training_and_that_is_said(sets: Path, tmp_path: Path) -> None:
    image = photo(9)
    clear = np.dstack([image, np.full(image.shape[:2], 128, np.uint8)])
    for place in (sets / "one", tmp_path / "results"):
        save(place / "clear.png", clear)
    said = run(tmp_path / "results", "--hr", sets / "one", "--metrics", "psnr_y", "--output", tmp_path / "t.json")
    assert f"{sets / 'one'}: transparent pixels show white, in clear.png." in said
    assert f"{tmp_path / 'results'}: transparent pixels show white, in clear.png." in said
    assert set(json.loads((tmp_path / "t.json").read_text())["means"]["psnr_y"]["results"].values()) == {80.0}


def test_problems_of_systems_and_of_every_set_come_together(sets: Path, tmp_path: Path) -> None:
    for name in ("Set5", "Set14"):
        (sets / name / "HR" / "broken.png").write_bytes(b"no image")

    with pytest.raises(ValueError, match=r"nowhere\.pth: no such file") as raised:
        run(tmp_path / "nowhere.pth", tmp_path / "gone.pth", "--hr", sets, "--name", "Set5", "--name", "Set14")

    assert "gone.pth: no such file or folder; check the path" in str(raised.value)
    assert str(raised.value).count("broken.png: this is not an image") == 2


def test_a_grey_hr_image_allows_a_coloured_sr_image(sets: Path, tmp_path: Path) -> None:
    save(sets / "Set5" / "HR" / "baby.png", photo(3).mean(axis=2).astype(np.uint8))
    for name in ("baby", "bird"):
        save(tmp_path / "results" / f"{name}.png", photo(4))

    run(tmp_path / "results", "--hr", sets / "Set5", "--metrics", "psnr_y", "--output", tmp_path / "t.json")

    assert means(tmp_path / "t.json")["psnr_y"]["results"]["Set5"] < 60


def test_no_table_where_an_output_is_not_finite(sets: Path, weights: Path, tmp_path: Path) -> None:
    broken = MSRResNet(8, 1, 4)
    torch.nn.init.constant_(broken.conv_last.bias, torch.nan)
    save_weights(broken, tmp_path / "broken.pth")

    with pytest.raises(ValueError, match="no table, because these outputs cannot be evaluated") as raised:
        run(weights, tmp_path / "broken.pth", "--hr", sets / "Set5", "--metrics", "psnr_y",
            "--output", tmp_path / "t.json", "--per-image", tmp_path / "images.csv")  # fmt: skip

    assert "broken on Set5/baby: the output is not finite" in str(raised.value)
    assert "broken on Set5/bird: the output is not finite" in str(raised.value)
    assert not (tmp_path / "t.json").exists()
    assert not (tmp_path / "images.csv").exists()
    kept = (tmp_path / "images.incomplete.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in kept[1:]] == [["small", "Set5", "baby"], ["small", "Set5", "bird"]]


def test_missing_weights_are_reported_first_with_the_command(
    sets: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "fetch_backbone", lambda *_, **__: None)
    monkeypatch.setattr(evaluate, "measure", lambda *_, **__: pytest.fail("measured"))

    with pytest.raises(ValueError, match=r"study/prepare\.py weights --output DIR --networks vgg16") as raised:
        run(weights, "--hr", sets / "Set5", "--metrics", "psnr_y", "dists", "ae_psnr", "ms_ssim")

    text = str(raised.value)
    assert "ae_psnr: it needs an auto-encoder: name one with --autoencoder" in text
    assert "ms_ssim: it needs images of at least 169 px a side; smaller are Set5/baby, Set5/bird" in text


def test_unavailable_default_metrics_are_omitted_with_a_message(
    sets: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "fetch_backbone", lambda *_, **__: None)

    text = run(weights, "--hr", sets / "Set5", "--output", tmp_path / "t.json")

    assert "without lpips_alex: the published weights of alexnet are neither in --weights" in text
    assert "without dists:" in text
    assert list(means(tmp_path / "t.json")) == ["psnr_y", "ssim_y", "lr_psnr"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.pth"], "nowhere.pth: no such file or folder"),
        (["{weights}", "--scale", "2"], r"small\.pth: is of scale 4, not 2; correct --scale"),
        (["{weights}", "{two}"], "one table has one scale, but these differ: small x4, two x2"),
        (["--interpolate", "{weights}", "{two}"], "needs networks of one scale"),
        (["--interpolate", "{weights}", "{wide}"], "the two networks are not alike"),
        (["{weights}", "--metrics", "fid"], "metrics must be among psnr_y"),
    ],
)
def test_systems_that_cannot_be_evaluated_are_refused(
    sets: Path, weights: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    save_weights(MSRResNet(8, 1, 2), tmp_path / "two.pth")
    save_weights(MSRResNet(12, 1, 4), tmp_path / "wide.pth")
    places = {"weights": weights, "two": tmp_path / "two.pth", "wide": tmp_path / "wide.pth"}

    with pytest.raises(ValueError, match=message):
        run(*[argument.format(**places) for argument in arguments], "--hr", sets / "Set5")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name weights or folders of images to evaluate"),
        (["bicubic", "--alphas", "0.5"], "--alphas are shares of an interpolation"),
        (["bicubic", "--autoencoder", "ae.pth", "--metrics", "swd"], "--autoencoder is for the metric ae_psnr, which"),
        (["bicubic", "--memory", "0.5"], "--memory must be at least 1 GiB, but got 0.5"),
        (["bicubic", "--output", "t.xls"], "--output must end in .md, .tex, .csv, .json, .parquet, but got t.xls"),
        (["bicubic", "--set", "Set5"], "--set is called --name now"),
        (["bicubic", "--lr", "Set5/LR"], "--lr is called --lq now"),
        (["bicubic", "--out", "t.csv"], "--out is called --output now"),
        (["bicubic", "--per-image", "nowhere/x.csv"], "there is no folder"),
        (["bicubic", "--per-image", "x.csv", "--output", "x.csv"], "--output and --per-image both name x.csv"),
        (["bicubic", "--recipe", "esrgan"], "--recipe describes weight files, but none is named"),
        (["bicubic", "--save-images", "Set5"], "--save-images Set5 is in Set5, whose images are read here"),
        (["bicubic", "--save-images", "Set5/../Set5/sr"], "is in Set5, whose images are read here"),
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        evaluate.main([*arguments, "--hr", "Set5"], Console())

    assert message in capsys.readouterr().err


def test_tiles_are_reported_with_their_difference(sets: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(RRDBNet(8, 1, 4, 4), tmp_path / "rrdb.pth")
    common = (tmp_path / "rrdb.pth", "--hr", sets / "Set5", "--metrics", "psnr_y")

    run(*common, "--output", tmp_path / "whole.json")
    assert "no effect: no image was cut" in run(*common, "--tile", 512)
    assert "no effect: only networks" in run("bicubic", *common[1:], "--overlap", 16)
    exact = run(*common, "--tile", 16, "--output", tmp_path / "tiles.json")
    short = run(*common, "--tile", 16, "--overlap", 0, "--output", tmp_path / "short.json")

    assert (
        "in tiles of 16 LR px that overlap by 32; the receptive field's radius is 19 px, so the result equals that of"
        in exact
    )
    assert means(tmp_path / "tiles.json")["psnr_y"] == {
        "rrdb": pytest.approx(means(tmp_path / "whole.json")["psnr_y"]["rrdb"], abs=1e-5)
    }
    assert "--overlap 19 would be exact" in short


def test_a_recipe_names_the_generator_of_a_file(sets: Path, tmp_path: Path) -> None:
    config: GeneratorConfig = get_recipe("aesop", "tiny").generator
    save_weights(MSRResNet(config.features, config.blocks, 4), tmp_path / "x.safetensors", layout="plain")

    run(tmp_path / "x.safetensors", "--recipe", "aesop:tiny", "--hr", sets / "Set5", "--metrics", "psnr_y")
    with pytest.raises(ValueError, match="recipe must be one of"):
        run(tmp_path / "x.safetensors", "--recipe", "aesopp", "--hr", sets / "Set5")


def test_bicubic_is_matlabs_at_the_tables_scale(sets: Path) -> None:
    test = open_set(find_sets([sets / "Set5"], [], [], 2)[0], 2)
    bicubic = System("bicubic", 2, upscale=lambda lq: bicubic_upsample(lq, 2))

    scores = measure([bicubic], [test], study_evaluator(None, CPU), {}, advance=lambda done: None)

    lq, hr = test.pairs.tensors(0)
    assert scores.rows[0].values["psnr_y"] == psnr_y(bicubic_upsample(lq, 2), hr).item()
    assert scores.problems == []


def test_concurrent_evaluation_gives_the_same_values(sets: Path) -> None:
    test = open_set(find_sets([sets / "Set5"], [], [], 4)[0], 4)
    systems = [
        System(name, 4, upscale=lambda lq, gain=gain: bicubic_upsample(lq, 4) * gain)
        for name, gain in (("bicubic", 1), ("darker", 0.9), ("broken", np.nan))
    ]
    evaluator, seen = study_evaluator(None, CPU), []

    alone = measure(systems, [test], evaluator, {}, advance=lambda done: None)
    torch.set_num_threads(2)
    try:
        together = measure(systems, [test], evaluator, {}, advance=seen.append)
    finally:
        torch.set_num_threads(1)

    assert [(row.model, row.image) for row in together.rows] == [(row.model, row.image) for row in alone.rows]
    for row, expected in zip(together.rows, alone.rows, strict=True):
        assert row.values == pytest.approx(expected.values, rel=1e-6)
    assert together.problems == alone.problems
    assert len(alone.problems) == 2
    assert seen == [1.5, 3, 4.5, 6]


def test_a_scale_that_contradicts_a_network_is_refused(sets: Path, weights: Path) -> None:
    common = ("--hr", sets / "Set5", "--metrics", "psnr_y")
    assert "scale 4" in run(weights, "bicubic", *common)
    assert "scale 4" in run(weights, *common, "--scale", 4)
    assert "scale 2" in run("bicubic", *common, "--scale", 2)
    systems = [System("bicubic", None), System("trial 3 at 100", 4)]
    with pytest.raises(ValueError, match=r"--scale 2 contradicts trial 3 at 100, which is x4; leave --scale out"):
        common_scale(systems, 2)
    assert common_scale(systems, 4) == common_scale(systems, None) == 4
