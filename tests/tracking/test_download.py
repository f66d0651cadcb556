"""A study fetched from MLflow is the study that was sent, or an error names what is missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.statistics.tables import load_results
from study.record.events import FilesPublished, TrialEnded, TrialStarted
from study.record.metadata import read_metadata
from study.tracking.download import MlflowSourceError, fetch_study
from tests.record.lines import line_of
from tests.tracking.journals import evaluated, write_study

SAMPLES = "trials/0000/points/0000080"
Send = Callable[..., str]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An MLflow database; each test's study has an experiment of its own."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    MlflowClient(uri).search_experiments()
    return uri


@pytest.fixture
def send(uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> Send:
    """Put a journal into MLflow, in segments as the exporter leaves them; returns the parent's run id."""
    name = request.node.name.replace("[", "-").strip("]")

    def send(segments: dict[int, bytes], *, study: str = "0af1", metadata: bool = True, size: int = 0) -> str:
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else client.create_experiment(name, (tmp_path / "artifacts").as_uri())
        tags = {"aesop.study": study, "aesop.part": "study", "journal.bytes": str(size)}
        parent = client.create_run(experiment, tags=tags).info.run_id
        child = client.create_run(experiment, tags={"aesop.study": study, "aesop.part": "trial-0000"}).info.run_id
        client.log_text(child, "a crop", "samples/0000080/baby.png")
        for offset, segment in segments.items():
            client.log_text(parent, segment.decode(), f"journal/{offset:012d}.jsonl")
        if metadata:
            write_study(tmp_path / "sent", name=name, id=study)
            client.log_artifact(parent, str(tmp_path / "sent" / "study.json"))
            (tmp_path / "sent" / "study.json").unlink()
        return str(parent)

    return send


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name.replace("[", "-").strip("]"))


def crops(*paths: str) -> FilesPublished:
    return FilesPublished(trial=0, folder="samples/0000080", paths=paths, content="x")


LINES = [
    line_of(number, 1.0, event).encode()
    for number, event in enumerate(
        (
            TrialStarted(trial=0, config={"loss": {"guidance": "aesop"}}, params={}, upstream={}),
            evaluated(0, 80, {"psnr_y": 28.0, "swd": 20.0}, samples=SAMPLES),
            TrialEnded(trial=0, state="COMPLETE"),
            crops(f"{SAMPLES}/baby.png"),
            FilesPublished(trial=None, folder="report", paths=("report.html",), content="y"),
        ),
        start=1,
    )
]
JOURNAL = b"".join(LINES)
ENDS = [sum(map(len, LINES[:count])) for count in range(len(LINES) + 1)]


@pytest.mark.parametrize(
    "cuts",
    [
        [(0, 5)],
        [(0, 2), (2, 3), (3, 5)],
        [(0, 2), (0, 3), (2, 3), (1, 2), (3, 5)],  # a driver that died before it saved the cursor
    ],
)
def test_segments_are_joined_into_the_journal(
    uri: str, name: str, send: Send, tmp_path: Path, cuts: list[tuple[int, int]]
) -> None:
    send({ENDS[first]: JOURNAL[ENDS[first] : ENDS[last]] for first, last in sorted(cuts, key=lambda cut: cut[1])})
    folder = fetch_study(uri, name, tmp_path / "fetched")
    assert (folder / "journal.jsonl").read_bytes() == JOURNAL
    results = load_results(folder)
    assert read_metadata(folder).name == name
    assert results.points[["trial", "iteration", "psnr_y", "state"]].values.tolist() == [[0, 80, 28.0, "COMPLETE"]]
    assert results.points["config.loss.guidance"].tolist() == ["aesop"]
    assert (folder / results.points["samples"][0] / "baby.png").read_text() == "a crop"
    assert not (folder / "report.html").exists()


def test_fetching_replaces_earlier_downloads_but_no_run_directory(
    uri: str, name: str, send: Send, tmp_path: Path
) -> None:
    send({0: JOURNAL})
    fetch_study(uri, name, tmp_path / "fetched")
    (tmp_path / "fetched" / "journal.jsonl").write_text("older")
    fetch_study(uri, name, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "journal.jsonl").read_bytes() == JOURNAL
    (tmp_path / "fetched" / ".driver.lock").touch()
    with pytest.raises(MlflowSourceError, match="was run in; name another"):
        fetch_study(uri, name, tmp_path / "fetched")


def test_missing_segment_is_named(uri: str, name: str, send: Send, tmp_path: Path) -> None:
    send({0: JOURNAL[: ENDS[1]], ENDS[2]: JOURNAL[ENDS[2] :]})
    with pytest.raises(MlflowSourceError, match=f"lacks the segment journal/{ENDS[1]:012d}.jsonl"):
        fetch_study(uri, name, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_missing_last_segment_is_named(uri: str, name: str, send: Send, tmp_path: Path) -> None:
    send({0: JOURNAL[: ENDS[3]]}, size=len(JOURNAL))
    with pytest.raises(MlflowSourceError, match=f"lacks the segment journal/{ENDS[3]:012d}.jsonl"):
        fetch_study(uri, name, tmp_path / "fetched")


def test_study_without_metadata_is_refused(uri: str, name: str, send: Send, tmp_path: Path) -> None:
    send({}, metadata=False)
    with pytest.raises(MlflowSourceError, match=r"no study\.json; it comes within a minute"):
        fetch_study(uri, name, tmp_path / "fetched")


def test_unknown_name_is_answered_with_the_known_ones(uri: str, name: str, send: Send, tmp_path: Path) -> None:
    send({0: JOURNAL})
    with pytest.raises(MlflowSourceError, match=f"no study 'nothing'; there are: .*{name}"):
        fetch_study(uri, "nothing", tmp_path / "fetched")


def test_studies_of_one_name_are_chosen_by_id(uri: str, name: str, send: Send, tmp_path: Path) -> None:
    send({0: JOURNAL}, study="0af1")
    send({0: JOURNAL[: ENDS[2]]}, study="9b22")
    with pytest.raises(MlflowSourceError, match=r"2 studies are called .*/(0af1|9b22), .*/(0af1|9b22)"):
        fetch_study(uri, name, tmp_path / "fetched")
    fetch_study(uri, f"{name}/9b", tmp_path / "fetched")
    assert (tmp_path / "fetched" / "journal.jsonl").read_bytes() == JOURNAL[: ENDS[2]]
    with pytest.raises(MlflowSourceError, match="no study is called"):
        fetch_study(uri, f"{name}/77", tmp_path / "fetched")


def test_paths_in_the_journal_stay_inside_the_directory(uri: str, name: str, send: Send, tmp_path: Path) -> None:
    hostile = crops("../baby.png", "/tmp/baby.png", "study.json")
    send({0: LINES[0] + line_of(2, 1.0, hostile).encode()})
    folder = fetch_study(uri, name, tmp_path / "fetched")
    assert {path.name for path in folder.rglob("*")} == {"study.json", "journal.jsonl"}
    assert not (tmp_path / "baby.png").exists()


def test_unreachable_server_is_named_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowSourceError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be read") as caught:
        fetch_study("http://me:secret@127.0.0.1:9", "quick", tmp_path / "fetched")
    assert "secret" not in str(caught.value)


def test_missing_database_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(MlflowSourceError, match="there is no database"):
        fetch_study(f"sqlite:///{tmp_path / 'none.db'}", "quick", tmp_path / "fetched")
    assert not (tmp_path / "none.db").exists()
