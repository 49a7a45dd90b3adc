"""The documentation names only things that exist, and the generated reference is complete."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from devtools import reference_pages
from devtools.reference_pages import COMMAND_TREE
from ops.settings import OpsSettings
from signedfor import metrics
from signedfor.contract import names
from signedfor.quiet_hours import QUIET_HOURS
from signedfor.secret_files import SECRETS
from signedfor.settings import CampaignSettings
from signedfor.twilio.overrides import OVERRIDES
from signedfor.twilio.rates import DEFAULT_RATES
from tests.docs.pages import HISTORY, PAGES, ROOT, name
from tests.signedfor.quiet_hours_table import ROWS

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`\n]+)`")
_LEFT = r"(?<![\w./-])"
_PATH = re.compile(
    _LEFT
    + r"(?:signedfor|workflows|activities|webhook|ops|devtools|tests|docs|compose|examples)"
    + r"/[\w./-]+"
)
_CURRENT = [page for page in PAGES if page not in HISTORY]
_SOURCES = [
    path
    for folder in ("signedfor", "workflows", "activities", "webhook", "ops", "devtools")
    for path in sorted((ROOT / folder).rglob("*.py"))
] + sorted(ROOT.glob("*.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as by `make docs`."""
    folder = tmp_path_factory.mktemp("site")
    done = _build(ROOT / "docs", folder)
    assert (0, "") == (done.returncode, done.stderr)
    return folder


def _build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            *["-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html"],
            source,
            target,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.integration
def test_every_page_is_in_the_site(site: Path) -> None:
    """The build has no warnings and creates a page for each file."""
    pages = [page.relative_to(ROOT / "docs") for page in PAGES if ROOT / "docs" in page.parents]

    assert [] == [page for page in pages if not (site / page.with_suffix(".html")).exists()]


@pytest.mark.integration
def test_dead_links_and_orphans_fail_the_build(tmp_path: Path) -> None:
    """A link to a page or heading that does not exist is an error, and so is an orphan page."""
    source = tmp_path / "docs"
    source.mkdir()
    configuration = (ROOT / "docs/conf.py").read_text()
    (source / "conf.py").write_text(
        configuration.replace("__file__", repr(str(ROOT / "docs/conf.py")))
    )
    (source / "index.md").write_text(
        "# A\n\n[x](no-page.md)\n[x](#no-heading)\n[x](other.md#missing)\n\n"
        "```{toctree}\nother\nno-entry\n```\n"
    )
    (source / "other.md").write_text("# B\n")
    (source / "orphan.md").write_text("# C\n")

    done = _build(source, tmp_path / "site")

    assert done.returncode != 0
    problems = ("no-page.md", "no-heading", "missing", "no-entry", "orphan.md")
    assert [] == [each for each in problems if each not in done.stderr]


@pytest.mark.parametrize(
    "page",
    [
        *ROOT.glob("*.md"),
        ROOT / "tests/faults/README.md",
        *(page for page in PAGES if ROOT / "examples" in page.parents),
    ],
    ids=name,
)
def test_links_outside_the_site_are_not_dead(page: Path) -> None:
    """The files outside the site link only to existing files."""
    links = [link for link in _LINK.findall(page.read_text()) if not link.startswith("http")]

    assert [] == [link for link in links if not (page.parent / link.partition("#")[0]).exists()]


@pytest.mark.parametrize("page", _CURRENT, ids=name)
def test_files_that_are_named_exist(page: Path) -> None:
    """A page names only existing files and folders of ours in code."""
    named = {path for code in _CODE.findall(page.read_text()) for path in _PATH.findall(code)}

    assert [] == sorted(
        path for path in named if not (ROOT / path).exists() and "/1.4/" not in path
    )


def test_pages_that_the_code_names_exist() -> None:
    """Docstrings and messages name only existing pages."""
    named = {
        (path.relative_to(ROOT).as_posix(), page)
        for path in _SOURCES
        for page in re.findall(r"docs/[\w./-]+\.(?:md|json)", path.read_text())
    }

    assert [] == sorted((path, page) for path, page in named if not (ROOT / page).exists())


@pytest.mark.parametrize("page", _CURRENT, ids=name)
def test_commands_that_are_named_exist(page: Path) -> None:
    """A page names only existing commands of ours in its sentences."""
    for code in _CODE.findall(page.read_text()):
        words = code.split()
        if words[:1] == ["signedfor"]:
            _walk(words[1:])
        if words[:1] == ["make"] and len(words) > 1:
            targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert words[1] in targets, code


def _walk(words: list[str]) -> None:
    path = "signedfor"
    for word in words:
        if not any(each.startswith(f"{path} ") for each in COMMAND_TREE):
            return  # the rest are arguments
        if word.startswith("-") and path == "signedfor":
            assert any(word in each.opts for each in COMMAND_TREE[path].params)
            return
        path = f"{path} {word}"
        assert path in COMMAND_TREE


@pytest.mark.parametrize("page", _CURRENT, ids=name)
def test_variables_that_are_named_exist(page: Path) -> None:
    """A page names only variables in code that are explained in `.env.example`."""
    known = set(
        re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    ) | {f"{secret}_FILE" for secret in SECRETS}
    named = {
        variable
        for code in _CODE.findall(page.read_text())
        for variable in re.findall(r"^([A-Z]+(?:_[A-Z]+)+)(?:=|$)", code)
    }

    assert (
        set()
        == {
            each for each in named if not each.endswith("_ID") or each == "TEMPORAL_WORKER_BUILD_ID"
        }
        - known
    )


