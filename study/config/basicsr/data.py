"""Images and their degradation in an option file."""

from typing import Any

from study.config.basicsr.options import Options

_KERNELS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
_BLUR = {
    "blur_kernel_size": 21,
    "kernel_list": _KERNELS,
    "kernel_prob": [0.45, 0.25, 0.12, 0.03, 0.12, 0.03],
    "sinc_prob": 0.1,
    "betag_range": [0.5, 4],
    "betap_range": [1, 2],
}
# The second-order degradation of AESOP's and of Real-ESRGAN's option files.
_COMMON = {
    "resize_prob": [0.2, 0.7, 0.1],
    "gaussian_noise_prob": 0.5,
    "noise_range": [1, 30],
    "gray_noise_prob": 0.4,
    "second_blur_prob": 0.8,
    "resize_prob2": [0.3, 0.4, 0.3],
    "resize_range2": [0.3, 1.2],
    "gaussian_noise_prob2": 0.5,
    "gray_noise_prob2": 0.4,
    "datasets.train.blur_sigma": [0.2, 3],
    "datasets.train.blur_sigma2": [0.2, 1.5],
    "datasets.train.final_sinc_prob": 0.8,
    **{f"datasets.train.{name}{suffix}": value for suffix in ("", "2") for name, value in _BLUR.items()},
}
_DEGRADATIONS: dict[str, dict[str, Any]] = {
    "aesop-real": {
        **_COMMON,
        "resize_range": [0.2, 1.5],
        "poisson_scale_range": [0.05, 2],
        "jpeg_range": [50, 95],
        "noise_range2": [1, 20],
        "poisson_scale_range2": [0.05, 2],
        "jpeg_range2": [50, 95],
    },
    "real-esrgan": {
        **_COMMON,
        "resize_range": [0.15, 1.5],
        "poisson_scale_range": [0.05, 3],
        "jpeg_range": [30, 95],
        "noise_range2": [1, 25],
        "poisson_scale_range2": [0.05, 2.5],
        "jpeg_range2": [30, 95],
    },
}


def read_data(options: Options) -> dict[str, Any]:
    """Return the changes to `data` that name images."""
    places = {
        "datasets.train.dataroot_gt": "data.train",
        "datasets.train.dataroot_lq": "data.train_lq",
        "datasets.val.dataroot_gt": "data.val",
        "datasets.val.dataroot_lq": "data.val_lq",
    }
    changes: dict[str, Any] = {}
    for key, field in places.items():
        changes |= options.text(key, field)
    if "data.val_lq" in changes and "data.val" not in changes:
        options.problems.append(f"datasets.val.dataroot_lq: {changes.pop('data.val_lq')!r}: there is no dataroot_gt")
    for part in ("train", "val"):
        is_lmdb = options.values.get(f"datasets.{part}.io_backend.type") == "lmdb"
        options.must(f"datasets.{part}.io_backend.type", "disk", "lmdb", why="images are read from folders and LMDBs")
        for key in ("meta_info_file", "meta_info"):
            if is_lmdb:
                options.take(f"datasets.{part}.{key}")  # BasicSR does not read it either
            options.must(
                f"datasets.{part}.{key}", None, why="all images of the folder are used; name a folder of these"
            )
        for key, value in (("mean", 0), ("std", 1)):
            options.must(f"datasets.{part}.{key}", value, [value] * 3, why="the networks' images lie in [0, 1]")
    more = sorted({key.split(".")[1] for key in options.values if key.startswith("datasets.val_")})
    options.notes += [f"datasets.{name}: one validation set is used, datasets.val" for name in more]
    for keys in (("use_flip", "use_hflip"), ("use_rot",)):
        for key in keys:
            options.must(f"datasets.train.{key}", True, why="patches are always flipped and transposed at random")
    return changes


def read_degradation(options: Options, model: str) -> dict[str, Any]:
    """Return the degradation nearest to the one of the file; none for trainers of clean pairs."""
    if not model.replace("Aesop", "").startswith("Real") or options.take("high_order_degradation", True) is False:
        return {}
    found = {key: options.take(key) for key in _DEGRADATIONS["aesop-real"]}
    differing = {name: [key for key in found if found[key] != values[key]] for name, values in _DEGRADATIONS.items()}
    nearest = min(differing, key=lambda name: len(differing[name]))
    for key in differing[nearest]:
        ours = _DEGRADATIONS[nearest][key]
        options.problems.append(f"{key}: {found[key]!r}: it is {ours!r} in data.degradation {nearest}, the nearest")
    return {"data.degradation": nearest}
