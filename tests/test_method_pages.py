"""The pages of docs/methods against the code: settings, commands, and all named files, tests and fields."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import study.sweep
import study.train
from study.command_config import check_set, with_options
from study.config import RunConfig, flatten, known_paths, to_dict
from study.config.recipes import RECIPES, get_recipe
from study.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs" / "methods").glob("*.md"))}
METHOD_PAGES = sorted(set(PAGES) - {"README.md", "generators.md", "metrics.md"})
SECTIONS = ["Idea", "Equation", "Recipe", "Source", "Verified", "Where in the code"]
SIZES = ("full", "small", "tiny")

HEADER = re.compile(
    r"^\| `(?P<recipe>[\w-]+)`(?:, otherwise `(?P<base>[\w-]+)`)?(?:, [^|`]+)? \| full \| small \| tiny \|$"
)
FOLDERS = ("study", "tests", "search_spaces", "analysis", "benchmarks", "docs")
Settings = dict[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Table:
    """One table of settings: a row per field, a column per size; `base` is the recipe of the other fields."""

    recipe: str
    base: str | None
    rows: Settings


def value_of(cell: str) -> Any:
    """Parse a cell: none, true, a word, a number (1,000, 1e-4, 2/3), or a list of these."""
    if cell.startswith("["):
        inside = cell[1:-1]
        return [value_of(part) for part in inside.split(", ")] if inside else []
    if cell in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[cell]
    try:
        return float(Fraction(cell.replace(",", "")))
    except ValueError:
        return cell


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables_of(text: str) -> Iterator[Table]:
    lines = text.splitlines()
    for number, line in enumerate(lines):
        header = HEADER.match(line)
        if header is None:
            continue
        rows: Settings = {}
        for row in lines[number + 2 :]:
            if not row.startswith("|"):
                break
            path, *cells = cells_of(row)
            assert path.strip("`") not in rows, f"{header['recipe']} has {path} twice"
            rows[path.strip("`")] = tuple(value_of(cell) for cell in cells)
        yield Table(header["recipe"], header["base"], rows)


TABLES = [table for text in PAGES.values() for table in tables_of(text)]


@cache
def settings_of(recipe: str) -> Settings:
    """Return every field of a recipe at each size; None for a missing one."""
    sizes = [flatten(to_dict(get_recipe(recipe, size))) for size in SIZES]
    return {
        path: tuple(fields.get(path) for fields in sizes) for path in dict.fromkeys(key for s in sizes for key in s)
    }


def code_of(text: str) -> list[str]:
    """Return the text in backticks outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands_of(text: str) -> list[list[str]]:
    """Return the commands in code blocks, without the interpreter."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]
    words = [shlex.split(line, comments=True) for line in lines]
    assert all(line[0] == ".venv/bin/python" for line in words), "commands begin with .venv/bin/python"
    return [line[1:] for line in words]


COMMANDS = [command for text in PAGES.values() for command in commands_of(text)]


def test_every_recipe_has_its_settings_on_a_page() -> None:
    assert {table.recipe for table in TABLES} == set(RECIPES)
    assert all(table.rows for table in TABLES)
    index = set(code_of(PAGES["README.md"]))
    assert set(RECIPES) <= index


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_settings_are_the_recipes(recipe: str) -> None:
    expected = settings_of(recipe)
    for table in (table for table in TABLES if table.recipe == recipe):
        for path, values in table.rows.items():
            assert values == expected[path], f"{recipe}: {path} is {expected[path]}"


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_table_has_all_changes_of_a_recipe(recipe: str) -> None:
    """A table has the budget and all differences from its base, or without one all weights and differences of sizes."""
    expected = settings_of(recipe)
    tables = [table for table in TABLES if table.recipe == recipe]
    listed = {path for table in tables for path in table.rows}
    bases = {table.base for table in tables if table.base is not None}
    assert len(bases) <= 1
    if bases:
        other = settings_of(bases.pop())
        needed = {path for path, values in expected.items() if other.get(path) != values}
    else:
        needed = {path for path, values in expected.items() if len({repr(value) for value in values}) > 1}
        needed |= {f"loss.{term}" for term, weight in get_recipe(recipe).loss.weights.items() if weight > 0}
    needed |= {f"budget.{part}" for part in ("iterations", "batch", "patch")}
    left_out = ("recipe", "size", "eval_schedule.", "autoencoder.decoder_fidelity.")
    assert {path for path in needed if not path.startswith(left_out)} <= listed


def test_swinirs_decoder_starts_as_aesops() -> None:
    """As swinir.md states instead of listing the fields."""
    for recipe in (name for name in RECIPES if name.startswith("swinir")):
        start = "autoencoder.decoder_fidelity."
        theirs = {path.removeprefix(start): v for path, v in settings_of(recipe).items() if path.startswith(start)}
        of_aesop = {
            p.removeprefix("fidelity."): v for p, v in settings_of("aesop").items() if p.startswith("fidelity.")
        }
        assert theirs == of_aesop


@pytest.mark.parametrize("page", PAGES)
def test_named_files_and_tests_exist(page: str) -> None:
    file: Path | None = None
    for code in code_of(PAGES[page]):
        place, colons, test = code.partition("::")
        if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", place):
            file = ROOT / place
            assert file.exists(), f"{page} names {place}"
        if colons and (place == "" or file == ROOT / place):
            assert file is not None
            assert test in functions_of(file), f"{page} names {file.name}::{test}"


@cache
def functions_of(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_named_fields_exist(page: str) -> None:
    known = set(known_paths()) | {"fidelity", "autoencoder.decoder_fidelity"}
    parts = {path.partition(".")[0] for path in known}
    for code in code_of(PAGES[page]):
        path = code.partition("=")[0]
        if re.fullmatch(r"[a-z_]+(\.\w+)+", path) and path.partition(".")[0] in parts and not path.endswith(".py"):
            below = [name for name in known if name.startswith(path + ".")]
            assert path in known or below, f"{page} names {path}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGES[page]):
        assert (ROOT / "docs" / "methods" / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", METHOD_PAGES)
def test_a_method_page_has_its_sections(page: str) -> None:
    assert re.findall(r"^## (.+)$", PAGES[page], flags=re.MULTILINE) == SECTIONS
    assert f"({page})" in PAGES["README.md"]


def configuration_of(command: list[str]) -> RunConfig:
    options = study.train._parse(command[1:])
    recipe = get_recipe(options.recipe, options.size or "full")
    config = with_options(recipe, options, "fp32")
    check_set(options, recipe, [config], options.until or "adversarial")
    return config


def test_every_recipe_has_a_command_and_every_command_is_one() -> None:
    trained = [configuration_of(command).recipe for command in COMMANDS if command[0] == "study/train.py"]
    assert set(trained) == set(RECIPES)
    for command in COMMANDS:
        assert (ROOT / command[0]).is_file()
        if command[0] == "study/sweep.py":
            space = study.sweep._parse(command[1:]).space
            assert (ROOT / "search_spaces" / f"{space}.py").is_file()


def test_the_table_of_metrics_is_the_codes() -> None:
    rows = [cells_of(line) for line in PAGES["metrics.md"].splitlines() if re.match(r"^\| `\w+` \|", line)]
    better = {"maximize": "up", "minimize": "down"}
    expected = {
        f"`{name}`": [info.colour, str(info.crop), better[info.direction], str(info.smallest_side)]
        for name, info in METRICS.items()
    }
    expected["`null_energy`"][2] = "-"  # neither is better
    assert {row[0]: row[1:5] for row in rows} == expected


def test_errors_on_a_page_are_found() -> None:
    text = "| `ldl`, otherwise `aesop` | full | small | tiny |\n|---|---|---|---|\n| `budget.batch` | 64 | 17 | 4 |\n"
    (table,) = tables_of(text)
    assert (table.recipe, table.base) == ("ldl", "aesop")
    assert table.rows["budget.batch"] != settings_of("ldl")["budget.batch"]
    assert [value_of(cell) for cell in ("2/3", "1e-4", "300,000", "[0.9, 0.99]", "[]", "none", "vgg19")] == [
        2 / 3,
        1e-4,
        300_000,
        [0.9, 0.99],
        [],
        None,
        "vgg19",
    ]
