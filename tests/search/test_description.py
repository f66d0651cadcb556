"""What identifies a study: each setting that a resumed study cannot change is compared under its own name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from study.config import RunConfig
from study.record.goals import Constraint, Goals
from study.record.metadata import OccupiedError, SearchInfo, write_metadata
from study.search.asha import Rungs
from study.search.description import Description, describe, objectives_of
from study.search.plan import SearchPlan
from study.search.repetition import Repetition
from study.training.context import RunContext


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": SearchInfo("aesop", 12, 5)}, "differs in --seed (there 0, here 5)."),
        ({"plan": SearchPlan(sampler="random")}, "differs in --sampler (there tpe, here random)."),
        (
            {"plan": SearchPlan(rungs=Rungs(20))},
            "differs in --grace-period (there None, here 20); --reduction-factor (there None, here 3.0); --tie-break",
        ),
        (
            {"plan": SearchPlan(constraints=(Constraint("swd", "<=", 9.0),))},
            "differs in --constraint (there [], here [",
        ),
        (
            {"plan": SearchPlan(warm_start=Path("runs/a"), learn=True)},
            "--warm-start (there None, here runs/a); --learn",
        ),
        ({"plan": SearchPlan(repeat=Repetition(Path("a")))}, "--repeat (there None, here a); --repeat-members"),
        (
            {"space_fingerprint": "cd"},
            "(there ab, here cd). Go back to its original settings, or name another --output. ",
        ),
    ],
)
def test_another_setting_is_named_with_its_option(
    change: dict[str, object],
    said: str,
    open_context: Callable[[Path], RunContext],
    small_run: RunConfig,
    tmp_path: Path,
) -> None:
    context = open_context(tmp_path / "artifacts")
    goals = Goals(objectives_of(context), {"psnr_y": 20.0, "swd": 60.0})
    study = Description("one", SearchInfo("aesop", 12, 0), "ab", small_run, goals, [], SearchPlan())
    write_metadata(tmp_path, describe(study, context))
    more = SearchInfo("aesop", 24, 0)
    write_metadata(tmp_path, describe(replace(study, search=more, plan=SearchPlan(device_hours=1)), context))
    with pytest.raises(OccupiedError) as caught:
        write_metadata(tmp_path, describe(replace(study, **change), context))
    assert said in str(caught.value)
