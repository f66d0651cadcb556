"""The parser of every entry point: whole names, repeated options, options that were renamed."""

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from study.formatting import one_line

_SEVERAL = dict.fromkeys(
    ("--data", "--val"), "pack the folders into one store, study/prepare.py pack A B --output both.arrow, and name that"
)
"""What to do, by option, where several values are meant."""


class CommandParser(argparse.ArgumentParser):
    """A parser that takes options by their whole names, and drops no value of one that is repeated."""

    def __init__(self, **given: Any) -> None:
        """As `argparse.ArgumentParser`; the description keeps its line breaks."""
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **given)
        self.stored: set[str] = set()  # the options of this command line, by their attribute
        for name in (None, "store"):
            self.register("action", name, _Store)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As `argparse.ArgumentParser`; exits with an error where an option of one value is given twice."""
        self.stored = set()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """As `argparse.ArgumentParser`, without control characters."""
        super().error(one_line(message))


class _Store(argparse.Action):
    """Store an option's value; repeated, add to a list, and end the parsing with an error where there is one value."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, _option: str | None = None) -> None:
        if self.option_strings and self.dest in parser.stored:
            before = getattr(namespace, self.dest)
            if self.nargs != "+":
                name = self.option_strings[0]
                given = " and ".join(
                    " ".join(map(str, each)) if isinstance(each, list) else str(each) for each in (before, values)
                )
                remedy = _SEVERAL.get(name, "give it once")
                parser.error(f"{name} is given twice, {given}, but takes one value: {remedy}")
            values = [*before, *values]
        parser.stored.add(self.dest)
        setattr(namespace, self.dest, values)


def seed(text: str) -> int:
    """Parse a seed, from 0 to 2**32 - 1: what every generator of random numbers takes."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {2**32 - 1}, but got {text!r}")
    return int(text)


def add_renamed_options(parser: argparse.ArgumentParser, renamed: Mapping[str, str]) -> None:
    """Refuse options by their old names, with the new name in the error.

    Args:
        parser: of the command, or of the subcommand, that has the new options.
        renamed: old name to new name, e.g. {"--out": "--output"}.
    """
    for old, new in renamed.items():
        parser.add_argument(
            old, action=_Renamed, const=new, nargs="?", dest=argparse.SUPPRESS, default=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )  # fmt: skip


class _Renamed(argparse.Action):
    """An option that ends the parsing with an error; `const` is its new name."""

    def __call__(self, parser: argparse.ArgumentParser, *_parsed: object) -> None:
        parser.error(f"{self.option_strings[0]} is called {self.const} now")