def test_the_reference_of_settings_is_complete() -> None:
    """It has each setting, with a meaning of its own."""
    page = reference_pages.settings()
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", page, re.MULTILINE))

    assert {
        each.upper() for each in OpsSettings.model_fields | CampaignSettings.model_fields
    } <= set(rows)
    assert [] == [variable for variable, meaning in rows.items() if len(meaning) < 13]
    assert len(set(rows.values())) == len(rows)


def test_the_reference_of_commands_is_complete() -> None:
    """It has each command and each option."""
    page = reference_pages.command_line()

    assert "signedfor campaign start" in COMMAND_TREE
    for path, command in COMMAND_TREE.items():
        section = page.partition(f"# `{path}`\n")[2].partition("\n#")[0]
        assert command.help.split()[0] in section
        for option in (opt for each in command.params for opt in each.opts if opt.startswith("--")):
            assert option == "--help" or f"`{option}`" in section, f"{path} {option}"


def test_the_reference_of_the_contract_is_complete() -> None:
    """Each field and each value of the contract is explained."""
    rows = re.findall(r"^\| (`.*) \|$", reference_pages.contract_models(), re.MULTILINE)

    assert {"`outcome`", "`urgent`"} <= {row.split(" | ")[0] for row in rows}
    assert [] == [row for row in rows if not row.split("|")[-1].strip()]


@pytest.mark.parametrize("page", _CURRENT, ids=name)
def test_metrics_that_are_named_exist(page: Path) -> None:
    """A page names only metrics of ours that are published."""
    published = {
        *(metrics.CHECK_TO_POST, metrics.CLOCK_OFFSET, metrics.INBOUND_WAITING),
        metrics.RECEIPT_DELAY,
        *(f"{name}_total" for name in (metrics.OUTCOMES, metrics.RECEIPTS_OVERDUE)),
        *(f"{metrics.DEAD_LETTERS_OPENED}_total", f"{metrics.DEAD_LETTERS_CLOSED}_total"),
        *re.findall(r"signedfor_\w+", reference_pages.metrics()),
        *re.findall(r"signedfor_\w+", reference_pages.worker_metrics()),
    }

    assert set(re.findall(r"`(signedfor_\w+)`", page.read_text())) <= published


def test_the_reference_of_codes_is_complete() -> None:
    """It has each line of the table once."""
    lines = len((ROOT / "signedfor/twilio/codes.csv").read_text().strip().splitlines()) - 1

    assert lines == len(re.findall(r"^\| \d", reference_pages.twilio_codes(), re.MULTILINE))


def test_the_reference_of_inbound_words_is_complete() -> None:
    """It has each word of the table."""
    page = reference_pages.inbound_words()
    with (ROOT / "signedfor/twilio/words.csv").open(encoding="utf-8", newline="") as table:
        listed = [row["word"] for row in csv.DictReader(table)]

    assert listed
    assert [] == [word for word in listed if not re.search(rf"[ ,]{word}[ ,]", page)]


def test_the_reference_of_quiet_hours_is_complete() -> None:
    """It has each name, and each line of the table under it with its statute, source and date."""
    page = reference_pages.quiet_hours()

    assert sorted(QUIET_HOURS) == re.findall(r"^## (\S+)$", page, re.MULTILINE)
    for row in ROWS:
        section = page.partition(f"## {row['name']}\n")[2].partition("\n## ")[0]
        (line,) = (
            line
            for line in section.splitlines()
            if line.startswith(f"| `{row['place']}`") and f" {row['from']} to " in line
        )
        for part in (row["statute"], f"({row['source']})", row["as_of"], row["until"]):
            assert part in line.replace("\\", "")
    assert "no legal advice" in (ROOT / "docs/reference/quiet-hours.md").read_text()


def test_the_values_of_the_contract_have_their_meanings() -> None:
    """Each value of an enumeration has its meaning, whichever module documents it."""
    page = reference_pages.contract_models()

    for value, meaning in [
        ("delivered", "The carrier confirmed delivery"),
        ("resend", "Submit it again"),
        ("urgent", "For one-time codes"),
        ("loading", "Its recipients are being written"),
        ("OutcomeUnknown", "Twilio may or may not have accepted it"),
    ]:
        assert f"| `{value}` | {meaning}" in page


def test_the_contract_pages_have_every_public_name() -> None:
    """These are the names that callers rely on."""
    page = (ROOT / "docs/contract.md").read_text() + (
        ROOT / "docs/reference/webhook.md"
    ).read_text()
    public = [value for name, value in vars(names).items() if re.fullmatch("[A-Z][A-Z_]+", name)]

    assert [] == [each for each in public if each not in page]


def test_every_kind_of_sender_is_explained() -> None:
    """The page says how each kind is recognized."""
    page = (ROOT / "docs/reference/sender-rates.md").read_text()

    assert [] == [kind.value for kind in DEFAULT_RATES if f"`{kind.value}`" not in page]


def test_tables_can_be_scanned() -> None:
    """No cell of a table is a paragraph."""
    long = [
        (name(page), cell)
        for page in PAGES
        if page not in HISTORY
        for line in page.read_text().splitlines()
        if line.startswith("|")
        for cell in _LINK.sub("a few words", line).split("|")
        if len(cell) > 160
    ]

    assert [] == long


@pytest.mark.parametrize("page", _CURRENT, ids=name)
def test_urls_for_twilio_have_our_connection_overrides(page: Path) -> None:
    """People copy them into Twilio."""
    found = set(re.findall(r"#(rc=[^\s`]+)", page.read_text()))

    assert found <= {OVERRIDES}


def test_the_page_on_twilio_shows_the_inbound_url() -> None:
    """With the path and the overrides."""
    page = ROOT / "docs/how-to/real-twilio.md"

    assert f"{names.INBOUND_PATH}#{OVERRIDES}" in page.read_text()
