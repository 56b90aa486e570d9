"""``lambent demo``: functions in several languages start, answer, raise, hang and crash, before one's eyes."""

from __future__ import annotations

import sys
import textwrap
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import emit_json
from engine.cli.options import common, setting
from engine.model.limits import MB_PER_VCPU
from engine.settings import Settings, load

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from engine.cli.demo_play import Row

TIMEOUT_S = 1


@click.command("demo", epilog="\b\nExample:\n  lambent demo\n  lambent demo --json > demo.json")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as one JSON object.")
@setting("isolation")
@common
def command(*, as_json: bool, config: str | None, **flags: Any) -> int:
    """Show functions in several languages start, answer and fail.

    Each language that this machine has gets one function, through the real Runtime API: a cold start, warm answers, an
    exception, a timeout of 1 s, a crash, and the answer after it. The exit code is 0 only when all behaved.
    """
    from engine.cli.loop import run

    return run(_demo(load(flags, config=config), as_json))


async def _demo(settings: Settings, as_json: bool) -> int:
    import asyncio

    from engine import Engine
    from engine.cli.demo_functions import examples
    from engine.cli.demo_play import Play, Row
    from engine.cli.embed import engine_options

    began = time.monotonic()
    found, missing = await asyncio.to_thread(examples)
    rows = [Row(language=one.language, how=one.how) for one in found]
    async with Engine(**engine_options(settings)) as engine:
        screen = _Screen(rows, missing, engine.provider.mode, quiet=as_json)
        with screen:
            plays = []
            for index, (example, row) in enumerate(zip(found, rows, strict=True)):
                function = await engine.create_function(
                    f"demo-{index}-{example.language.lower().replace('.', '')}",
                    code=example.package,
                    runtime=example.runtime,
                    handler=example.handler,
                    memory_mb=min(MB_PER_VCPU, engine.memory_mb),
                    timeout_s=TIMEOUT_S,
                )
                plays.append(Play(function, example, row))
                await plays[-1].start()
            await asyncio.gather(*(play.hang() for play in plays))
            for play, row in zip(plays, rows, strict=True):
                await play.crash()
                screen.finished(row)
        behaved = bool(rows) and all(row.behaved for row in rows)
        if as_json:
            import msgspec

            emit_json(
                {
                    "isolation": engine.provider.mode,
                    "behaved": behaved,
                    "missing": missing,
                    "functions": [msgspec.to_builtins(row) for row in rows],
                }
            )
        else:
            screen.summary(engine.weaknesses(), time.monotonic() - began, behaved=behaved)
    return 0 if behaved else 1


