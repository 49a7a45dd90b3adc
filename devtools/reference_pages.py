"""A Sphinx extension: the parts of the reference that are generated from the code.

A page says where such a part goes by a line `<!-- generated: NAME -->`. The functions below return
Markdown, so that tests can read it without building the site.
"""

import ast
import csv
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import typer.main
from prometheus_client.metrics import MetricWrapperBase
from sphinx.application import Sphinx
from typer.core import TyperGroup

from devtools import opt_out_texts
from signedfor import search_attributes
from signedfor.cli.app import app
from signedfor.cli.lazy import LazyGroup
from signedfor.contract import InboundKind, base, campaign, failures, inbound, send_window
from signedfor.contract.schema import contract_schema
from signedfor.database_metrics import DatabaseMetrics
from signedfor.settings import CampaignSettings, Settings
from signedfor.twilio import codes, rates
from signedfor.worker_metrics import WorkerMetrics
from webhook.metrics import Metrics

ROOT: Final = Path(__file__).resolve().parents[1]
_PLACE = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
_SECTION = re.compile(r"^# --- (.+?) -+$")
_VARIABLE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$")


def settings() -> str:
    """Every variable by section, from `.env.example`, whose defaults a test holds to the code."""
    required = {name.upper() for name, field in _settings_fields() if field.is_required()}
    required |= {"COMPOSE_PROFILES", "PAYLOAD_KEYS"}
    parts: list[str] = []
    for section, variables in _example():
        rows = [
            (f"`{name}`", "required" if name in required else _code(default), meaning)
            for name, default, meaning in variables
        ]
        parts += [f"## {section}", _table(("Variable", "Default", "Meaning"), rows)]
    return "\n\n".join(parts)


def _settings_fields() -> Iterator[tuple[str, Any]]:
    yield from (Settings.model_fields | CampaignSettings.model_fields).items()


def _example() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """The sections of `.env.example`: each variable with its default and the comment above it."""
    sections: list[tuple[str, list[tuple[str, str, str]]]] = []
    comment: list[str] = []
    for line in (ROOT / ".env.example").read_text().splitlines():
        if section := _SECTION.match(line):
            sections.append((section[1], []))
            comment = []
        elif variable := _VARIABLE.match(line):
            sections[-1][1].append((variable[1], variable[2], " ".join(comment)))
            comment = []
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        else:
            comment = []
    return sections


_NO_CONTEXT: Final[Any] = None


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name in command.list_commands(_NO_CONTEXT) if isinstance(command, TyperGroup) else ():
        lazy = isinstance(command, LazyGroup)
        below = command.imported(name) if lazy else command.commands[name]
        yield from _commands(f"{path} {name}", below)


COMMAND_TREE: Final = dict(_commands("signedfor", typer.main.get_command(app)))
"""Every command and group, by what is typed for it, such as `signedfor send`."""


def command_line() -> str:
    """Every command: what it does, its arguments and its options."""
    return "\n\n".join(
        part for path, command in COMMAND_TREE.items() for part in _command(path, command)
    )


def _command(path: str, command: Any) -> Iterator[str]:
    yield f"{'###' if path.count(' ') > 1 else '##'} `{path}`"
    if command.help:
        yield _text(inspect.cleandoc(command.help))
    rows = [
        (_parameter_name(each), _text(each.help or ""), _parameter_default(each))
        for each in command.params
        if each.name != "help"
    ]
    if rows:
        yield _table(("Argument or option", "Meaning", "Default"), rows)


