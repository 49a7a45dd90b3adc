from pathlib import Path

import pytest

from devtools import opt_out_texts


@pytest.fixture
def labeled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of six texts, two of which are misread."""
    header = "text,language,expected,group\n"
    (tmp_path / "groups.csv").write_text("group,pattern,source,url\n", encoding="utf-8")
    (tmp_path / "development.csv").write_text(
        f"{header}"
        "STOP,en,stop,a\n"
        "STOP that | is not one word,en,stop,a\n"
        "please stop texting me,en,review,a\n"
        "stop,en,review,a\n"
        "please stop texting them,en,other,a\n"
        "YES,en,start,a\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(opt_out_texts, "TEXTS", tmp_path)
    return tmp_path / "development.csv"


def test_the_figures_count_what_is_misread(labeled: Path) -> None:
    """A phrase that is taken for a STOP is heeded; a YES is labeled as a START."""
    texts = opt_out_texts.read(labeled)
    measures = (
        opt_out_texts.missed_stops,
        opt_out_texts.lost_stops,
        opt_out_texts.missed_phrases,
        opt_out_texts.false_alarms,
    )
    figures = [measure(texts) for measure in measures]

    assert [(2, 1), (2, 0), (2, 0), (1, 1)] == [
        (len(each.texts), len(each.counted)) for each in figures
    ]


@pytest.mark.usefixtures("labeled")
def test_the_report_lists_the_misses() -> None:
    """With what was expected and what was found; nothing else is listed."""
    _, _, misses = opt_out_texts.report().partition("\n\n")

    assert [
        "| `development` | STOP that \\| is not one word | en | stop | review |",
        "| `development` | please stop texting them | en | other | review |",
    ] == misses.splitlines()[2:]
