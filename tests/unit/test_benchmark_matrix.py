"""What the matrix makes of its measurements: lines, verdicts, the page."""

from __future__ import annotations

import pytest

from benchmarks.clients import CLIENTS, FAMILIES
from benchmarks.cold_start import ColdRow, Quantiles
from benchmarks.harness import Spread
from benchmarks.machine import Machine
from benchmarks.matrix.measure import Block
from benchmarks.matrix.page import render
from benchmarks.matrix.summary import Document, lines, verdicts
from benchmarks.warm import Cell, Figures

MACHINE = Machine("a <cpu>", 2, 1024, "Linux", "none", "no", 0.0, 0.0, {"python": "3"}, "abc")


def cold(name: str, median: float, pool: str = "full", subject: str = "lambent") -> ColdRow:
    phases = {"total": Quantiles(3, median, median, median, median, median), "spawn": Quantiles(3, 1, 1, 1, 1, 1)}
    engine = subject == "lambent"
    return ColdRow(name, subject, phases, isolation="sandbox" if engine else "", pool=pool if engine else "",
                   started={"preloaded": 3} if engine else {})  # fmt: skip


def warm(clients: int, ratio: float | None) -> Cell:
    def figures(rate: float, of: float | None) -> Figures:
        spread = Spread(rate, rate, rate, 3)
        of_base = None if of is None else Spread(of, of, of, 3)
        return Figures(spread, {"p50": 0.1, "p99": 0.2}, {}, None, 0, {}, ratio=of_base)

    subjects = {"awslambdaric": figures(100.0, None), "python": figures(200.0, ratio)}
    base = "awslambdaric"
    if clients == 1:
        base = "rie classic: awslambdaric"
        subjects |= {"rie classic: python": figures(50.0, 1.25), base: figures(40.0, None)}
    return Cell("closed", "python", clients, 16, None, 3, 0.5, subjects, base)


def block(ours_ms: float = 3.0, ratio: float = 2.0) -> Block:
    rows = [
        cold("python", ours_ms),
        cold("python", 12.0, "empty"),
        cold("python", 8.0, subject="rie classic"),
        cold("awslambdaric", 24.0),
        cold("awslambdaric", 20.0, subject="rie classic"),
    ]
    return Block("Python", 1769, ["python", "awslambdaric"], rows, [warm(1, 5.0), warm(4, ratio)])


def test_every_runtime_of_the_matrix_is_one_that_can_be_made():
    assert {name for pair in FAMILIES.values() for name in pair if name is not None} <= set(CLIENTS)


def test_a_line_has_ours_beside_awss_and_the_emulator():
    ours, theirs = lines([block()])
    assert (ours.runtime, ours.ours, theirs.ours) == ("python", True, False)
    assert ours.full is not None
    assert ours.empty is not None
    assert (ours.full.median, ours.empty.median, ours.emulator, ours.started) == (3.0, 12.0, 8.0, "3 preloaded")
    assert ours.of_aws_cold == pytest.approx(3 / 24)
    assert (ours.of_aws_warm, ours.per_second, ours.clients, ours.warm_p50) == (2.0, 200.0, 4, 0.1)
    assert (ours.one_client, ours.emulator_warm, theirs.emulator_warm) == (200.0, 50.0, 40.0)
    assert (ours.of_reference_cold, ours.of_reference_warm) == (pytest.approx(3 / 20), 5.0)
    assert (theirs.of_aws_cold, theirs.of_reference_cold, theirs.emulator) == (None, None, 20.0)


@pytest.mark.parametrize(("ours_ms", "ratio", "met"), [(3.0, 1.0, [True] * 5), (25.0, 0.9, [False] * 4 + [True])])
def test_losses_are_verdicts_too(ours_ms, ratio, met):
    assert [one.met for one in verdicts(list(lines([block(ours_ms, ratio)])))] == met


def test_a_runtime_that_was_not_measured_leaves_gaps_not_errors():
    found = list(lines([Block("Ruby", 128, ["ruby"])]))
    assert found[0].full is found[0].per_second is None
    assert verdicts(found) == []


def test_the_page_needs_nothing_but_itself_and_escapes_what_it_shows():
    pytest.importorskip("matplotlib")
    document = Document("2026", MACHINE, "sandbox", quick=True, blocks=[block()], notes=["skipped: <ruby>"])
    found = list(lines(document.blocks))
    document.verdicts = verdicts(found)
    page = render(document, found)
    assert page.count("<svg") == 2
    for text in (
        "a &lt;cpu&gt;",
        "skipped: &lt;ruby&gt;",
        "3 preloaded",
        "rie classic: python",
        "<b>Phases</b>",
        "sandbox",
    ):
        assert text in page
    assert "http://www.w3.org" in page  # namespaces of SVG only
    assert "src=" not in page
    assert "<script" not in page
