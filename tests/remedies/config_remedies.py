"""What the messages about a configuration advise, given to study/train.py: the same rules hold in a study."""

from pathlib import Path

from study.config import replace
from study.config.extension import check_extension
from study.config.recipes import get_recipe
from tests.remedies.pairs import Act, Pair, pair, training


def tiny(*changes: str, recipe: str = "aesop") -> Act:
    """Return: read a tiny run with fields changed."""
    return training(" ".join([recipe, "--size tiny", *(f"--set {change}" for change in changes)]))


def mdf(*changes: str) -> Act:
    """Return: read a tiny run of MDF, which has neither a discriminator nor a perceptual term, with fields changed."""
    return tiny(*changes, recipe="mdf")


def with_file(act: Act, name: str, text: str) -> Act:
    """Return: write a file, then act."""

    def both(place: Path) -> object:
        (place / name).write_text(text)
        return act(place)

    return both


def lasting(iterations: int) -> Act:
    """Return: continue a run of 100 iterations with another budget."""
    before = replace(get_recipe("aesop", "tiny"), {"budget.iterations": 100, "optimiser.schedule": "constant"})
    return lambda _: check_extension(before, replace(before, {"budget.iterations": iterations}))


LOSS = "def loss(sr, hr, lq):\n    return (sr - hr).abs().mean(dim=(1, 2, 3))\n"
HAS_TASK = ("data.task=denoise", "data.scale=1")
NATIVE = ("generator.name=msrresnet", "generator.head=native", "generator.icnr=false")
SWINIR_X2 = "aesop --size tiny --scale 2 --set generator.name=swinir --set generator.heads=4"
SWINIR = ("generator.name=swinir",)
CUSTOM = ("loss.guidance=custom", "loss.custom=PLACE/my_loss.py")
PINNED = "loss.custom=PLACE/my_loss.py@sha256:" + "0" * 64

UNREAD: list[Pair] = [
    pair("--set {path} would change nothing", tiny("critics.levels=10"), tiny(), mdf("critics.levels=10")),
    pair(
        "loss.guidance probabilistic",
        tiny("autoencoder.scale_weight=0.5"),
        tiny("autoencoder.scale_weight=0.5", "loss.guidance=probabilistic"),
    ),
    pair(
        "or {}, and loss.fidelity above 0",
        tiny("autoencoder.blocks=5", recipe="esrgan"),
        tiny("autoencoder.blocks=5", "loss.guidance=aesop", recipe="esrgan"),
    ),
    pair("loss.guidance mdf, and loss.fidelity above 0", tiny("critics.levels=10"), mdf("critics.levels=10")),
    pair(
        "loss.adversarial or loss.gradient_adversarial above 0",
        mdf("discriminator.features=6"),
        mdf("discriminator.features=6", "loss.adversarial=0.01", "budget.patch=64"),
    ),
    pair(
        "loss.adversarial or loss.gradient_adversarial above 0",
        mdf("loss.gan=vanilla"),
        mdf("loss.gan=vanilla", "loss.adversarial=0.01", "budget.patch=64"),
    ),
    pair(
        "start fidelity and no generator.init",
        tiny("fidelity.budget.iterations=7", "start=scratch", recipe="esrgan"),
        tiny("fidelity.budget.iterations=7", "start=fidelity", recipe="esrgan"),
    ),
    pair("loss.guidance {,  } or {}", mdf("loss.criterion=l2"), mdf("loss.criterion=l2", "loss.guidance=pixel")),
    pair(
        "loss.perceptual_network vgg19, and loss.perceptual above 0",
        mdf("loss.perceptual_layers.conv1_2=0.5"),
        mdf("loss.perceptual_layers.conv1_2=0.5", "loss.perceptual_network=vgg19", "loss.perceptual=1"),
    ),
    pair(
        "loss.perceptual above 0",
        mdf("loss.perceptual_network=alexnet"),
        mdf("loss.perceptual_network=alexnet", "loss.perceptual=1"),
    ),
    pair(
        "loss.perceptual above 0",
        mdf("loss.perceptual_target=sharpened"),
        mdf("loss.perceptual_target=sharpened", "loss.perceptual=1"),
    ),
    pair("--size; it is a name here", tiny("size=small"), training("aesop --size small")),
]

