"""Option files as BasicSR-family projects have them: what is read, and that nothing is dropped in silence."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from study.config import ConfigError, get
from study.config.basicsr import Reading, read_basicsr
from study.config.basicsr.options import load
from study.config.recipes import get_recipe

L1 = {"type": "L1Loss", "reduction": "mean"}
FIVE_LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
ADAM = {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
RRDB = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23}
GAN = {"type": "GANLoss", "gan_type": "vanilla", "real_label_val": 1.0, "fake_label_val": 0.0, "loss_weight": 5e-3}
PERCEPTUAL = {
    "type": "PerceptualLoss",
    "layer_weights": FIVE_LAYERS,
    "vgg_type": "vgg19",
    "use_input_norm": True,
    "range_norm": False,
    "perceptual_weight": 1.0,
    "style_weight": 0,
    "criterion": "l1",
}
AUTOENCODER = {
    "type": "AutoEncoder_RRDBNet",
    "enc_opt": {"placeholder": 0},
    "dec_opt": {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": 23, "num_grow_ch": 32},
}
AESOP = {
    "type": "AutoEncoderLoss",
    "loss_weight": 1.0,
    "as_loss_map": False,
    "reduction": "mean",
    "criterion": "l1",
    "autoencoder_arch": AUTOENCODER,
    "autoencoder_load": {"path": "weights/AE.pth", "key": "params_ema"},
}


def paired(**changes: Any) -> dict[str, Any]:
    """A training set as the projects describe it."""
    return {
        "name": "DF2K",
        "type": "PairedImageDataset",
        "dataroot_gt": "DF2K/HR_sub",
        "filename_tmpl": "{}",
        "io_backend": {"type": "disk"},
        "gt_size": 128,
        "use_hflip": True,
        "use_rot": True,
        "num_worker_per_gpu": 6,
        "batch_size_per_gpu": 16,
        "dataset_enlarge_ratio": 100,
        "prefetch_mode": None,
        **changes,
    }


def ldl(**train: Any) -> dict[str, Any]:
    """LDL's option file, for a test to change."""
    options = {
        "name": "train_LDL",
        "model_type": "ESRGANArtifactsDisModel",
        "scale": 4,
        "num_gpu": 4,
        "manual_seed": 0,
        "datasets": {
            "train": paired(),
            "val": {"name": "DIV2K100", "type": "PairedImageDataset", "dataroot_gt": "DIV2K100/HR"},
        },
        "network_g": RRDB,
        "network_d": {"type": "VGGStyleDiscriminator128", "num_in_ch": 3, "num_feat": 64},
        "path": {
            "pretrain_network_g": "PSNR.pth",
            "param_key_g": "params_ema",
            "strict_load_g": True,
            "resume_state": None,
        },
        "train": {
            "optim_g": {**ADAM},
            "optim_d": {**ADAM},
            "scheduler": {"type": "MultiStepLR", "milestones": [300000], "gamma": 1},
            "total_iter": 300000,
            "warmup_iter": -1,
            "pixel_opt": {**L1, "loss_weight": 1e-2},
            "artifacts_opt": {**L1, "loss_weight": 1.0},
            "perceptual_opt": PERCEPTUAL,
            "gan_opt": GAN,
            "net_d_iters": 1,
            "net_d_init_iters": 0,
            "ema_decay": 0.999,
            **train,
        },
        "val": {"val_freq": 5e3, "save_img": True, "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 4}}},
        "logger": {"print_freq": 100, "save_checkpoint_freq": 5e3, "use_tb_logger": True},
        "dist_params": {"backend": "nccl", "port": 29500},
    }
    return copy.deepcopy(options)


def read(tmp_path: Path, options: dict[str, Any]) -> Reading:
    path = tmp_path / "options.yml"
    path.write_text(yaml.safe_dump(options))
    return read_basicsr(path)


def without(options: dict[str, Any], *paths: str) -> dict[str, Any]:
    for path in paths:
        *parents, name = path.split(".")
        node = options
        for parent in parents:
            node = node[parent]
        node.pop(name, None)
    return options


def same_as_recipe(reading: Reading, name: str, *except_for: str) -> None:
    """The parts that make a method are the recipe's own."""
    recipe = get_recipe(name, "full")
    for part in ("generator", "discriminator", "loss", "optimiser", "budget"):
        found, expected = get(reading.config, part).model_dump(), get(recipe, part).model_dump()
        for field in except_for:
            found.pop(field, None), expected.pop(field, None)
        assert found == expected, part


def test_ldls_file_is_ldls_recipe(tmp_path: Path) -> None:
    reading = read(tmp_path, ldl())
    assert (reading.until, reading.differences, reading.notes) == ("adversarial", (), ())
    same_as_recipe(reading, "ldl", "init")
    assert reading.config.generator.init == "PSNR.pth"
    assert (reading.config.data.train, reading.config.data.val) == ("DF2K/HR_sub", "DIV2K100/HR")
    eval_schedule = reading.config.eval_schedule
    assert (eval_schedule.evaluate_every, eval_schedule.checkpoint_every) == (5000, 5000)


def test_basicsr_calls_the_artifact_map_by_another_name(tmp_path: Path) -> None:
    reading = read(tmp_path, without(ldl(ldl_opt={**L1, "loss_weight": 1.0}), "train.artifacts_opt"))
    assert reading.differences == ()
    same_as_recipe(reading, "ldl", "init")


def test_esrgans_file_is_esrgans_recipe(tmp_path: Path) -> None:
    schedule = {"type": "MultiStepLR", "milestones": [50000, 100000, 200000, 300000], "gamma": 0.5}
    options = ldl(scheduler=schedule, total_iter=400000, perceptual_opt={**PERCEPTUAL, "layer_weights": {"conv5_4": 1}})
    options |= {"model_type": "ESRGANModel", "num_gpu": 1}
    options["network_d"] = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 64}
    reading = read(tmp_path, without(options, "train.artifacts_opt"))
    assert reading.differences == ()
    same_as_recipe(reading, "esrgan", "init")


