"""Are damaged image files and stores ever read wrongly? Random damage, each input in a worker process.

python -m benchmarks.fuzz_data --inputs 10000           (about ten minutes on 2 cores)

Input n depends on n alone: a small valid file of one of the kinds below, damaged one to three times. A crash or a hang
costs only its worker and names its input. Outcomes (there is no peer; the failures have to be 0):

- `refused`: ImageError or StoreError, whose message names the file;
- `same`: the pixels of the undamaged file;
- `other`: another image of valid shape and type. In PNG and stores, which have checksums, it is a failure unless the
  damage repaired PNG's checksums. JPEG, WebP, BMP and TIFF have none, so damage cannot be told from content.
- failures: `wrong`, another exception, `crash`, `hang` (5 s).
"""

import argparse
import io
import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from study.data.errors import ImageError
from study.data.images import decode_image, read_size
from study.data.packing import pack, plan_pack
from study.data.store import open_store, verify
from study.data.store_format import StoreError

LIMIT_SECONDS = 5.0
EXTRA_MEMORY = 4 * 2**30  # bytes of address space beyond what the imports take
EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
CHECKED = {"png", "png-16", "png-palette", "png-rgba", "store"}
STRUCTURED = "repaired"
EXPECTED = ("refused", "same", "other")


@cache
def samples() -> dict[str, bytes]:
    """Return one small valid file of each kind."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (20, 28, 3), dtype=np.uint8))
    ramp = Image.fromarray(np.linspace(0, 65535, 20 * 28).reshape(20, 28).astype(np.uint16))

    def saved(image: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=kind, **options)
        return buffer.getvalue()

    files = {
        "png": saved(colour, "PNG"),
        "png-16": saved(ramp, "PNG"),
        "png-palette": saved(colour.quantize(16), "PNG"),
        "png-rgba": saved(colour.convert("RGBA"), "PNG"),
        "jpeg": saved(colour, "JPEG", quality=90),
        "jpeg-progressive": saved(colour, "JPEG", progressive=True),
        "jpeg-grey": saved(colour.convert("L"), "JPEG"),
        "jpeg-cmyk": saved(colour.convert("CMYK"), "JPEG"),
        "webp": saved(colour, "WEBP"),
        "webp-lossless": saved(colour, "WEBP", lossless=True),
        "bmp": saved(colour, "BMP"),
        **{
            f"tiff-{name}": saved(colour, "TIFF", compression=name)
            for name in ("raw", "tiff_lzw", "tiff_adobe_deflate")
        },
        "tiff-packbits": saved(colour, "TIFF", compression="packbits"),
        "tiff-jpeg": saved(colour, "TIFF", compression="jpeg"),
        "tiff-16": saved(ramp, "TIFF"),
    }
    return files | {"store": _store(rng)}


def _store(rng: np.random.Generator) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "HR").mkdir()
        for name in ("a", "b", "c"):
            Image.fromarray(rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(place / "HR" / f"{name}.png")
        pack(plan_pack([place / "HR"], scale=4, name="fuzz"), place / "store.arrow", jobs=1)
        return (place / "store.arrow").read_bytes()


def damaged(number: int) -> tuple[str, list[str], bytes]:
    """Make input `number`; return its kind, the damages, its content."""
    draw = random.Random(number)
    kind = draw.choice(sorted(samples()))
    content, done = bytearray(samples()[kind]), []
    for _ in range(draw.randint(1, 3)):
        name = draw.choice(sorted(DAMAGES))
        if name == STRUCTURED and not kind.startswith("png"):
            name = "extreme"
        content = DAMAGES[name](content, draw)
        done.append(name)
    return kind, done, bytes(content)


def _place(content: bytearray, draw: random.Random) -> int:
    """Draw a position: anywhere, or near the beginning or the end, where headers are."""
    last = max(0, len(content) - 1)
    return min(last, draw.choice([draw.randint(0, last), draw.randint(0, 120), max(0, last - draw.randint(0, 400))]))


def _flip(content: bytearray, draw: random.Random) -> bytearray:
    if content:
        content[_place(content, draw)] ^= 1 << draw.randint(0, 7)
    return content


def _extreme(content: bytearray, draw: random.Random) -> bytearray:
    """Overwrite 1 to 4 bytes with an extreme number, in either byte order."""
    at, size = _place(content, draw), draw.choice([1, 2, 4])
    number = draw.choice(EXTREMES) & (256**size - 1)
    content[at : at + size] = number.to_bytes(size, draw.choice(["big", "little"]))
    return content


def _zero(content: bytearray, draw: random.Random) -> bytearray:
    at, length = _place(content, draw), draw.randint(1, 64)
    content[at : at + length] = bytes(len(content[at : at + length]))
    return content


def _delete(content: bytearray, draw: random.Random) -> bytearray:
    at = _place(content, draw)
    del content[at : at + draw.randint(1, 64)]
    return content


def _repeat(content: bytearray, draw: random.Random) -> bytearray:
    at = _place(content, draw)
    content[at:at] = content[at : at + draw.randint(1, 200)]
    return content


def _cut(content: bytearray, draw: random.Random) -> bytearray:
    return content[: _place(content, draw)]


def _splice(content: bytearray, draw: random.Random) -> bytearray:
    other = samples()[draw.choice(sorted(samples()))]
    at, start = _place(content, draw), draw.randint(0, len(other) - 1)
    piece = other[start : start + draw.randint(1, 200)]
    content[at : at + len(piece)] = piece
    return content


def _repaired(content: bytearray, draw: random.Random) -> bytearray:
    """Change the content of one PNG chunk and correct its checksum."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        if at + 12 + length > len(content):
            break
        chunks.append((at, length))
        at += 12 + length
    chosen = [(at, length) for at, length in chunks if length]
    if not chosen:
        return content
    at, length = draw.choice(chosen)
    body = bytearray(content[at + 8 : at + 8 + length])
    body = _extreme(body, draw)[:length] if draw.random() < 0.5 else _flip(body, draw)
    content[at + 8 : at + 8 + length] = body
    content[at + 8 + length : at + 12 + length] = struct.pack(">I", zlib.crc32(content[at + 4 : at + 8 + length]))
    return content


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytearray]] = {
    "flip": _flip,
    "extreme": _extreme,
    "zero": _zero,
    "delete": _delete,
    "repeat": _repeat,
    "cut": _cut,
    "splice": _splice,
    STRUCTURED: _repaired,
}


