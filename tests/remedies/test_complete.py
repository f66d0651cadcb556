"""Each remedy that a message names works; a message without a pair has a test elsewhere, or a reason for neither."""

from pathlib import Path

import pytest

from tests.remedies import config_remedies, data_remedies, option_remedies, run_remedies
from tests.remedies.pairs import Pair, containing, said_by
from tests.remedies.source import ROOT, messages

PAIRS = [
    *config_remedies.PAIRS,
    *option_remedies.PAIRS,
    *data_remedies.PAIRS,
    *run_remedies.PAIRS,
]

TRIED_ELSEWHERE = {  # part of the message: the test that applies its remedy
    "loss.perceptual_network is {name}, whose published": "tests/test_remedies.py::test_each_remedy_for_a_missing",
    " with --set {field}={value}": "tests/test_remedies.py::test_each_remedy_for_a_missing_network_works_in_a_study",
    "with which the search begins, is {value}; choose one": "tests/test_remedies.py::test_a_space_of_another_size",
    "do not continue {done}: {problem}": "tests/config/test_extension.py::test_the_fields_that_a_refusal_names",
    "--set {=}": "tests/config/test_extension.py::test_the_fields_that_a_refusal_names",
    "is in use by a running driver": "tests/record/test_driver_lock.py::test_a_running_driver_is_named_and",
    "restore it in the UI or by": "tests/tracking/test_exporter.py::test_a_deleted_experiment_is_named",
    "mlflow runs restore --run-id": "tests/tracking/test_exporter.py::test_a_deleted_run_is_named_and_continued_once",
    "submit it as a job: ray job submit": "tests/cluster/test_job_submission.py::test_the_readmes_commands_run_a_job",
}

NOT_TRIED = {  # part of the message: why its remedy cannot be applied here
    # Needs another machine, or Ray in a state that a test cannot have it in
    "cannot be reached within": "the remedy is to look at another machine",
    "is an HTTP server": "the remedy is another port of a running cluster",
    "accepts connections, but no Ray answers": "the remedy is to look at another machine",
    "rejects the connection": "the remedy is a cluster's token",
    "requires a token, and none was found": "the remedy is a cluster's token",
    "by RAY_AUTH_TOKEN_PATH (a file)": "the remedy is a cluster's token",
    "give the port of `ray start --head`": "the remedy is another port of a running cluster",
    "--address auto found no Ray": "the remedy is to start Ray, which other tests share",
    "did not respond ({reason})": "the remedy is to look at another machine",
    "does not exist on node {": "needs a file system that several machines mount",
    "a job needs {": "needs a cluster that is too small, and one that is not",
    "--pack auto measures GPU memory, but there": "takes half a minute; the remedy is to leave an option out",
    "--pack auto measures GPU memory, but the": "needs a cluster with a GPU",
    "reduce budget.batch or budget.patch": "needs a GPU that is too small",
    "This device has no instructions for bfloat16": "needs such a device",
    # Needs the internet, or an installation without a package
    "on a machine with internet: python study/prepare.py weights": "needs the internet",
    "use them: --weights {": "needs the internet",
    "pip install 'torchmetrics>=1.7'": "needs an installation without the package",
    "pip install lpips": "needs an installation without the package",
    "pip install lmdb": "needs an installation without the package",
    # Needs a study that Ray ran, resumed in a way that takes a minute
    "the run directory was moved, or another program": "needs a study that runs while it is moved",
    "are not those with which the study was started": "needs a study that runs while its images change",
    "nothing is lost: run the same command with --resume": "tests/cluster/test_study.py resumes studies",
    "could not record an event": "tests/cluster/test_study.py resumes studies",
    "has locked Optuna's database": "tests/cluster/test_study.py resumes studies",
    "records wait for MLflow; --resume sends them": "tests/cluster/test_study.py resumes studies",
    "Continue the study with --resume: it repairs": "tests/cluster/test_study.py resumes studies",
    "run the command of that study once more with --resume": "tests/cluster/test_study.py resumes studies",
    "run its sweep once more with --resume": "tests/cluster/test_study.py resumes studies",
    "within a minute of a study's start, or with its --resume": "tests/cluster/test_study.py resumes studies",
    "it differs in {different}. Go back to its original": "tests/cluster/test_study.py resumes studies",
    "For further trials give --trials above": "tests/cluster/test_study.py resumes studies",
    # The remedy is the common case, or an edit of the user's own file
    "name a directory that study/sweep.py wrote": "every other test of --warm-start names one",
    "Leave --warm-start out": "the remedy is to leave an option out",
    "leave --warm-start out": "the remedy is to leave an option out",
    "contradicts {}, which is x{factor}; leave --scale out": "the remedy is to leave an option out",
    "Leave --learn-from-trials out": "the remedy is to leave an option out",
    "in the search space, which draws {field}": "the remedy is an edit of the user's space",
    "set a worse REFERENCE in the search space": "the remedy is an edit of the user's space",
    "name a --val with more": "the remedy is another study",
    "cannot be trained further without its state": "the remedy is a file of the user's own backup",
    "--output cannot be written: {": "needs a file system that fails after it was found writable",
    "lower critics.learning_rate": "needs critics that diverge, which depends on the machine",
    "lower loss.{weight}": "needs an adversarial stage that diverges, which depends on the machine",
    "or in the folder that AESOP_ARTIFACTS names": "tests/analysis/notebooks run the notebook",
}