def _parameter_name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{(parameter.metavar or parameter.name).strip('[]').upper()}`"
    names = ", ".join(f"`{each}`" for each in (*parameter.opts, *parameter.secondary_opts))
    kind = parameter.type_descriptor.annotation
    if inspect.isclass(kind) and issubclass(kind, Enum):
        return f"{names}: {', '.join(each.value for each in kind)}"
    return names


def _parameter_default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if isinstance(default, bool) or not isinstance(default, str | int | float):
        return ""
    return _code(default.value if isinstance(default, Enum) else f"{default}")


def metrics() -> str:
    """What the webhook publishes at `/metrics`."""
    return _metrics_of(Metrics())


def worker_metrics() -> str:
    """What the worker publishes at `/metrics`, besides what comes through Temporal's meter."""
    return _metrics_of(WorkerMetrics())


def _metrics_of(owner: object) -> str:
    rows = [
        (
            f"`{each._name}{'_total' if each._type == 'counter' else ''}`",  # noqa: SLF001 - has no public name
            str(each._type),  # noqa: SLF001 - as above
            ", ".join(f"`{label}`" for label in each._labelnames),  # noqa: SLF001 - as above
            _text(each._documentation),  # noqa: SLF001 - as above
        )
        for each in _collectors(owner)
    ]
    return _table(("Metric", "Type", "Labels", "Meaning"), rows)


def _collectors(owner: object) -> Iterator[MetricWrapperBase]:
    for each in vars(owner).values():
        if isinstance(each, MetricWrapperBase):
            yield each
        elif isinstance(each, DatabaseMetrics):
            yield from _collectors(each)


def twilio_codes() -> str:
    """Twilio's codes by failure class."""
    listed = _rows("signedfor/twilio/codes.csv")
    parts: list[str] = []
    for each in failures.FailureClass:
        rows = [
            (_code_range(row), _text(row["meaning"]), _text(row["advice"]), *_undeliverable(row))
            for row in listed
            if row["failure_class"] == each.value
        ]
        if rows:
            head = ("Code", "Meaning", "Advice", "Unreachable for")[: len(rows[0])]
            parts += [f"## {each.value}", _table(head, rows)]
    return "\n\n".join(parts)


def inbound_words() -> str:
    """The words of inbound messages, by kind and language."""
    listed = _rows("signedfor/twilio/words.csv")
    parts: list[str] = []
    for kind in InboundKind:
        words: dict[tuple[str, str], list[str]] = {}
        for row in listed:
            if row["meaning"] == kind:
                words.setdefault((row["language"], row["source"]), []).append(row["word"])
        rows = [(language, ", ".join(each), source) for (language, source), each in words.items()]
        parts += [f"## {kind}", _table(("Language", "Words", "Source"), sorted(rows))]
    return "\n\n".join(parts)


_SOURCE_HAS: Final = {
    "text": "its text",
    "quotation": "a quotation",
    "guidance": "its regulator's words",
    "report": "a report",
}


def quiet_hours() -> str:
    """The rules of each name, as they are in the table."""
    listed = _rows("signedfor/quiet_hours.csv")
    places = {row["place"]: row["name"] for row in _rows("signedfor/area_codes.csv")}
    names: dict[str, list[Sequence[str]]] = {}
    for row in listed:
        place = f"`{row['place']}` {places.get(row['place'], '')}".strip()
        hours = f"{row['days']} {row['from']} to {row['until']}".replace("mon-sun", "every day")
        source = f"[{_SOURCE_HAS[row['source_has']]}]({row['source']})"
        closed = f"public holidays of {row['closed_on']}" if row["closed_on"] else ""
        statute = _text(row["statute"])
        for name in row["names"].split():
            cells = (place, hours, closed, statute, row["in_force"], source, row["as_of"])
            names.setdefault(name, []).append((*cells, _text(row["note"])))
    head = ("Where", "Open", "Closed on", "Rule", "In force", "Read in", "As of", "Note")
    parts = (f"## {name}\n\n{_table(head, rows)}" for name, rows in sorted(names.items()))
    return "\n\n".join(parts)


def _rows(path: str) -> list[dict[str, str]]:
    with (ROOT / path).open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


def _undeliverable(row: dict[str, str]) -> tuple[str, ...]:
    """For whom the recipient is unreachable, and why; nothing for other classes."""
    whom, why = row["undeliverable"], row["undeliverable_because"]
    return (f"`{whom}`: {_text(why)}",) if whom else ()


def _code_range(row: dict[str, str]) -> str:
    first, last = row["code_from"], row["code_to"]
    return first if first == last else f"{first} to {last}"


def failure_classes() -> str:
    """Each class, whether the policy retries it, and the advice where a code has none."""
    meanings = _attribute_docs(failures)["FailureClass"]
    rows = [
        (
            f"`{each.value}`",
            _text(meanings[each.name]),
            "yes" if each in failures.RETRYABLE else "no",
            _text(codes.advice_for(each, None)),
        )
        for each in failures.FailureClass
    ]
    return _table(("Class", "Meaning", "Retried", "Advice"), rows)


def search_attribute_table() -> str:
    """The search attributes to register, with their types."""
    meanings = _attribute_docs(search_attributes)[""]
    rows = [
        (
            f"`{key.name}`",
            key.indexed_value_type.name.title().replace("_", ""),
            _text(meanings[name]),
        )
        for name, key in vars(search_attributes).items()
        if key in search_attributes.SEARCH_ATTRIBUTES
    ]
    return _table(("Name", "Type", "Holds"), rows)


def sender_rates() -> str:
    """The default rate of each kind of sender."""
    meanings = _attribute_docs(rates)["SenderKind"]
    rows = [
        (f"`{kind.value}`", f"{rates.DEFAULT_RATES[kind]:g}", _text(meanings.get(kind.name, "")))
        for kind in rates.SenderKind
    ]
    return _table(("Kind", "Segments per second", "Note"), rows)


def contract_models() -> str:
    """Every model of the contract with its fields, from its JSON Schema."""
    definitions: dict[str, dict[str, Any]] = contract_schema()["$defs"]
    members = _enum_docs()
    parts: list[str] = []
    for name, schema in sorted(definitions.items()):
        parts.append(f"## {name}")
        if "description" in schema:
            # A table in a docstring names the members in Python; the values are below.
            description = schema["description"]
            parts.append(_text(description.partition("\n\n|")[0]))
        if "enum" in schema:
            known = members.get(name, {})
            rows = [(f"`{value}`", _text(known.get(value, ""))) for value in schema["enum"]]
            parts.append(_table(("Value", "Meaning"), rows))
        elif schema.get("properties"):
            required = schema.get("required", ())
            parts.append(
                _table(
                    ("Field", "Type", "Default", "Meaning"),
                    [
                        (
                            f"`{field}`",
                            _type(each),
                            "required" if field in required else _schema_default(each),
                            _text(each.get("description", "")),
                        )
                        for field, each in schema["properties"].items()
                    ],
                )
            )
    return "\n\n".join(parts)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"] if each != {"type": "null"})
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("type") == "object":
        return "object"
    return str(schema.get("format") or schema.get("type") or schema.get("const", "any"))


def _schema_default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None or default in ([], {}) else _code(str(default))


def _enum_docs() -> dict[str, dict[str, str]]:
    """For each enumeration of the contract what its values mean."""
    found: dict[str, dict[str, str]] = {}
    for module in (base, campaign, failures, inbound, send_window):
        docs = _attribute_docs(module)
        for name, value in vars(module).items():
            is_its_own = getattr(value, "__module__", None) == module.__name__
            if is_its_own and inspect.isclass(value) and issubclass(value, Enum):
                found[name] = {
                    member.value: docs.get(name, {}).get(member.name, "") for member in value
                }
    return found


def _attribute_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """The strings below assignments: by class, those of the module itself under an empty name."""
    tree = ast.parse(inspect.getsource(module))
    bodies = {"": tree.body} | {
        node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)
    }
    return {name: dict(_documented(body)) for name, body in bodies.items()}


def _documented(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise(body):
        target = (
            statement.target
            if isinstance(statement, ast.AnnAssign)
            else statement.targets[0]
            if isinstance(statement, ast.Assign)
            else None
        )
        if (
            isinstance(target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            yield target.id, inspect.cleandoc(after.value.value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _text(text: str) -> str:
    """A docstring or help text as Markdown, with special characters escaped outside code."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(
        piece if piece.startswith("`") else re.sub(r"([<>*_])", r"\\\1", piece) for piece in pieces
    )


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


GENERATED: Final[dict[str, Callable[[], str]]] = {
    "settings": settings,
    "command-line": command_line,
    "metrics": metrics,
    "worker-metrics": worker_metrics,
    "twilio-codes": twilio_codes,
    "inbound-words": inbound_words,
    "inbound-texts": opt_out_texts.report,
    "quiet-hours": quiet_hours,
    "failure-classes": failure_classes,
    "search-attributes": search_attribute_table,
    "sender-rates": sender_rates,
    "contract-models": contract_models,
}


def fill_in(text: str) -> str:
    """A page with its generated parts."""
    return _PLACE.sub(lambda place: GENERATED[place[1]](), text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this when it loads the extension."""

    def read(_app: Sphinx, _page: str, source: list[str]) -> None:
        source[0] = fill_in(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
