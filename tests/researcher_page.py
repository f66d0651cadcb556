"""The commands of docs/researcher.md, and a folder in which tests run them."""

import re
import shlex
import shutil
from pathlib import Path

from PIL import Image

from study.config import DataConfig, LargestPatch
from study.data import load_source

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "researcher.md"
SIDE = 96


def sections() -> dict[str, str]:
    """Return the page's text by the titles of its sections."""
    _, *parts = re.split(r"^## \d\. (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def commands(section: str) -> list[list[str]]:
    """Return the commands of a section in order, each as its script and arguments."""
    blocks = re.findall(r"^```sh\n(.+?)^```$", sections()[section], flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    split = [shlex.split(line) for line in lines]
    assert all(words[0] == ".venv/bin/python" for words in split)
    return [words[1:] for words in split]


def furnish(place: Path) -> Path:
    """Write the files that the page needs: a dozen photographs, three others, and the examples."""
    training, held_out = load_source(DataConfig(), LargestPatch(SIDE, ""))
    for name, images, count in (("photos", training, 12), ("held-out", held_out, 3)):
        (place / name).mkdir()
        for number in range(count):
            pixels = images.images[number % len(images)]
            corner = SIDE * (number // len(images))  # another part of the photograph, the second time
            crop = Image.fromarray(pixels[corner : corner + SIDE, :SIDE])
            crop.save(place / name / f"{number:02}.png")
    shutil.copytree(ROOT / "docs" / "examples", place / "docs" / "examples")
    return place