NO_REMEDY = {  # part of a text that names an option or a command without an advice: what it is
    "--weights ({": "the name of a path, in another message",
    "{option} {run_dir}": "the name of a study, in another message",
    "storage: {": "a line of --dry-run",
    "all checks passed; the same command": "a line of --dry-run",
    "--device-hours or --plateau may end it": "a line of --dry-run",
    "GPU memory: at most": "a line of --dry-run",
    "a folder of yours (--weights)": "the name of a place, in another message",
    "of --device-hours {": "why a search has ended",
    "--pack auto: {": "a result",
    "--repeat {": "a result",
    ", since optimiser.milestones are": "a cause, in another message",
    ", since the periods of optimiser.schedule": "a cause, in another message",
    "data.{name} must be a number": "a fault of a run directory of others",
    "budget.iterations alone may grow": "a rule, in another message",
    "not in the file; the photographs of data.train": "a note",
    "not in the file; without --val, a part": "a note",
    "BasicSR trains in fp32, as --precision fp32": "a note",
    "ui --backend-store-uri": "a command for the user",
    "report: python analysis/report.py": "a command for the user",
}


@pytest.mark.parametrize("tried", PAIRS, ids=[each.said[0][:50] for each in PAIRS])
def test_each_remedy_works(tried: Pair, tmp_path: Path) -> None:
    assert tried.remedies
    before = said_by(tried.provoke, tmp_path, may_fail=True)
    for part in tried.said:
        assert any(message.pattern.search(before) for message in containing(part)), f"{part!r} is not in: {before}"
    for remedy in tried.remedies:
        after = said_by(remedy, tmp_path, may_fail=False)
        assert not any(message.pattern.search(after) for message in containing(tried.said[0])), after


def test_every_message_with_a_remedy_is_tried() -> None:
    known = [part for tried in PAIRS for part in tried.said] + [*TRIED_ELSEWHERE, *NOT_TRIED, *NO_REMEDY]
    missing = [f"{each.place}: {each.text}" for each in messages() if not any(part in each.text for part in known)]
    assert not missing, (
        "these messages name a remedy that no test applies; add a pair(part of the message, what provokes it, the "
        "remedy) to the PAIRS of a file in tests/remedies, or the part with a reason to a table in this file:\n"
        + "\n".join(missing)
    )


def test_every_entry_of_the_tables_stands_for_a_message() -> None:
    for part in [*TRIED_ELSEWHERE, *NOT_TRIED, *NO_REMEDY]:
        assert containing(part)


def test_the_tests_elsewhere_exist() -> None:
    for named in TRIED_ELSEWHERE.values():
        file, _, name = named.partition("::")
        assert f"def {name}" in (ROOT / file).read_text(), named