def test_aesops_file_is_aesops_recipe(tmp_path: Path) -> None:
    options = without(ldl(aesop_opt=AESOP), "train.pixel_opt") | {"model_type": "AesopESRGANArtifactsDisModel"}
    reading = read(tmp_path, options)
    assert reading.differences == ()
    same_as_recipe(reading, "aesop", "init")
    assert reading.config.autoencoder.init == "weights/AE.pth"


def test_swinirs_file_is_its_recipe(tmp_path: Path) -> None:
    options = without(ldl(aesop_opt=AESOP), "train.pixel_opt") | {"model_type": "AesopESRGANArtifactsDisModel"}
    options["network_g"] = {
        "type": "SwinIR",
        "upscale": 4,
        "in_chans": 3,
        "img_size": 64,
        "window_size": 8,
        "img_range": 1.0,
        "depths": [6] * 6,
        "embed_dim": 180,
        "num_heads": [6] * 6,
        "mlp_ratio": 2,
        "upsampler": "pixelshuffle",
        "resi_connection": "1conv",
    }
    options["network_d"]["type"] = "VGGStyleDiscriminator256"
    options["datasets"]["train"]["gt_size"] = 256
    reading = read(tmp_path, options | {"manual_seed": 1})
    assert reading.differences == ()
    same_as_recipe(reading, "swinir-aesop", "init")
    assert reading.config.seed == 1


def psnr_file() -> dict[str, Any]:
    schedule = {
        "type": "CosineAnnealingRestartLR",
        "periods": [250000] * 4,
        "restart_weights": [1] * 4,
        "eta_min": 1e-7,
    }
    options = ldl(
        optim_g={**ADAM, "lr": 2e-4}, scheduler=schedule, total_iter=1000000, pixel_opt={**L1, "loss_weight": 1.0}
    )
    gone = ("optim_d", "artifacts_opt", "perceptual_opt", "gan_opt", "net_d_iters", "net_d_init_iters")
    options = without(options, "network_d", "path.pretrain_network_g", *(f"train.{name}" for name in gone))
    return options | {"model_type": "SRModel", "num_gpu": 1}


def test_a_psnr_file_is_the_fidelity_stage(tmp_path: Path) -> None:
    reading = read(tmp_path, psnr_file())
    assert (reading.until, reading.differences) == ("fidelity", ())
    assert reading.config.fidelity == get_recipe("esrgan", "full").fidelity
    assert reading.config.generator == get_recipe("esrgan", "full").generator