PAIRS: list[Pair] = [
    *UNREAD,
    pair(
        "contradicts --task {}, which keeps",
        training("esrgan --size tiny --task denoise:25 --scale 2"),
        training("esrgan --size tiny --task denoise:25"),
        training("esrgan --size tiny --scale 2"),
    ),
    pair(
        "contradicts {option} {value}; leave one of the two out",
        training("esrgan --size tiny --data PLACE/a --set data.train=PLACE/b"),
        training("esrgan --size tiny --data PLACE/a"),
        training("esrgan --size tiny --set data.train=PLACE/b"),
    ),
    pair("and a run cannot become", lasting(50), lasting(100), lasting(200)),
    pair("--task takes sr, denoise:SIGMA", training("aesop --task blur"), training("aesop --task denoise:25")),
    pair("such as --task {name}:25", training("aesop --task jpeg:much"), training("aesop --task jpeg:25")),
    pair(
        "choose denoise or jpeg",
        tiny("data.scale=1"),
        training("aesop --task denoise:25"),
        training("aesop --task jpeg:25"),
    ),
    pair("--task sets both", tiny("data.task=denoise", "data.sigma=25"), training("aesop --task denoise:25")),
    pair(
        "give it as data.{name}=25, or with the task",
        tiny(*HAS_TASK, *NATIVE),
        tiny(*HAS_TASK, *NATIVE, "data.sigma=25"),
        training("aesop --task denoise:25"),
    ),
    pair("; leave {name} out", tiny("data.quality=50"), tiny()),
    pair(
        ("of training anew in each step; leave one out", "data.degradation {"),
        tiny("data.train_lq=PLACE", "data.degradation=aesop-real", "budget.patch=96", "fidelity.budget.patch=96"),
        tiny("data.train_lq=PLACE"),
        tiny("data.degradation=aesop-real", "budget.patch=96", "fidelity.budget.patch=96"),
    ),
    pair(
        "data.task {",
        training("aesop --task denoise:25 --set data.train_lq=PLACE"),
        training("aesop --task denoise:25"),
    ),
    pair(
        "the nearest allowed: {nearest}",
        tiny("budget.patch=48", "discriminator.name=vgg"),
        tiny("budget.patch=32", "discriminator.name=vgg"),
        tiny("budget.patch=64", "discriminator.name=vgg"),
    ),
    pair(
        "budget.batch must be at least 2 for budget.patch",
        tiny("budget.batch=1", "budget.patch=32", "discriminator.name=vgg"),
        tiny("budget.batch=2", "budget.patch=32", "discriminator.name=vgg"),
        tiny("budget.batch=1", "budget.patch=64", "discriminator.name=vgg"),
    ),
    pair(
        "icnr starts a head of sub-pixels",
        tiny("generator.icnr=true", "generator.head=nearest"),
        tiny("generator.icnr=true", "generator.head=espcn"),
        tiny("generator.icnr=true", "generator.head=sub-pixel"),
    ),
    pair(
        "choose a divisor of features for heads",
        tiny(*SWINIR, "generator.features=60", "generator.heads=7"),
        tiny(*SWINIR, "generator.features=60", "generator.heads=6"),
    ),
    pair(
        "; use more blocks",
        tiny("generator.name=spsr", "generator.blocks=2"),
        tiny("generator.name=spsr", "generator.blocks=20"),
    ),
    pair(
        "all layer weights are 0",
        tiny(*(f"loss.perceptual_layers.conv{layer}=0" for layer in ("1_2", "2_2", "3_4", "4_4", "5_4"))),
        tiny("loss.perceptual=0"),
    ),
    pair(
        "give it as loss.custom=my_loss.py",
        tiny("loss.guidance=custom"),
        with_file(tiny(*CUSTOM), "my_loss.py", LOSS),
    ),
    pair(
        "set loss.guidance to custom, or loss.custom to null",
        with_file(tiny("loss.custom=PLACE/my_loss.py"), "my_loss.py", LOSS),
        tiny(*CUSTOM),
        tiny("loss.custom=null"),
    ),
    pair(
        "loss.custom names {path} with the hash",
        with_file(tiny(CUSTOM[0], PINNED), "my_loss.py", LOSS),
        tiny(*CUSTOM),
        with_file(
            tiny(
                CUSTOM[0],
                "loss.custom=PLACE/my_loss.py@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            "my_loss.py",
            "",
        ),
    ),
    pair(
        "all weights of the loss are 0",
        tiny("loss.fidelity=0", "loss.adversarial=0", "loss.perceptual=0", "loss.ldl=0"),
        tiny("loss.fidelity=1", "loss.adversarial=0", "loss.perceptual=0", "loss.ldl=0"),
    ),
    pair(
        "so bottleneck_channels must be 3",
        tiny("autoencoder.encoder=bicubic", "autoencoder.bottleneck_channels=8"),
        tiny("autoencoder.encoder=bicubic", "autoencoder.bottleneck_channels=3"),
        tiny("autoencoder.encoder=learned", "autoencoder.bottleneck_channels=8"),
    ),
    pair(
        "lower frozen_decoder below 1",
        tiny("autoencoder.encoder=bicubic", "autoencoder.frozen_decoder=1"),
        tiny("autoencoder.encoder=bicubic", "autoencoder.frozen_decoder=0.5"),
    ),
    pair("used_levels must not exceed", mdf("critics.levels=4"), mdf("critics.levels=4", "critics.used_levels=4")),
    pair("largest_side must exceed", mdf("critics.largest_side=20"), mdf("critics.largest_side=26")),
    pair(
        "needs the three colours in the bottleneck",
        tiny("autoencoder.bottleneck_channels=2"),
        tiny("autoencoder.bottleneck_channels=3"),
        tiny("autoencoder.bottleneck_channels=2", "autoencoder.bottleneck_weight=0", "autoencoder.bicubic_skip=false"),
    ),
    pair(
        "; leave it out, or change that",
        tiny("loss.kl=forward"),
        tiny(),
        tiny("loss.kl=forward", "loss.guidance=probabilistic"),
    ),
    pair("--set takes FIELD=VALUE", tiny("loss.adversarial"), tiny("loss.adversarial=1e-2")),
    pair("set loss.branch to 0", tiny("loss.branch=0.5"), tiny("loss.branch=0")),
    pair("set fusion_share to 0", tiny("fusion_share=0.5"), tiny("fusion_share=0")),
    pair(
        "loss.gradient_adversarial needs a VGG-style",
        tiny("loss.gradient_adversarial=0.005", "discriminator.name=unet"),
        tiny("loss.gradient_adversarial=0.005", "discriminator.name=vgg"),
        tiny("loss.gradient_adversarial=0.005", "discriminator.name=spsr"),
        tiny("loss.gradient_adversarial=0", "discriminator.name=unet"),
    ),
    pair(
        "; use pixelshuffle",
        training(f"{SWINIR_X2} --set generator.upsampler=nearest+conv"),
        training(f"{SWINIR_X2} --set generator.upsampler=pixelshuffle"),
    ),
    pair(
        "start scratch means random weights",
        tiny("start=scratch", "generator.init=PLACE/a.pth"),
        tiny("start=scratch"),
        tiny("generator.init=PLACE/a.pth"),
    ),
    pair(
        "--task chooses it",
        tiny(*HAS_TASK, "data.sigma=25", "generator.name=rrdb"),
        training("aesop --size tiny --task denoise:25"),
    ),
    pair(
        "loss.guidance consistency shrinks",
        tiny("loss.guidance=consistency", "data.degradation=aesop-real"),
        tiny("loss.guidance=consistency", "data.degradation=bicubic"),
    ),
    pair(
        "for loss.guidance {guidance}, but got",
        tiny("loss.guidance=ms-ssim", "budget.patch=32", "discriminator.name=unet"),
        tiny("loss.guidance=ms-ssim", "budget.patch=48", "discriminator.name=unet"),
    ),
    pair(
        "{field} must be a multiple of {name}",
        tiny("budget.patch=50"),
        tiny("budget.patch=48", "discriminator.name=unet"),
    ),
    pair(
        "for data.degradation {",
        tiny("data.degradation=aesop-real", "budget.patch=32"),
        tiny("data.degradation=aesop-real", "budget.patch=96", "fidelity.budget.patch=96"),
    ),
    pair(
        "minimum must not exceed",
        tiny("optimiser.schedule=cosine", "optimiser.minimum=1"),
        tiny("optimiser.schedule=cosine", "optimiser.minimum=1e-7"),
    ),
    pair(
        "for iteration 50,000 of 400,000 write 0.125",
        tiny("optimiser.schedule=steps", "optimiser.milestones=[50000]"),
        tiny("optimiser.schedule=steps", "optimiser.milestones=[0.125]"),
    ),
    pair(
        "schedule 'steps' needs milestones",
        tiny("optimiser.schedule=steps", "optimiser.milestones=[]"),
        tiny("optimiser.schedule=steps", "optimiser.milestones=[0.5]"),
        tiny("optimiser.schedule=constant", "optimiser.milestones=[]"),
    ),
]
