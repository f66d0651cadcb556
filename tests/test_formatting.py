"""Text for people."""

import pytest

from study.formatting import duration, markdown_text, one_line, printable, spreadsheet_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (95.4, "1 min 35 s"),
        (3599.6, "1 h 00 min"),
        (3661, "1 h 01 min"),
        (100 * 3600, "100 h 00 min"),
    ],
)
def test_duration_in_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0546, "0.0546 s"), (9, "9 s"), (90.4, "1 min 30 s")])
def test_duration_below_a_minute_with_digits(seconds: float, text: str) -> None:
    assert duration(seconds, 3) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07 \x9b2J", r"\x1b]0;title\x07 \x9b2J"),
        ("gpj.\u202eexe\u200b", r"gpj.\u202eexe\u200b"),
        ("a\rb\x85c\u2028d", r"a\rb\x85c\u2028d"),
        ("not UTF-8: \udcff", r"not UTF-8: \udcff"),
        ("a\tb\n21.3\N{NO-BREAK SPACE}dB, \u00e9, \u6f22 \u2191", None),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str | None) -> None:
    assert printable(text) == (text if shown is None else shown)


def test_one_line_has_no_line_break() -> None:
    assert one_line("a\nb\r\x85\u2028\tc") == r"a\nb\r\x85\u2028" + "\tc"


@pytest.mark.parametrize(
    "formula", ["\uff1d1+1", '=HYPERLINK("http://x")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]
)
def test_formulas_become_text_in_a_spreadsheet(formula: str) -> None:
    assert spreadsheet_text(formula) == f"'{formula}"


@pytest.mark.parametrize("value", ["aesop", "-0.5", "+1e-3", "-inf", "a=b", "", -0.5, None, True])
def test_other_cells_of_a_spreadsheet_stay(value: object) -> None:
    assert spreadsheet_text(value) is value


@pytest.mark.parametrize(
    ("words", "escaped"),
    [
        ("mine_x4, torch 2.15.0 (3)", "mine_x4, torch 2.15.0 (3)"),
        ("_a_ *b* `c` [d](e) ~~f~~", r"\_a\_ \*b\* \`c\` \[d\](e) \~\~f\~\~"),
        ("# a", r"\# a"),
        ("a | b\n- c", r"a \| b - c"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("https://x.org www.x.org", r"https\://x.org www\.x.org"),
    ],
)
def test_markdown_has_no_markup_and_stays_readable(words: str, escaped: str) -> None:
    assert markdown_text(words) == escaped