@pytest.mark.parametrize(("frozen", "share"), [(0, 0.0), (50000, 0.5), (9999999, 1.0)])
def test_an_auto_encoder_file_is_the_autoencoder_stage(frozen: int, share: float, tmp_path: Path) -> None:
    options = psnr_file() | {"model_type": "AEModel", "network_g": AUTOENCODER, "num_gpu": 4}
    options["datasets"]["train"]["gt_size"] = 256
    options["path"] = {"pretrain_network_decoder": "PSNR.pth", "param_key_decoder": "params_ema"}
    options["train"] |= {"optim_g": ADAM, "total_iter": 100000, "freeze_decoder": frozen}
    options["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [300000], "gamma": 1}
    options["train"]["pixel_at_LR_opt"] = {**L1, "loss_weight": 1}
    reading = read(tmp_path, options)
    assert (reading.until, reading.differences) == ("autoencoder", ())
    expected = get_recipe("aesop", "full").autoencoder
    changes = {"decoder_init": "PSNR.pth", "frozen_decoder": share}
    assert reading.config.autoencoder == expected.model_copy(update=changes)


REAL = {
    "resize_prob": [0.2, 0.7, 0.1],
    "resize_range": [0.2, 1.5],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "poisson_scale_range": [0.05, 2],
    "gray_noise_prob": 0.4,
    "jpeg_range": [50, 95],
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "noise_range2": [1, 20],
    "poisson_scale_range2": [0.05, 2],
    "gray_noise_prob2": 0.4,
    "jpeg_range2": [50, 95],
}
KERNELS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]


