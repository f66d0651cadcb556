"""Each notebook runs from top to bottom on a study, and on one that lacks nearly everything."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from study.record.events import PointEvaluated, TrialStarted
from study.record.metadata import StudyMetadata

FOLDER = Path(__file__).resolve().parents[3] / "analysis/notebooks"
NAMES = ("bottleneck", "loss_weights", "methods", "patch_size", "trade_offs")

# What each must show of the made study, as (call, how many pictures, captions of its tables).
SHOWN = {
    "trade_offs": [
        ("notebook.front(", 1, ()),
        ("notebook.groups(", 0, ("By guidance", "By bottleneck channels", "By patch")),
        ("notebook.front_members(", 0, ("The front",)),
        ("notebook.bands(", 1, ()),
        ("notebook.comparison(", 0, ("By guidance, at equal cost", "By patch, at equal cost")),
        ("notebook.anytime(", 1, ()),
        ("notebook.crops(", 3 * 7, ()),
        ("notebook.paper_figure(", 1, ()),
    ],
    "bottleneck": [
        ("notebook.front(", 1, ()),
        ("notebook.groups(", 0, ("By bottleneck channels",)),
        ("notebook.comparison(", 0, ("By bottleneck channels, at equal cost",)),
        ("notebook.autoencoders(", 0, ("Auto-encoded HR images against the HR images",)),
    ],
    "loss_weights": [
        ("notebook.weights(", 0, ("The weights of the loss terms",)),
        ("notebook.weight_slices(", 1, ()),
    ],
    "patch_size": [
        ("notebook.front(", 1, ()),
        ("notebook.cross_tabulation(", 0, ("Trials by patch and guidance",)),
        ("notebook.at_equal_pixels(", 1, ("By patch, at equal pixels",)),
        ("notebook.iteration_cost(", 1, ("Cost of an iteration, by patch",)),
    ],
    "methods": [
        ("notebook.groups(", 0, ("By guidance",)),
        (
            "notebook.pairwise(",
            0,
            ("Share of draws in which the row&#x27;s front dominates the column&#x27;s, by guidance",),
        ),
        ("notebook.metrics(", 1, ("Front members by guidance: mean (lowest to highest) of each metric",)),
    ],
}
# What each notebook says of a study without a trial.
SAID_OF_NOTHING = {
    "trade_offs": "This study has no point yet, so there is nothing to draw.",
    "bottleneck": "No loss maps: they need sample crops",
    "loss_weights": "This study does not vary the weight of any loss term.",
    "patch_size": "No point of this study&#x27;s 0 trials has budget.patch, so there is nothing to compare here.",
    "methods": "so there is nothing to compare here.",
}


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One kernel for all, for imports take longer than the notebooks; it is emptied before each."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def execute(kernel: KernelManager) -> Callable[[str, Path], dict[str, dict[str, Any]]]:
    def run(name: str, study: Path) -> dict[str, dict[str, Any]]:
        """Run a notebook on a study; its outputs by the cells' source."""
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
        begin = f"%reset -f\nimport os\nos.chdir({str(FOLDER)!r})\nos.environ['AESOP_STUDY'] = {str(study)!r}"
        notebook.cells.insert(0, nbformat.v4.new_code_cell(begin))
        NotebookClient(notebook, km=kernel, timeout=120).execute()  # raises what a cell raises
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [output for cell in code for output in cell.outputs if output.output_type == "stream"] == []
        return {cell.source: output.data for cell in code for output in cell.outputs}

    return run


@pytest.mark.parametrize("name", NAMES)
def test_on_a_study(name: str, execute: Callable, full_run: Path) -> None:
    outputs = execute(name, full_run)
    for call, pictures, captions in SHOWN[name]:
        (html,) = [data["text/html"] for source, data in outputs.items() if call in source]
        assert len(re.findall(r'<img src="data:image/png;base64,', html)) == pictures, call
        found = re.findall(r"<caption[^>]*>(.*?)</caption>", html)
        assert set(captions) <= set(found), call


@pytest.mark.parametrize("name", NAMES)
def test_on_a_study_without_a_trial(name: str, execute: Callable, metadata: StudyMetadata, write_run: Callable) -> None:
    outputs = execute(name, write_run(metadata, []))
    shown = "".join(data.get("text/html", "") for data in outputs.values())
    assert SAID_OF_NOTHING[name] in shown
    assert "<img" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_on_a_single_point(
    name: str, execute: Callable, metadata: StudyMetadata, study_events: list, write_run: Callable
) -> None:
    """Nothing varies, nothing can be compared, there are no crops."""
    begun = next(event for event in study_events if isinstance(event, TrialStarted))
    point = next(event for event in study_events if isinstance(event, PointEvaluated))
    outputs = execute(name, write_run(metadata, [begun, point]))
    shown = "".join(data.get("text/html", "") for data in outputs.values())
    if name in ("patch_size", "bottleneck", "methods"):
        assert "There is nothing to compare here: in this study, " in shown
    if name == "trade_offs":
        assert "holds no sample crops" in shown


def test_committed_without_outputs_and_traces_of_machines() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == sorted(NAMES)
    for name in NAMES:
        notebook = json.loads((FOLDER / f"{name}.ipynb").read_text())
        nbformat.validate(notebook)
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
        assert {key for cell in notebook["cells"] for key in cell["metadata"]} == {"tags"}
        assert notebook["metadata"] == {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }


def test_no_numbers_in_words() -> None:
    """What the text says has to hold for any study: numbers come from cells."""
    for name in NAMES:
        cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        # The widths are those of paper, the figure is one of the AESOP paper's, and intervals hold 0 or they do not.
        assert set(re.findall(r"\d[\d.]*\d|\d", text)) <= {"3.35", "6.9", "2", "0"}


def test_thin() -> None:
    """No function is defined in a notebook, and no cell is long."""
    for name in NAMES:
        cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        assert all(not re.search(r"^\s*(def|class|for|while) ", source, re.M) for source in code)
        assert max(len(source.splitlines()) for source in code) <= 8
