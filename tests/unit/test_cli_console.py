"""What a person sees: a function's text cannot drive the terminal, and tables are plain away from one."""

from __future__ import annotations

import io

import pytest

from engine.cli.console import clean, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _a_terminal_with_colours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttabbed ü", "plain\ttabbed ü"),
        ("bell\a and\x1b]0;title\a", "bell\\x07 and\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[H cleared", "\\x1b[2J\\x1b[H cleared"),
        ("\x9b31m", "\\x9b31m"),
        ("trace:\r  line 1\r\n  line 2", "trace:\n  line 1\n  line 2"),
        ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[31mred\x1b[0m\x1b[2A", "\x1b[31mred\x1b[0m\\x1b[2A\x1b[0m"),
    ],
)
def test_on_a_terminal_only_colours_and_line_breaks_of_a_function_survive(text, shown):
    assert clean(text, Terminal()) == shown


def test_no_color_takes_a_function_s_colours_away(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert clean("\x1b[31mred\x1b[0m", Terminal()) == "red"


def test_in_a_pipe_the_text_is_left_as_it_was_written():
    assert clean("\x1b[2J\r", io.StringIO()) == "\x1b[2J\r"


def test_a_table_in_a_pipe_is_aligned_lines_without_trailing_spaces(capsys):
    table(["A", "NUMBER", "LAST"], [["x", "1", "yes"], ["longer", "22", ""]], right={"NUMBER"})
    assert capsys.readouterr().out == "A       NUMBER  LAST\nx            1  yes\nlonger      22\n"