@cache
def _original(kind: str, folder: Path) -> list[np.ndarray]:
    path = folder / f"original-{kind}"
    path.write_bytes(samples()[kind])
    return _read(kind, path)


def _read(kind: str, path: Path) -> list[np.ndarray]:
    if kind != "store":
        return [decode_image(path, path.read_bytes())]
    store = open_store(path)
    return [image.copy() for side in (store.images, store.lq) for image in side]


def outcome(number: int, folder: Path) -> tuple[str, str]:
    """Read input `number`; return its kind and the outcome."""
    kind, done, content = damaged(number)
    path = folder / f"input.{'arrow' if kind == 'store' else kind.partition('-')[0]}"
    path.write_bytes(content)
    try:
        return kind, _evaluated(kind, done, path, folder)
    except (ImageError, StoreError) as error:
        return kind, "refused" if str(path) in str(error) and error.problem else "refused without its name"
    except BaseException as error:  # reading a file may raise nothing else
        return kind, f"{type(error).__name__}: {error}"[:120]
    finally:
        path.unlink()


def _evaluated(kind: str, done: list[str], path: Path, folder: Path) -> str:
    if kind == "store":
        problems = list(verify(path))  # must find all that reading refuses
        if any(problems):
            raise StoreError(path, "; ".join(filter(None, problems)))
    else:
        read_size(path)  # may refuse what decoding refuses
    images = _read(kind, path)
    if not all(image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size for image in images):
        return "wrong"
    original = _original(kind, folder)
    if len(images) == len(original) and all(map(np.array_equal, images, original)):
        return "same"
    return "wrong" if kind in CHECKED and STRUCTURED not in done else "other"


