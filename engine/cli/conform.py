"""``lambent conform``: does a bootstrap keep the Runtime API's contract?"""

from __future__ import annotations

import fnmatch
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from engine.cli import package
from engine.cli.console import CommandError, clean, note, paint, table
from engine.cli.options import common, setting, variables
from engine.settings import load
from runtime_api.conform import CLAUSES, Outcome, Report, Result

_MARKS = {
    Outcome.PASS: ("32", "pass"),
    Outcome.FAIL: ("1;31", "FAIL"),
    Outcome.ADVICE: ("33", "advice"),
    Outcome.NOT_APPLICABLE: ("2", "n/a"),
    Outcome.DEVIATION: ("33", "known"),
    Outcome.STALE: ("1;31", "STALE"),
}


@click.command(
    "conform",
    epilog="\b\nExample:\n  lambent conform target/release/bootstrap\n"
    "  lambent conform bootstraps/python/conform --junit conform.xml",
)
@click.argument("path", required=False)
@click.option("--handler", metavar="NAME", help="Handler, such as app.handler.  [default: guessed from the files]")
@click.option("--runtime", metavar="ID", help="Runtime, such as python3.12.  [default: guessed from the files]")
@click.option("--memory", type=int, default=512, metavar="MB", show_default=True, help="Memory size in MB.")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="A variable for the function; may be repeated.")
@click.option(
    "--only",
    multiple=True,
    metavar="PATTERN",
    help="Clauses by id, such as 'answer.*'; may be repeated.  [default: all]",
)
@click.option(
    "--known",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="TOML table [deviations] of clause = reason: failures that are known and do not count.",
)
@click.option(
    "--patience", type=float, default=10.0, metavar="SECONDS", show_default=True,
    help="How long the runtime may take to do anything, its start included.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1, 32), default=2, metavar="N", show_default=True, help="Clauses at one time."
)
@click.option("--strict", is_flag=True, help="Advice counts as a failure, too.")
@click.option("--list", "listing", is_flag=True, help="List the clauses, and judge nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Also write the report as JUnit XML.")
@setting("isolation", "network")
@common
def command(
    *,
    path: str | None,
    handler: str | None,
    runtime: str | None,
    memory: int,
    env: tuple[str, ...],
    only: tuple[str, ...],
    known: str | None,
    patience: float,
    jobs: int,
    strict: bool,
    listing: bool,
    as_json: bool,
    junit: str | None,
    config: str | None,
    **flags: Any,
) -> int:
    """Run a bootstrap through every clause of the Runtime API that a runtime can break.

    PATH is what `lambent run` takes: a folder, a zip, a source file or an executable. Its function is told what to do
    by its event: {"do": "echo", "value": V} and so on (docs/conform.md). One that returns its event as it is will do,
    for fewer clauses. The exit code is 1 when a clause that a runtime must keep is broken.
    """
    if listing:
        _list(only)
        return 0
    if path is None:
        raise click.UsageError("name the bootstrap: a folder, a zip or an executable (or use --list).")
    from engine.cli.conforming import judge
    from engine.cli.loop import run

    settings = load(flags, config=config)
    source = package.find(path)
    guess = source.guess(runtime, handler)
    deviations = _deviations(known)
    note(f"judging {source.path} as {guess.runtime}, handler {guess.handler}")
    live = None if as_json else _line
    report = run(
        judge(
            source,
            guess,
            settings,
            {"memory_mb": memory, "environment": variables(env)},
            chosen=_chosen(only),
            patience_s=patience,
            jobs=jobs,
            told=live or (lambda _result: None),
        )
    ).judged(deviations)
    if junit is not None:
        Path(junit).write_text(report.as_junit(), "utf-8")
    if as_json:
        sys.stdout.write(report.as_json() + "\n")
    else:
        _tell(report)
    return int(report.failed or (strict and report.count(Outcome.ADVICE) > 0))


def _chosen(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    unknown = [one for one in patterns if not any(fnmatch.fnmatchcase(clause.id, one) for clause in CLAUSES)]
    if unknown:
        raise click.UsageError(f"--only {unknown[0]} fits no clause; --list shows them all.")
    return lambda clause_id: not patterns or any(fnmatch.fnmatchcase(clause_id, one) for one in patterns)


def _list(only: tuple[str, ...]) -> None:
    chosen = _chosen(only)
    rows = [(clause.id, str(clause.weight), clause.title, clause.source) for clause in CLAUSES if chosen(clause.id)]
    table(("clause", "weight", "demand", "source"), rows)


def _deviations(known: str | None) -> dict[str, str]:
    """Clause -> reason. Raises `CommandError` for a file that is of another form, or names no clause."""
    if known is None:
        return {}
    try:
        found = tomllib.loads(Path(known).read_text("utf-8")).get("deviations", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CommandError(f"{known} cannot be read: {error}. It is a TOML file with a table [deviations].") from None
    ids = {clause.id for clause in CLAUSES}
    for clause, reason in found.items():
        if clause not in ids or not isinstance(reason, str) or not reason.strip():
            raise CommandError(
                f'{known}: deviations."{clause}" must be a clause (lambent conform --list) with the reason as its text.'
            )
    return dict(found)


def _line(result: Result) -> None:
    """One clause, as soon as it is judged; on a terminal only, as the table tells all of it."""
    if sys.stderr.isatty():
        colour, mark = _MARKS[result.outcome]
        sys.stderr.write(f"{paint(colour, f'{mark:>7}', sys.stderr)}  {result.id}\n")


def _tell(report: Report) -> None:
    rows = [
        (result.id, _MARKS[result.outcome][1], result.title if result.outcome is Outcome.PASS else result.reason)
        for result in report.results
    ]
    table(("clause", "outcome", "demand, or what was found"), rows)
    for result in report.results:
        if result.outcome in {Outcome.FAIL, Outcome.STALE, Outcome.ADVICE}:
            _explain(result)
    counted = ", ".join(f"{report.count(outcome)} {_MARKS[outcome][1]}" for outcome in Outcome if report.count(outcome))
    agent = f" ({report.user_agent})" if report.user_agent else ""
    sys.stdout.write(f"\n{report.subject}{agent}: {counted}\n")


def _explain(result: Result) -> None:
    colour, mark = _MARKS[result.outcome]
    out = sys.stdout
    out.write(f"\n{paint(colour, mark, out)} {result.id}: {result.title}\n")
    out.write(f"  source    {result.source}\n  found     {clean(result.reason, out)}\n")
    if result.expected:
        out.write(f"  expected  {clean(result.expected, out)}\n")
    if result.got:
        out.write("  the request, as it came:\n")
        out.write("".join(f"    | {line}\n" for line in clean(result.got, out).split("\n")))
    printed = [line for line in result.output.split("\n") if line.strip()][-6:]
    if printed:
        out.write("  the last that it printed:\n" + "".join(f"    | {clean(line, out)}\n" for line in printed))
