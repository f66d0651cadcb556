"""The worked examples of docs/researcher.md, as its tests run them: the commands, and a folder to run them in."""

import re
import shlex
import shutil
from pathlib import Path

from PIL import Image

from study.data import load_source

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "researcher.md"
SIDE = 96


def sections() -> dict[str, str]:
    """The page's text by the titles of its sections."""
    _, *parts = re.split(r"^## \d\. (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def commands(section: str) -> list[list[str]]:
    """The commands of a section in their order, each as its script and arguments."""
    blocks = re.findall(r"^```sh\n(.+?)^```$", sections()[section], flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line) for line in lines]
    assert all(words[0] == ".venv/bin/python" for words in split)
    return [words[1:] for words in split]


def furnish(place: Path) -> Path:
    """Make of a folder what the page asks for: a dozen photographs, three others, and the examples beside them."""
    training, held_out = load_source("photographs", None, scale=4, minimum_patch=SIDE)
    for name, images, count in (("photos", training, 12), ("held-out", held_out, 3)):
        (place / name).mkdir()
        for number in range(count):
            pixels = images.images[number % len(images)]
            corner = SIDE * (number // len(images))  # another part of the photograph, the second time
            crop = Image.fromarray(pixels[corner : corner + SIDE, :SIDE])
            crop.save(place / name / f"{number:02}.png")
    shutil.copytree(ROOT / "docs" / "examples", place / "docs" / "examples")
    return place
