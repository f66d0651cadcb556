"""The training images, and how low-quality images are made of them."""

from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from study.config.training import Frozen

DegradationName = Literal["bicubic", "aesop-real", "real-esrgan"]
Task = Literal["sr", "denoise", "jpeg"]


MADE = "made"
"""The value of `data.train_lq` and `data.val_lq` that has low-quality images made although some are given."""


class LargestPatch(NamedTuple):
    """The largest HR patch that stages cut, in pixels, the field that says so, and whether a search draws that."""

    px: int
    field: str
    is_drawn: bool = False


class DataConfig(Frozen):
    """Where images come from, and how low-quality ones are made of them.

    `photographs` are the ones that ship with scikit-image and scikit-learn. A degradation other than `bicubic` is drawn
    anew for each patch of each step (docs/methods/aesop.md); the auto-encoder always learns from clean pairs.
    """

    train: str = Field(
        "photographs", min_length=1, description="`photographs`, a folder or LMDB of HR images, or a store"
    )
    val: str | None = Field(None, min_length=1, description="the same; None holds out a part of `train`")
    train_lq: str | None = Field(
        None,
        min_length=1,
        description="LQ images of `train`: a folder, an LMDB, or `made`; None: those beside HR, else made",
    )
    val_lq: str | None = Field(None, min_length=1, description="the same of `val`")
    task: Task = Field("sr", description="super-resolution, or restoring images of the same size")
    scale: Literal[1, 2, 3, 4] = 4
    degradation: DegradationName = "bicubic"
    sigma: float | None = Field(None, gt=0, le=255, description="denoise: the noise in levels of 255, fresh each step")
    quality: int | None = Field(None, ge=1, le=100, description="jpeg: libjpeg's quality")

    @model_validator(mode="after")
    def _task_is_complete(self) -> Self:
        if self.task == "sr" and self.scale == 1:
            raise ValueError("scale must be 2, 3 or 4 for task sr, but got 1; for scale 1 choose denoise or jpeg")
        if self.task != "sr" and (self.scale != 1 or self.degradation != "bicubic"):
            raise ValueError(
                f"task {self.task} keeps the images' size, so scale must be 1 and degradation bicubic, but got "
                f"{self.scale} and {self.degradation}; --task sets both"
            )
        for name, task in (("sigma", "denoise"), ("quality", "jpeg")):
            value = getattr(self, name)
            if self.task == task and value is None:
                raise ValueError(
                    f"task {task} needs its distortion, but {name} is not set; "
                    f"give it as data.{name}=25, or with the task: --task {task}:25"
                )
            if self.task != task and value is not None:
                raise ValueError(f"{name} belongs to task {task}, but the task is {self.task}; leave {name} out")
        return self

    @model_validator(mode="after")
    def _given_images_are_trained_on(self) -> Self:
        if self.is_degraded_anew and self.train_lq not in (None, MADE):
            raise ValueError(
                f"train_lq names {self.train_lq}, but {self.degraded_by} makes the low-quality images of training anew "
                "in each step; leave one out"
            )
        return self

    @property
    def is_degraded_anew(self) -> bool:
        """Whether the low-quality images of training are made anew in each step."""
        return self.task == "denoise" or self.degradation != "bicubic"

    @property
    def degraded_by(self) -> str:
        """The field and its value that make the low-quality images."""
        return f"data.degradation {self.degradation}" if self.task == "sr" else f"data.task {self.task}"