def real_file() -> dict[str, Any]:
    """AESOP's real-world file."""
    options = without(ldl(aesop_opt=AESOP), "train.pixel_opt", "train.artifacts_opt")
    options |= {"model_type": "AesopRealESRGANArtifactsDisModel", "gt_size": 256, "queue_size": 144, **REAL}
    options |= {"l1_gt_usm": True, "percep_gt_usm": True, "gan_gt_usm": False}
    options["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 64, "skip_connection": True}
    options["datasets"]["train"] |= {"type": "RealESRGANDataset", "gt_size": 256, "batch_size_per_gpu": 12}
    for suffix, sigma in (("", [0.2, 3]), ("2", [0.2, 1.5])):
        blur = {"blur_kernel_size": 21, "kernel_list": KERNELS, "sinc_prob": 0.1, "blur_sigma": sigma}
        blur |= {"kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03], "betag_range": [0.5, 4], "betap_range": [1, 2]}
        options["datasets"]["train"] |= {f"{name}{suffix}": value for name, value in blur.items()}
    options["datasets"]["train"]["final_sinc_prob"] = 0.8
    options["train"]["gan_opt"] = {**GAN, "loss_weight": 0.1}
    four = {name: weight for name, weight in FIVE_LAYERS.items() if name != "conv1_2"}
    options["train"] |= {"perceptual_opt": {**PERCEPTUAL, "layer_weights": four}, "total_iter": 400000}
    options["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [400000], "gamma": 0.5}
    return options


def test_the_real_world_file_is_its_recipe(tmp_path: Path) -> None:
    reading = read(tmp_path, real_file())
    assert reading.differences == ()
    same_as_recipe(reading, "aesop-real", "init")
    assert reading.config.data.degradation == "aesop-real"


def test_a_harsher_degradation_is_recognised_and_another_one_named(tmp_path: Path) -> None:
    stock = {"resize_range": [0.15, 1.5], "poisson_scale_range": [0.05, 3], "jpeg_range": [30, 95]}
    stock |= {"noise_range2": [1, 25], "poisson_scale_range2": [0.05, 2.5], "jpeg_range2": [30, 95]}
    reading = read(tmp_path, real_file() | stock)
    assert (reading.config.data.degradation, reading.differences) == ("real-esrgan", ())
    reading = read(tmp_path, real_file() | stock | {"jpeg_range": [10, 95]})
    assert reading.differences == ("jpeg_range: [10, 95]: it is [30, 95] in data.degradation real-esrgan, the nearest",)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("train.pixel_opt.type", "CharbonnierLoss", "train.pixel_opt.type: 'CharbonnierLoss': this loss is L1Loss or"),
        ("train.net_d_init_iters", 1000, "train.net_d_init_iters: 1000: both networks train"),
        ("train.net_d_iters", 2, "train.net_d_iters: 2: both"),
        ("train.gan_opt.gan_type", "wgan", "train.gan_opt.gan_type: 'wgan': the GAN is a cross-entropy"),
        ("train.perceptual_opt.style_weight", 1, "train.perceptual_opt.style_weight: 1: there is no style term"),
        ("train.perceptual_opt.layer_weights.conv1_1", 0.5, "layer_weights.conv1_1: 0.5: layers are conv1_2"),
        ("train.optim_d.lr", 4e-4, "train.optim_d: {'learning_rate': 0.0004"),
        ("train.optim_g.type", "AdamW", "train.optim_g.type: 'AdamW': every network has Adam"),
        ("train.scheduler.type", "TrueCosineAnnealingLR", "train.scheduler.type: 'TrueCosineAnnealingLR'"),
        ("train.grad_clip", 0.1, "train.grad_clip: 0.1: no field of a configuration says this"),
        ("train.dists_opt.loss_weight", 0.5, "train.dists_opt.loss_weight: 0.5: no field"),
        ("datasets.train.use_rot", False, "datasets.train.use_rot: False: patches are always flipped"),
        ("datasets.train.color_jitter", 0.1, "datasets.train.color_jitter: 0.1: no field"),
        ("network_g.num_out_ch", 1, "network_g.num_out_ch: 1: images have three colours"),
        ("network_g.norm", "bn", "network_g.norm: 'bn': no field"),
        ("path.pretrain_network_d", "D.pth", "path.pretrain_network_d: 'D.pth': no field"),
        ("gt_size", 64, "gt_size: 64: datasets.train.gt_size is 128"),
        ("swa", {"start": 5}, "swa.start: 5: no field"),
        ("datasets.train.meta_info_file", "800.txt", "datasets.train.meta_info_file: '800.txt': all images of"),
        ("datasets.train.io_backend.type", "memcached", "datasets.train.io_backend.type: 'memcached': images are read"),
        ("datasets.val.meta_info_file", "5.txt", "datasets.val.meta_info_file: '5.txt': all images of"),
        ("datasets.train.mean", [0.5, 0.5, 0.5], "datasets.train.mean: [0.5, 0.5, 0.5]: the networks' images lie in"),
        ("datasets.val.std", [0.5, 0.5, 0.5], "datasets.val.std: [0.5, 0.5, 0.5]: the networks' images lie in"),
        ("path.resume_state", "1000.state", "path.resume_state: '1000.state': training starts anew"),
    ],
)
def test_what_cannot_be_expressed_is_named(place: str, value: Any, said: str, tmp_path: Path) -> None:
    options = ldl()
    *parents, name = place.split(".")
    node = options
    for parent in parents:
        node = node.setdefault(parent, {})
    node[name] = value
    differences = read(tmp_path, options).differences
    assert said in differences[0]
    assert len(differences) == (3 if place == "train.scheduler.type" else 1)  # with what only that scheduler reads


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("num_gpu", "auto", "num_gpu: 'auto': counted as 1; set budget.batch"),
        ("path.param_key_g", "params", "path.param_key_g: of a file with averaged weights, these are read"),
        ("datasets.val_2", {"dataroot_gt": "Set5"}, "datasets.val_2: one validation set is used"),
    ],
)
def test_what_is_done_in_another_way_is_noted(place: str, value: Any, said: str, tmp_path: Path) -> None:
    options = ldl()
    node = options
    for parent in place.split(".")[:-1]:
        node = node[parent]
    node[place.split(".")[-1]] = value
    reading = read(tmp_path, options)
    assert reading.differences == ()
    assert [said in note for note in reading.notes] == [True]


