"""Requests to stop, left as files in the study's directory, where the workers of every node look for them."""

from contextlib import suppress
from pathlib import Path

EVERYONE = "everyone"


class StopNotices:
    """What has been asked to stop: a job by its name, or `EVERYONE`.

    A worker looks at each of its training loop's looks; on a network file system it may see a notice some seconds late.
    """

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / ".stop"

    def put_up(self, name: str) -> None:
        """Ask a job, or everyone, to save what it has and stop; where that cannot be written, nobody is asked."""
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            (self._folder / name).touch()

    def take_down(self, name: str) -> None:
        """Let it go on, the next time that it is started."""
        with suppress(OSError):
            (self._folder / name).unlink()

    def asks(self, name: str) -> bool:
        """Whether a job is to stop."""
        return (self._folder / EVERYONE).exists() or (self._folder / name).exists()
