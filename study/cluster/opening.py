"""The files of a study as its driver opens them: the journal first, then what follows from it."""

from rich.console import Console

from study.cluster.study import Study
from study.files import write_atomically
from study.record.events import TrialEnded
from study.record.goals import Goals
from study.record.journal import Journal
from study.record.state import Recorder, StudyRecord
from study.record.stored import describe_study, repair_journal
from study.search.description import describe, write_custom_losses
from study.search.open_trials import open_trials
from study.search.trials import TrialSource
from study.search.warm_start import WarmStart
from study.training.context import RunContext


def open_study(study: Study, context: RunContext, goals: Goals, console: Console) -> tuple[Recorder, TrialSource]:
    """Open the study's journal, `study.json` and Optuna's database; say what was damaged and is repaired."""

    def say(*sentences: str) -> None:
        for sentence in sentences:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    say(*repair_journal(study.output))
    recorder = Recorder(Journal(study.run_dir.journal))
    recorder.try_again()
    metadata = describe_study(study.output, describe(study.description(context), context), recorder)
    write_custom_losses(study.output, context)
    write_atomically(study.run_dir.space, study.space.text.encode())
    say(*started_beyond(study.trials, recorder.record))
    source, note = open_trials(
        lambda: _trial_source(study, goals, metadata.name, study.earlier(context)),
        study.run_dir,
        recorder.record,
        lambda source, ended: tell(source, recorder.record, goals, ended),
    )
    say(*([] if note is None else [note]))
    return recorder, source


def started_beyond(trials: int, record: StudyRecord) -> list[str]:
    """Return what to say where more trials were started than a resumed study is to have."""
    started = len(record.trials)
    if started <= trials:
        return []
    return [
        f"{started} trials were started before, so --trials {trials} draws no more; unfinished ones are continued. "
        f"For further trials give --trials above {started}"
    ]


def _trial_source(study: Study, goals: Goals, name: str, earlier: WarmStart | None) -> TrialSource:
    """Open Optuna's study, or create it with its first trials."""
    return TrialSource(
        study.run_dir.optuna,
        name,
        list(goals.directions),
        study.space,
        study.base,
        seed=study.seed,
        sampler=study.search.sampler,
        trials=study.trials,
        warm_start=earlier,
        repeated=study.repeated(),
        metrics=list(goals.metrics),
    )


def tell(source: TrialSource, record: StudyRecord, goals: Goals, ended: TrialEnded) -> None:
    """Tell Optuna how a trial ended; one that is tried again stays open there, since Optuna cannot reopen it."""
    if ended.retry:
        return
    metrics = record.last_metrics(ended.trial)
    values = None if metrics is None else goals.values(metrics)
    violations = {str(each): each.violation(metrics or {}) for each in goals.constraints}
    source.tell(ended.trial, ended.state, values, ended.cause, violations)