def test_lmdbs_are_the_sources_of_a_run(tmp_path: Path) -> None:
    options = ldl()
    of_lmdb = {"io_backend": {"type": "lmdb"}, "meta_info_file": "not read with LMDB"}
    options["datasets"]["train"] |= {"dataroot_gt": "HR.lmdb", "dataroot_lq": "LR.lmdb", **of_lmdb}
    reading = read(tmp_path, options)
    assert (reading.differences, reading.notes) == ((), ())
    assert (reading.config.data.train, reading.config.data.train_lq) == ("HR.lmdb", "LR.lmdb")


def test_an_option_file_cannot_name_a_python_file(tmp_path: Path) -> None:
    reading = read(tmp_path, {**ldl(), "loss": {"guidance": "custom", "custom": "evil.py"}})
    assert get(reading.config, "loss.custom") is None
    assert sum("loss.custom: 'evil.py'" in difference for difference in reading.differences) == 1


def test_two_fidelity_terms_are_one_too_many(tmp_path: Path) -> None:
    reading = read(tmp_path, ldl(aesop_opt=AESOP) | {"model_type": "AesopESRGANArtifactsDisModel"})
    assert reading.differences == ("train.pixel_opt: the sum has one fidelity term, and train.aesop_opt is it",)
    assert reading.config.loss.guidance == "aesop"


@pytest.mark.parametrize(
    ("kind", "changes", "guidance"),
    [("AutoEncoderBottleneckLoss", {}, "bottleneck"), ("AutoEncoderLoss", {"as_loss_map": True}, "loss-map")],
)
def test_ablations_are_read(kind: str, changes: dict[str, Any], guidance: str, tmp_path: Path) -> None:
    term = {**AESOP, "type": kind, **changes, "criterion": "mse"}
    options = without(ldl(aesop_opt=term), "train.pixel_opt") | {"model_type": "AesopESRGANArtifactsDisModel"}
    loss = read(tmp_path, options).config.loss
    assert (loss.guidance, loss.criterion) == (guidance, "l2")


def test_numbers_that_yaml_takes_for_words_are_read(tmp_path: Path) -> None:
    path = tmp_path / "options.yml"
    path.write_text(yaml.safe_dump(ldl()).replace("loss_weight: 0.01", "loss_weight: 1e-2"))
    assert "1e-2" in path.read_text()
    assert read_basicsr(path).config.loss.fidelity == 1e-2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "VideoRecurrentModel"}, "model_type must be one of SRModel.*, but got 'VideoRecurrentModel'"),
        (
            {"network_g": {"type": "DRCT"}},
            "network_g.type must be one of RRDBNet, MSRResNet, EDSR, SwinIR, but got 'DRCT'",
        ),
        ({"network_d": {"type": "PatchGAN"}}, r"network_d\.type must be one of VGGStyle.*, but got 'PatchGAN'"),
        ({"scale": 8}, r"options\.yml: data\.scale: .*8"),
        ({"train": {"total_iter": "many"}}, r"train\.total_iter must be a number, but got 'many'"),
        ({"train": {"optim_g": ADAM}}, r"options\.yml: .*budget\.iterations: .*greater than or equal to 1"),
    ],
)
def test_what_cannot_be_read_at_all_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, ldl() | options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", "is no YAML"),
        (b"\xff\xfe\x00", "is no YAML"),
        (b"- 1\n- 2\n", "has no model_type"),
        (b"name: x\n", "has no model_type"),
        (b"", "has no model_type"),
        (b"!!python/object/apply:os.system ['touch x']", "is no YAML"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "options.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"options\.yml.*{message}"):
        read_basicsr(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_basicsr(tmp_path / "absent.yml")


EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 256, "num_block": 32, "upscale": 4}
EDSR |= {"res_scale": 0.1, "img_range": 255.0, "rgb_mean": [0.4488, 0.4371, 0.4040]}


def test_edsr_is_read(tmp_path: Path) -> None:
    reading = read(tmp_path, psnr_file() | {"network_g": EDSR})
    generator = reading.config.generator
    assert (generator.name, generator.features, generator.blocks, generator.residual_scale) == ("edsr", 256, 32, 0.1)
    assert (reading.until, reading.differences) == ("fidelity", ())
    other = read(tmp_path, psnr_file() | {"network_g": EDSR | {"img_range": 1.0, "rgb_mean": [0.5, 0.5, 0.5]}})
    fields = [difference.partition(":")[0] for difference in other.differences]
    assert fields == ["network_g.img_range", "network_g.rgb_mean"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "generator.init"),
        ({"model_type": "AEModel", "network_g": AUTOENCODER}, "autoencoder.init"),
    ],
)
def test_weights_that_a_file_goes_on_training_are_not_taken_for_its_result(
    changes: dict[str, Any], field: str, tmp_path: Path
) -> None:
    reading = read(tmp_path, psnr_file() | changes | {"path": {"pretrain_network_g": "x2.pth"}})
    assert get(reading.config, field) is None
    said = "path.pretrain_network_g: 'x2.pth': this stage trains from random weights"
    assert [text for text in reading.differences if text.startswith(said) and field in text]


