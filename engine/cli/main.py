"""The group of commands, and what becomes of an error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import click

from engine._version import __version__
from engine.cli.console import Report, complain
from engine.errors import ConfigurationError, LambentError

COMMANDS: dict[str, str] = {
    "run": "Run one function from a folder, zip or executable.",
    "serve": "Serve functions to AWS clients on one address.",
    "deploy": "Create or update a function on a server.",
    "invoke": "Invoke a function on a server.",
    "ps": "List a server's execution environments.",
    "logs": "Show a function's log.",
    "conform": "Judge a bootstrap by the Runtime API's contract.",
    "story": "Tell what happened to one invocation, step by step.",
    "runtimes": "List runtime identifiers, and what runs them here.",
    "demo": "Show functions in several languages start, answer and fail.",
    "bench": "Measure cold starts, warm latency and throughput.",
}
"""Name -> one line for the list. The command itself is the object `command` in the module of that name."""


class LazyGroup(click.Group):
    """Loads a command's module when that command is called; the list needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a person meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"engine.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown name is answered with the nearest known one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"Commands: {', '.join(COMMANDS)}."
            ctx.fail(f"there is no command '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="The quickest way to see it work: lambent demo",
)
@click.version_option(__version__, "--version", message="lambent %(version)s")
def cli() -> None:
    """Run AWS Lambda functions on this machine, in any language, without Docker.

    Settings come from flags, then LAMBENT_* environment variables, then lambent.toml. `lambent COMMAND --help` shows
    the defaults and an example.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Errors end up here and nowhere else."""
    report = Report()
    try:
        result = cli.main(
            list(sys.argv[1:] if args is None else args), prog_name="lambent", standalone_mode=False, obj=report
        )
    except click.Abort:
        code = 130
    except KeyboardInterrupt:
        code = 130
    except click.ClickException as error:
        complain(_usage(error), report, error)
        code = error.exit_code
    except ConfigurationError as error:
        complain(str(error), report, error)
        code = 2
    except LambentError as error:
        complain(str(error), report, error)
        code = 1
    except BrokenPipeError:
        code = _broken_pipe()
    except OSError as error:
        complain(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.", report, error)
        code = 1
    except Exception as error:  # noqa: BLE001 - the last resort: a person is told in one line, --debug shows all
        text = f"{type(error).__name__}: {error}. This is a bug in Lambent; --debug shows where."
        complain(text, report, error)
        code = 1
    else:
        code = result if isinstance(result, int) else 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _broken_pipe()
    return code


def _usage(error: click.ClickException) -> str:
    text = error.format_message()
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text} See '{context.command_path} --help'."


def _broken_pipe() -> int:
    # The reader left (`lambent logs NAME | head`): no news to anybody, and the interpreter must not try again at exit.
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1
