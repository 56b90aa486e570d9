"""``lambent runtimes``: which runtime identifiers this machine can run, with what, and what others would need."""

from __future__ import annotations

import os
from typing import Any

import click

from engine.cli.console import emit_json, note, table
from engine.cli.options import common, setting
from engine.settings import load


@click.command("runtimes", epilog="\b\nExample:\n  lambent runtimes java --json")
@click.argument("language", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
@setting("isolation")
@common
def command(language: str | None, as_json: bool, config: str | None, **flags: Any) -> None:
    """List the runtime identifiers, or those that begin with LANGUAGE, and what runs them on this machine."""
    reachable = _reachable(load(flags, config=config).isolation)
    found = [one for one in _all(reachable) if language is None or one["runtime"].startswith(language)]
    if not found and language is not None:
        import bootstraps

        raise click.UsageError(
            f"no runtime begins with '{language}': there are {', '.join((*bootstraps.LANGUAGES, 'go', 'provided'))}."
        )
    if as_json:
        emit_json(found)
        return
    table(
        ["RUNTIME", "RUN BY", "VERSION", "MATCH", "INTERPRETER"],
        [
            [
                one["runtime"],
                one["run_by"] or "-",
                one["version"] or "-",
                "missing" if one["missing"] else "exact" if one["exact"] else "nearest",
                one["interpreter"] or "-",
            ]
            for one in found
        ],
    )
    for text in dict.fromkeys(one["missing"] for one in found if one["missing"]):
        note(text)


def _all(reachable: Any) -> list[dict[str, Any]]:
    import bootstraps

    out: list[dict[str, Any]] = []
    for runtime in (*bootstraps.IDENTIFIERS, *bootstraps.PROVIDED):
        entry: dict[str, Any] = {
            "runtime": runtime, "run_by": None, "version": None, "interpreter": None, "exact": False, "missing": None,
        }  # fmt: skip
        out.append(entry)
        if runtime in bootstraps.PROVIDED:
            entry["run_by"] = "the handler's executable" if runtime == "go1.x" else "the package's bootstrap"
            entry["exact"] = True
            continue
        key = (bootstraps.parse(runtime) or ("",))[0]
        language = bootstraps.LANGUAGES[key]
        try:
            chosen = bootstraps.interpreter(runtime, reachable)
        except bootstraps.RuntimeNotFoundError as error:
            entry["missing"] = f"{language.name}: {str(error).partition(': ')[2]}"
            continue
        mono = key == "dotnet" and bootstraps.is_mono(chosen.executable)
        digits = 2 if mono else language.digits
        entry["run_by"] = "Mono" if mono else language.name
        entry["version"] = ".".join(str(number) for number in chosen.version[:digits])
        entry["interpreter"] = chosen.executable
        entry["exact"] = chosen.note is None
    return out


def _reachable(isolation: str) -> Any:
    """What an engine with this isolation says of a path."""
    from pathlib import Path

    from engine.sandbox import NamespaceProvider, make_provider

    nowhere = Path(os.devnull)
    provider = make_provider(isolation, nowhere, nowhere)
    return provider.reachable if isinstance(provider, NamespaceProvider) else None