def test_given_low_quality_images_are_read(tmp_path: Path) -> None:
    options = ldl()
    options["datasets"]["train"] |= {"dataroot_lq": "DF2K/LR", "mean": [0, 0, 0], "std": [1, 1, 1]}
    options["datasets"]["val"]["dataroot_lq"] = "DIV2K100/LR"
    reading = read(tmp_path, options)
    data = reading.config.data
    assert (data.train_lq, data.val_lq) == ("DF2K/LR", "DIV2K100/LR")
    assert (reading.differences, reading.notes) == ((), ())
    del options["datasets"]["val"]["dataroot_gt"]
    assert "datasets.val.dataroot_lq: 'DIV2K100/LR': there is no dataroot_gt" in read(tmp_path, options).differences


def test_given_images_replace_the_degradation_only_where_the_file_says_so(tmp_path: Path) -> None:
    options = real_file()
    options["datasets"]["train"]["dataroot_lq"] = "lq"
    reading = read(tmp_path, options)
    assert reading.differences == ("datasets.train.dataroot_lq: 'lq': the degradation makes the low-quality images",)
    assert reading.config.data.train_lq is None
    fine_tuned = {key: value for key, value in options.items() if key not in REAL} | {"high_order_degradation": False}
    reading = read(tmp_path, fine_tuned)
    assert (reading.config.data.degradation, reading.config.data.train_lq) == ("bicubic", "lq")


def test_other_images_replace_all_that_the_file_says_of_its_own(tmp_path: Path) -> None:
    options = ldl()
    for part in ("train", "val"):
        options["datasets"][part] |= {"dataroot_lq": "LR", "meta_info_file": "names.txt"}
    (tmp_path / "options.yml").write_text(yaml.safe_dump(options))
    reading = read_basicsr(tmp_path / "options.yml", images=False)
    data = reading.config.data
    assert (data.train, data.train_lq, data.val, data.val_lq) == ("photographs", None, None, None)
    assert reading.differences == ()


def test_a_file_whose_aliases_multiply_is_refused_at_once(tmp_path: Path) -> None:
    levels = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 9)]
    (tmp_path / "bomb.yml").write_text("\n".join(["model_type: SRModel", "a0: &a0 [x, x]", *levels]))
    with pytest.raises(ConfigError, match=r"bomb\.yml: has [\d,]+ values once its aliases are written out.*10,000"):
        load(tmp_path / "bomb.yml")
    for name, content in (("self.yml", "model_type: &a [*a]"), ("deep.yml", "model_type: " + "[" * 2000)):
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=f"{name}: its values are nested too deeply"):
            load(tmp_path / name)


@pytest.mark.parametrize("absent", [False, True])
def test_without_weights_the_generator_starts_from_random_ones(absent: bool, tmp_path: Path) -> None:
    options = ldl()
    options["path"]["pretrain_network_g"] = None
    reading = read(tmp_path, without(options, "path.pretrain_network_g") if absent else options)
    assert (reading.config.start, reading.config.generator.init) == ("scratch", None)
    assert reading.config.stages == ("adversarial",)
    assert (reading.differences, reading.notes) == ((), ())
    (said,) = reading.assumed
    assert said.startswith("path.pretrain_network_g: names no weights, so the generator starts from random ones")


def test_a_complete_file_leaves_nothing_to_assume(tmp_path: Path) -> None:
    for options in (ldl(), psnr_file(), real_file()):
        assert read(tmp_path, options).assumed == ()