class _Screen:
    """A live table on a terminal, one plain line per function elsewhere, nothing when quiet."""

    def __init__(self, rows: list[Row], missing: list[str], mode: str, *, quiet: bool) -> None:
        self._rows = rows
        self._missing = missing
        self._mode = mode
        self._quiet = quiet
        self._live: Any = None
        self._width = 80
        self._spinner: Any = None

    def __enter__(self) -> None:
        self._context: AbstractContextManager[Any] = nullcontext()
        if not self._quiet and sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner

            console = Console(highlight=False)
            self._width = console.width
            self._spinner = Spinner("dots", style="cyan")
            self._context = self._live = Live(
                get_renderable=self._table, console=console, refresh_per_second=12, transient=False
            )
        elif not self._quiet:
            sys.stdout.write(f"lambent demo: {len(self._rows)} functions, isolation {self._mode}\n")
        self._context.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        self._context.__exit__(*exc_info)  # type: ignore[arg-type]

    def finished(self, row: Row) -> None:
        """A function has done all its scenes."""
        if self._live is not None or self._quiet:
            return
        cold, init, warm, hung, again = (
            _ms(value) or "-" for value in (row.cold_ms, row.init_ms, row.warm_ms, row.hung_ms, row.again_ms)
        )
        sys.stdout.write(
            f"{row.language} ({row.how}): cold {cold} (init {init}), warm {warm}, raises {row.raised or '-'}, "
            f"hangs {row.hung or '-'} after {hung}, crashes {row.crashed or '-'}, then answers in {again}: "
            f"{'ok' if row.behaved else 'WRONG'}\n"
        )
        for problem in row.problems:
            sys.stdout.write(f"  {problem}\n")
        sys.stdout.flush()

    def summary(self, weaknesses: list[str], seconds: float, *, behaved: bool) -> None:
        """What it meant, what is missing, and what to do next."""
        out = sys.stdout
        tty = self._live is not None

        def line(text: str = "", style: str = "") -> None:
            if tty:
                indent = text[: len(text) - len(text.lstrip())]
                text = textwrap.fill(text.strip(), self._width - 1, initial_indent=indent, subsequent_indent=indent)
            out.write(f"\033[{style}m{text}\033[0m\n" if tty and style else f"{text}\n")

        if tty:
            for row in self._rows:
                for problem in row.problems:
                    line(f"  {row.language} ({row.how}): {problem}", "31")
        for text in self._missing:
            line(f"  left out: {text}", "2")
        if tty:
            from engine.cli.demo_play import WARM

            line(
                f"  cold: from request to answer with a new process; warm: the median of {WARM} more. Each fault gave "
                "the caller the error that AWS gives, and the function answered again after it.",
                "2",
            )
            line(
                f"  {MB_PER_VCPU} MB of memory each, which is one CPU; isolation: {self._mode}"
                + (f", which cannot enforce {len(weaknesses)} things" if weaknesses else ""),
                "2",
            )
            for text in weaknesses:
                line(f"    {text}", "2")
            line()
        if not self._rows:
            line("no language of the demo is on this machine", "31")
        elif behaved:
            line(f"all {len(self._rows)} functions behaved, in {seconds:.1f} s", "1;32")
            line("next: lambent run PATH runs a function of yours; lambent serve takes boto3 and the AWS CLI")
        else:
            line(f"{sum(not row.behaved for row in self._rows)} of {len(self._rows)} functions misbehaved", "1;31")

    def _table(self) -> RenderableType:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        wide = self._width >= 105
        table: Table = Table(
            box=box.ROUNDED if wide else box.SIMPLE_HEAD,
            pad_edge=wide,
            padding=(0, 1) if wide else (0, 1, 0, 0),
            border_style="dim",
            header_style="bold",
            title_justify="left",
        )
        table.title = Text("Lambent: one function per language, through the real Runtime API", style="bold")
        table.add_column("language", min_width=10, overflow="fold")
        for heading in ("cold", "warm"):
            table.add_column(heading, justify="right", no_wrap=True)
        for heading in ("raises", f"hangs {TIMEOUT_S} s", "crashes"):
            table.add_column(heading, no_wrap=True)
        table.add_column("")

        def cell(first: str, second: str = "", style: str = "") -> Text:
            return Text.assemble((first, style), "\n", (second, "dim")) if second else Text(first, style)

        def fault(error_type: str) -> str:
            return error_type if wide else error_type.rpartition(".")[2]

        for row in self._rows:
            mark: Any = ""
            if row.done:
                mark = Text("✔", style="bold green") if row.behaved else Text("✘", style="bold red")
            elif row.doing:
                mark = self._spinner
            table.add_row(
                cell(row.language, row.how, "bold"),
                cell(_ms(row.cold_ms), f"init {_ms(row.init_ms)}" if row.init_ms is not None else "", "cyan"),
                cell(_ms(row.warm_ms), "", "bold green"),
                fault(row.raised),
                cell(fault(row.hung), ("after " if wide else "") + _ms(row.hung_ms) if row.hung else ""),
                cell(fault(row.crashed), f"then {_ms(row.again_ms)}" if row.again_ms is not None else ""),
                mark,
            )
        return table


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"
