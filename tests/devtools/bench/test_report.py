import json
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.bench import __main__ as command
from devtools.bench.__main__ import main
from devtools.bench.figures import Bound, Rounds
from devtools.bench.report import Report, machine
from devtools.bench.sizes import Sizes


def _report(*, at_least: float = 0.0) -> Report:
    return Report(
        benchmark="throughput",
        question="how fast",
        rounds=Rounds(
            {"ours": [{"messages/s": 20.0, "bytes": 4021.0}], "baseline": [{"messages/s": 25.0}]}
        ),
        baseline="baseline",
        bounds=[Bound(side="ours", figure="messages/s", at_least=at_least, against="baseline")],
        conditions={"messages": 300},
    )


def _document(*, at_least: float) -> dict[str, Any]:
    return {"machine": machine(), "benchmarks": [_report(at_least=at_least).document()]}


def test_the_tables_show_figures_ratios_and_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--tables` prints an existing report as Markdown."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(_document(at_least=0.75)))
    monkeypatch.setattr(sys, "argv", ["bench", "--tables", str(path), "--strict"])

    assert 0 == main()

    lines = capsys.readouterr().out.splitlines()
    assert "| messages/s | 20 | 25 | 0.80 |" in lines
    assert "| bytes | 4,021 |  |  |" in lines
    assert "- holds: messages/s of ours / baseline >= 0.75 (is 0.8)" in lines


@pytest.mark.parametrize(("more", "exit_code"), [([], 0), (["--strict"], 1)])
def test_a_missed_bound_is_reported(
    more: list[str],
    exit_code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is in the table and on stderr; with `--strict` it is the exit code too."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(_document(at_least=0.85)))
    monkeypatch.setattr(sys, "argv", ["bench", "--tables", str(path), *more])

    assert exit_code == main()

    captured = capsys.readouterr()
    assert "- MISSED: messages/s of ours / baseline >= 0.85 (is 0.8)" in captured.out
    assert "MISSED: throughput: messages/s of ours / baseline >= 0.85\n" == captured.err


def test_an_unknown_benchmark_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names it; nothing is started."""
    monkeypatch.setattr(sys, "argv", ["bench", "unknown"])

    with pytest.raises(SystemExit):
        main()

    assert "no such benchmark: unknown" in capsys.readouterr().err


def test_a_failure_keeps_the_earlier_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report is written after each benchmark, not at the end of all."""

    async def succeeds(_sizes: Sizes) -> Report:
        return _report()

    async def fails(_sizes: Sizes) -> Report:
        raise TimeoutError

    path = tmp_path / "report.json"
    monkeypatch.setattr(command, "BENCHMARKS", {"first": succeeds, "second": fails})
    monkeypatch.setattr(sys, "argv", ["bench", "--report", str(path)])

    with pytest.raises(TimeoutError):
        main()

    assert ["throughput"] == [
        each["benchmark"] for each in json.loads(path.read_text())["benchmarks"]
    ]