@pytest.mark.parametrize(
    ("place", "field", "value"),
    [
        ("scale", "data.scale", 4),
        ("num_gpu", "budget.batch", 16),
        ("manual_seed", "seed", 0),
        ("datasets.train.batch_size_per_gpu", "budget.batch", 64),
        ("datasets.train.use_hflip", "budget.patch", 128),
        ("datasets.train.dataroot_gt", "data.train", "photographs"),
        ("datasets.val", "data.val", None),
        ("network_d.num_feat", "discriminator.features", 64),
        ("train.optim_g.lr", "optimiser.learning_rate", 1e-4),
        ("train.optim_d", "optimiser.learning_rate", 1e-4),
        ("train.scheduler.milestones", "optimiser.schedule", "constant"),
        ("train.gan_opt.gan_type", "loss.adversarial", 5e-3),
        ("train.gan_opt", "loss.adversarial", 0),
        ("train.pixel_opt.type", "loss.fidelity", 1e-2),
    ],
)
def test_what_stands_in_for_a_required_key_is_said(place: str, field: str, value: Any, tmp_path: Path) -> None:
    reading = read(tmp_path, without(ldl(), place))
    assert get(reading.config, field) == value
    assert (reading.differences, reading.notes) == ((), ())
    (said,) = reading.assumed
    assert said.startswith(f"{place}")


def test_keys_with_a_default_have_basicsrs(tmp_path: Path) -> None:
    gone = ("train.gan_opt.loss_weight", "train.ema_decay", "train.warmup_iter", "train.optim_g.betas")
    reading = read(tmp_path, without(ldl(), *gone, "train.optim_d.betas", "network_g.num_block"))
    optimiser = reading.config.optimiser
    assert (reading.config.loss.adversarial, reading.config.generator.blocks) == (1, 23)
    assert (optimiser.ema_decay, optimiser.warmup, optimiser.betas) == (0, 0, (0.9, 0.999))
    assert (reading.differences, reading.assumed) == ((), ())


@pytest.mark.parametrize(
    ("network", "patch", "said"),
    [
        (
            {"type": "VGGStyleDiscriminator128"},
            64,
            "'VGGStyleDiscriminator128': takes patches of 128, but datasets.train.",
        ),
        ({"type": "VGGStyleDiscriminator256"}, 128, "'VGGStyleDiscriminator256': takes patches of 256, but"),
        ({"type": "VGGStyleDiscriminator"}, 256, "'VGGStyleDiscriminator': takes patches of 128, but"),
        ({"type": "VGGStyleDiscriminator", "input_size": 256}, 128, "takes patches of 256, but"),
        (
            {"type": "VGGStyleDiscriminator", "input_size": 64},
            64,
            "input_size: 64: VGGStyleDiscriminator takes 128 or 256",
        ),
        ({"type": "VGGStyleDiscriminator", "input_size": 256}, 256, None),
        ({"type": "VGGStyleDiscriminator128"}, 128, None),
        ({"type": "UNetDiscriminatorSN"}, 64, None),
    ],
)
def test_patches_that_a_discriminator_does_not_take_are_named(
    network: dict[str, Any], patch: int, said: str | None, tmp_path: Path
) -> None:
    options = ldl() | {"network_d": {"num_in_ch": 3, "num_feat": 64, **network}}
    options["datasets"]["train"]["gt_size"] = patch
    reading = read(tmp_path, options)
    assert len(reading.differences) == (said is not None)
    assert all(str(said) in text for text in reading.differences)


def test_a_generator_of_another_scale_is_named_also_by_its_default(tmp_path: Path) -> None:
    options = psnr_file() | {"scale": 2}
    assert read(tmp_path, options).differences == ("network_g.scale: 4: the file's scale is 2",)
    options["network_g"] = {**RRDB, "scale": 2}
    assert read(tmp_path, options).differences == ()


def test_weights_without_a_key_are_raw_in_basicsr(tmp_path: Path) -> None:
    reading = read(tmp_path, without(ldl(), "path.param_key_g"))
    assert reading.notes == ("path.param_key_g: of a file with averaged weights, these are read (params_ema)",)