def work(first: int, last: int, step: int) -> None:
    """Read inputs first, first + step, ...; print the number before each and its outcome after."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + EXTRA_MEMORY, hard))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, last, step):
            print(json.dumps([number]), flush=True)
            print(json.dumps([number, *outcome(number, Path(folder))]), flush=True)
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]), flush=True)


class Worker:
    """A process that reads every n-th input, restarted after one that crashes or hangs it."""

    def __init__(self, first: int, last: int, step: int, errors: Path) -> None:
        self.last, self.step, self.errors = last, step, errors
        self.number = first - step
        self.finished = False
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "benchmarks.fuzz_data", "--work"]
        command += [str(number) for number in (self.number + self.step, self.last, self.step)]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.buffer, self.last_output = b"", time.monotonic() + 60  # for the imports
        self.peak = 0

    def outcomes(self) -> list[tuple[int, str, str]]:
        """Return number, kind and outcome of the inputs read since the last call."""
        assert self.process.stdout is not None
        ended = self.process.poll() is not None
        self.buffer += self.process.stdout.read() or b""
        *lines, self.buffer = self.buffer.split(b"\n")
        found = []
        for line in map(json.loads, lines):
            self.last_output = time.monotonic()
            if len(line) == 3:
                found.append(tuple(line))
            elif self.number + self.step < self.last:
                self.number = line[0]
            else:
                self.peak, self.finished = line[0], True
        if self.finished or (ended and self.process.returncode == 0):
            self.finished = True
        elif ended or time.monotonic() - self.last_output > LIMIT_SECONDS:
            found.append((self.number, damaged(self.number)[0], "crash" if ended else "hang"))
            self.process.kill()
            self.process.wait()
            self._start()
        return found


def main() -> int:
    """Fuzz, print a table and one JSON line; return 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first input's number")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _supervise(options.first, options.inputs, options.workers, Path(folder))


def _supervise(first: int, inputs: int, count: int, folder: Path) -> int:
    workers = [Worker(first + offset, first + inputs, count, folder / f"{offset}.log") for offset in range(count)]
    counts: Counter[tuple[str, str]] = Counter()
    failures = []
    started = reported = time.monotonic()
    while not all(worker.finished for worker in workers):
        time.sleep(0.05)
        for worker in workers:
            for number, kind, what in [] if worker.finished else worker.outcomes():
                counts[kind, what if what in EXPECTED else "failed"] += 1
                failures += [] if what in EXPECTED else [(number, kind, what)]
        if time.monotonic() - reported > 10:
            reported, done = time.monotonic(), counts.total()
            print(f"{done} of {inputs}, {(reported - started) / max(done, 1) * (inputs - done):.0f} s left", flush=True)
    _print(counts, failures)
    totals = {what: sum(n for (_, w), n in counts.items() if w == what) for what in (*EXPECTED, "failed")}
    noise = sum(worker.errors.stat().st_size for worker in workers)
    peak = max(worker.peak for worker in workers) // 1024
    print(
        json.dumps(
            {
                "benchmark": "fuzz_data",
                "inputs": counts.total(),
                **totals,
                "decoders_stderr_bytes": noise,
                "peak_mib": peak,
            }
        )
    )
    return 1 if failures else 0


def _print(counts: Counter[tuple[str, str]], failures: list[tuple[int, str, str]]) -> None:
    columns = (*EXPECTED, "failed")
    print(f"{'kind':26}" + "".join(f"{column:>9}" for column in columns))
    for kind in sorted({kind for kind, _ in counts}):
        print(f"{kind:26}" + "".join(f"{counts[kind, column]:9}" for column in columns))
    for number, kind, what in failures[:20]:
        print(f"input {number} ({kind}, {', '.join(damaged(number)[1])}): {what}")


if __name__ == "__main__":
    sys.exit(main())
