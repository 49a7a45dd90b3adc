"""Bad calls of the command line: arguments, standard input and variables."""

from typing import Final

from tests.bad_inputs.rows import DIGITS, NUMBER, TEXT, Command

_SENDER: Final = "+15005550006"
_LONG: Final = "x" * 201
_BYTES: Final = TEXT + "\udcff"
"""As Python reads bytes of the command line that are not UTF-8."""


def _call(name: str, says: str, *arguments: str, exit_code: int = 2, stdin: bytes = b"") -> Command:
    return Command(
        name=name,
        arguments=arguments, says=says, exit_code=exit_code, stdin=stdin,
    )  # fmt: skip


def _send(name: str, says: str, *options: str, to: str = NUMBER, stdin: bytes = b"") -> Command:
    body = () if {"--body", "--content-sid"} & {*options} else ("--body", TEXT)
    return _call(f"send: {name}", says, "send", to, "--from", _SENDER, *body, *options, stdin=stdin)


_SEND_ROWS: Final = (
    *(
        _send(f"to {what}", "TO: ", to=value)
        for what, value in {
            "a word": TEXT, "nobody": "", "two": f"{NUMBER},{NUMBER}", "a plus": "+",
            "a number with letters": f"{NUMBER}x", "a short number": "+155",
            "a long number": f"+1{DIGITS * 3}", "an unknown channel": f"pigeon:{NUMBER}",
            "NUL": f"{NUMBER}\0", "bytes": _BYTES,
        }.items()
    ),
    _send("from nobody", "from: ", "--from", f"{TEXT}!"),
    _send("a text that is too long", "body: ", "--body", TEXT * 200),
    _send("a blank text", "body: ", "--body", " "),
    _send("a text with NUL", "body: ", "--body", f"{TEXT}\0"),
    _send("a text of bytes", "body: ", "--body", _BYTES),
    _send("a text on standard input that is not UTF-8", "--body", "--body", "-",
          stdin=TEXT.encode() + b"\xff"),
    _send("a text on standard input with NUL", "body: ", "--body", "-",
          stdin=TEXT.encode() + b"\0"),
    _send("a text on standard input that is too long", "body: ", "--body", "-",
          stdin=TEXT.encode() * 200),
    _send("no text on standard input", "body: ", "--body", "-"),
    *(
        _send(f"media at {what}", "--media (1): ", "--media", value)
        for what, value in {
            "no address": TEXT, "another scheme": f"ftp://{TEXT}.example/a.png",
            "loopback": f"http://127.0.0.1/{TEXT}", "metadata": f"http://169.254.169.254/{TEXT}",
            "credentials": f"https://{TEXT}:x@cdn.example.com/a.png",
            "a long address": f"https://cdn.example.com/{'x' * 5_000}",
            "an invisible character": f"https://cdn.example.com/\u200b{TEXT}",
            "an unfinished address": f"https://[{TEXT}",
        }.items()
    ),
    _send("eleven media", "--media: ",
          *[each for n in range(11) for each in ("--media", f"https://cdn.example.com/{n}")]),
    _send("a content SID that is none", "--content-sid: ", "--content-sid", TEXT),
    *(
        _send(f"content variables that are {what}", "--content-variables", "--content-sid",
              "HX" + "0" * 32, "--content-variables", value)
        for what, value in {"no JSON": TEXT, "an array": f'["{TEXT}"]', "deep": "[" * 5_000}.items()
    ),
    _send("a content variable that is a number", "--content-variables", "--content-sid",
          "HX" + "0" * 32, "--content-variables", f'{{"1": {DIGITS}}}'),
    _send("no priority", "--priority: must be one of", "--priority", TEXT),
    _send("a category with spaces", "category: ", "--category", f"{TEXT} x"),
    _send("a tenant that is a number", "tenant: ", "--tenant", NUMBER),
    *(
        _send(f"at {what}", "--send-at: ", "--send-at", value)
        for what, value in {
            "no time": TEXT, "a time without a zone": "2030-01-01T00:00:00",
            "a day that is none": "2030-02-30T00:00:00Z", "the year 2100": "2100-01-01T00:00:00Z",
            "the year 1": "0001-01-01T00:00:00+23:59", "a number": DIGITS,
        }.items()
    ),
    _send("expired before it is sent", "--expires-at: ", "--send-at", "2030-01-02T00:00:00Z",
          "--expires-at", "2030-01-01T00:00:00Z"),
    *(
        _send(f"between {what}", "--between", "--between", value, "--time-zone", "Europe/Berlin")
        for what, value in {"words": TEXT, "one time": "09:00", "25 hours": "09:00-25:00",
                            "backwards": "20:00-09:00"}.items()
    ),
    *(
        _send(f"between hours that are none, and {what}", "--between", "--between", hours, option,
              value)
        for what, hours, option, value in (
            ("in no time zone", "20:00-09:00", "--time-zone", TEXT),
            ("on no day", "25:00-26:00", "--days", TEXT),
            ("without quiet hours", "20:00-09:00", "--quiet-hours", TEXT),
        )
    ),
    _send("between words, in no time zone", "--time-zone", "--between", TEXT, "--time-zone", TEXT),
    _send("on no day", "--days", "--between", "09:00-20:00", "--days", TEXT),
    _send("in no time zone", "--time-zone", "--between", "09:00-20:00", "--time-zone", TEXT),
    _send("with no quiet hours", "--quiet-hours", "--quiet-hours", TEXT),
    *(
        _send(f"a receipt timeout of {what}", "--receipt-timeout", "--receipt-timeout", value)
        for what, value in {"a word": TEXT, "nothing": "0", "less": "-1", "a number": DIGITS,
                            "a fraction": "1.5"}.items()
    ),
    _send("no such wish", "--on-unknown-outcome", "--on-unknown-outcome", TEXT),
    _send("a tag without a value", "--tag", "--tag", TEXT),
    _send("a tag twice", "--tag", "--tag", f"{TEXT}=1", "--tag", f"{TEXT}=2"),
    _send("a long tag", "--tag", "--tag", f"a={TEXT * 30}"),
    *(
        _send(f"an id {what}", "--id", "--id", value)
        for what, value in {"with a space": f"{TEXT} x", "that is long": _LONG,
                            "with an accent": f"{TEXT}é", "with NUL": f"{TEXT}\0",
                            "with the number": f"order-1{DIGITS}"}.items()
    ),
    *(
        _send(f"a wait of {what}", "--wait-timeout", "--wait", "--wait-timeout", value)
        for what, value in {"a word": TEXT, "nothing": "0", "less": "-1", "NaN": "nan",
                            "infinity": "inf"}.items()
    ),
)  # fmt: skip

_NO_SUCH: Final = {
    "a number": NUMBER, "a number without a plus": "1-555-867-5309",
    "an address": f"whatsapp:{NUMBER}",
}  # fmt: skip

_ID_ROWS: Final = (
    *(
        _call(f"{' '.join(command)}: an id that is {what}", f"There is no such {kind}",
              *command, value)
        for kind, commands in {
            "message": (("show",), ("cancel",)),
            "dead letter": (("dead-letters", "show"), ("dead-letters", "retry"),
                            ("dead-letters", "discard")),
            "job": (("dead-letters", "job"), ("dead-letters", "stop")),
        }.items()
        for command in commands
        for what, value in _NO_SUCH.items()
    ),
    *(
        _call(f"{' '.join(command)}: an id that is {what}", "MESSAGE_ID: must be 1 to 200 visible",
              *command, value)
        for command in (("show",), ("cancel",), ("dead-letters", "show"),
                        ("dead-letters", "retry"), ("dead-letters", "discard"))
        for what, value in {"words": f"{TEXT} x", "long": _LONG, "not ASCII": f"é{TEXT}"}.items()
    ),
    *(
        _call(f"{command}: a timeout of {what}", "--timeout: must be", command, "x", "--timeout",
              value)
        for command in ("show", "cancel")
        for what, value in {"a word": TEXT, "nothing": "0", "less": "-1", "NaN": "nan",
                            "infinity": "inf"}.items()
    ),
    *(
        _call(f"campaign {command}: an id that is {what}", "CAMPAIGN_ID: ", "campaign", command,
              value)
        for command in ("status", "pause", "resume", "cancel", "report")
        for what, value in {"a number": NUMBER, "words": f"{TEXT} x", "long": _LONG,
                            "blank": ""}.items()
    ),
)  # fmt: skip

_LISTS: Final = (
    ("messages", "list"), ("campaign", "list"), ("dead-letters", "list"), ("dead-letters", "jobs"),
    ("opt-outs", "list"), ("opt-outs", "review"), ("opt-ins", "list"), ("inbound", "list"),
)  # fmt: skip

_OPTION_ROWS: Final = (
    *(
        _call(f"{' '.join(command)}: a limit of {what}", "--limit", *command, "--limit", value)
        for command in _LISTS
        for what, value in {"a word": TEXT, "nothing": "0", "less": "-1",
                            "more than there is": "9" * 30}.items()
    ),
    *(
        _call(f"{' '.join(command)}: {option} that is {what}", option, *command, option, value)
        for command, option in (
            (("messages", "list"), "--since"), (("messages", "list"), "--until"),
            (("inbound", "list"), "--since"), (("opt-outs", "catch-up"), "--since"),
        )
        for what, value in {"a word": TEXT, "a number": DIGITS,
                            "before all time": "0001-01-01T00:00:00+23:59"}.items()
    ),
    _call("messages list: a number that is none", "--to", "messages", "list", "--to", TEXT),
    _call("messages list: a stage that is none", "--stage", "messages", "list", "--stage", TEXT),
    _call("messages list: a code that is none", "--code", "messages", "list", "--code", TEXT),
    *(
        _call(f"{' '.join(command)}: a {option} that is {what}", f"--{option}", *command,
              f"--{option}", value)
        for command in (("dead-letters", "list"), ("dead-letters", "causes"),
                        ("dead-letters", "retry"), ("dead-letters", "discard"))
        for option, what, value in (
            ("code", "a word", TEXT), ("code", "long", "9" * 30), ("class", "none", TEXT),
            ("query", "none", f"{TEXT} = ("), ("query", "open", "A' OR ("),
            ("tenant", "none", f"{TEXT} x"),
        )
    ),
    _call("dead-letters retry: an id and a filter", "MESSAGE_ID", "dead-letters", "retry", TEXT,
          "--code", "30003"),
    _call("dead-letters retry: neither", "MESSAGE_ID", "dead-letters", "retry"),
    _call("dead-letters retry: from nobody", "from: ", "dead-letters", "retry", "x", "--from",
          f"{TEXT}!"),
    _call("dead-letters retry: to nobody", "to: ", "dead-letters", "retry", "x", "--to", TEXT),
    _call("dead-letters retry: a long note", "note: ", "dead-letters", "retry", "x", "--note",
          TEXT * 100),
    *(
        _call(f"opt-outs {command}: {what}", "RECIPIENT: ", "opt-outs", command, value, *more)
        for command, more in {"add": (), "remove": ("--reason", "opted_out", "--yes"),
                              "history": ()}.items()
        for what, value in {"a word": TEXT, "two": f"{NUMBER},{NUMBER}", "bytes": _BYTES}.items()
    ),
    _call("opt-outs add: no reason", "--reason", "opt-outs", "add", NUMBER, "--reason", TEXT),
    _call("opt-outs add: no sender", "--sender", "opt-outs", "add", NUMBER, "--sender", TEXT + "!"),
    _call("opt-outs add: no category", "--category", "opt-outs", "add", NUMBER, "--category",
          f"{TEXT} x"),
    _call("opt-outs add: a note with the number", "--note", "opt-outs", "add", NUMBER, "--note",
          f"called {DIGITS}"),
    _call("opt-outs add: a note with NUL", "--note", "opt-outs", "add", NUMBER, "--note",
          f"{TEXT}\0"),
    _call("opt-outs add: a note of bytes", "--note", "opt-outs", "add", NUMBER, "--note", _BYTES),
    _call("opt-outs list: a recipient that is none", "--recipient", "opt-outs", "list",
          "--recipient", TEXT),
    _call("opt-outs list: after a word", "--after", "opt-outs", "list", "--after", TEXT),
    _call("opt-outs list: after a long number", "--after", "opt-outs", "list", "--after", "9" * 30),
    _call("opt-outs list: a scope that is none", "--scope", "opt-outs", "list", "--scope", TEXT),
    _call("opt-outs review: no such message", "no such message", "opt-outs", "review", TEXT,
          "--done"),
    _call("opt-ins add: a word", "RECIPIENT: ", "opt-ins", "add", TEXT, "--category", "marketing",
          "--source", "web_form"),
    _call("opt-ins add: no category", "--category", "opt-ins", "add", NUMBER, "--category",
          f"{TEXT} x", "--source", "web_form"),
    _call("opt-ins add: no source", "--source", "opt-ins", "add", NUMBER, "--category",
          "marketing", "--source", f"{TEXT}\0"),
    _call("opt-ins add: at no time", "--at", "opt-ins", "add", NUMBER, "--category", "marketing",
          "--source", "web_form", "--at", TEXT),
    _call("opt-ins add: before all time", "--at", "opt-ins", "add", NUMBER, "--category",
          "marketing", "--source", "web_form", "--at", "0001-01-01T00:00:00+23:59"),
    _call("opt-ins list: after a long number", "--after", "opt-ins", "list", "--after", "9" * 30),
    _call("opt-ins add: in the future", "--at", "opt-ins", "add", NUMBER, "--category",
          "marketing", "--source", "web_form", "--at", "2099-01-01T00:00:00Z"),
    _call("opt-ins remove: a word", "RECIPIENT: ", "opt-ins", "remove", TEXT, "--category", "a"),
    _call("opt-ins list: after a word", "--after", "opt-ins", "list", "--after", TEXT),
    _call("inbound list: a kind that is none", "--kind", "inbound", "list", "--kind", TEXT),
    _call("erase: a word", "RECIPIENT: ", "erase", TEXT, "--yes"),
    _call("erase: two", "RECIPIENT: ", "erase", f"{NUMBER},{NUMBER}", "--yes"),
    *(
        _call(f"senders {command[0]}: {what}", "SENDER: ", "senders", *command[:1], value,
              *command[1:])
        for command in (("rate", "1"), ("pause",), ("resume",))
        for what, value in {"no sender": f"{TEXT}!", "blank": "", "NUL": f"{TEXT}\0"}.items()
    ),
    *(
        _call(f"senders rate: {what}", "RATE: ", "senders", "rate", _SENDER, "--", value)
        for what, value in {"a word": TEXT, "nothing": "0", "less": "-1", "NaN": "nan",
                            "infinity": "inf", "a long number": "9" * 400}.items()
    ),
    *(
        _call(f"{command}: too many words", "arguments: too many words", command, TEXT, DIGITS,
              NUMBER)
        for command in ("doctor", "migrate", "temporal-ui", "show", "cancel", "erase")
    ),
    *(
        _call(f"{' '.join(command)}: an unknown option", "no such option", *command, "--colour",
              TEXT)
        for command in (*_LISTS, ("send",), ("show",), ("doctor",), ("migrate",), ("erase",))
    ),
    _call("no such command", "there is no such command", TEXT, NUMBER),
    _call("no such file of variables", "--env-file", "--env-file", f"/{TEXT}", "doctor"),
    _call("a folder of variables", "--env-file", "--env-file", "/", "doctor"),
)  # fmt: skip


def _with(name: str, says: str, *arguments: str, exit_code: int = 2, **environment: str) -> Command:
    return Command(name=f"variables: {name}", arguments=arguments, says=says, exit_code=exit_code,
                   environment=environment)  # fmt: skip


_VARIABLE_ROWS: Final = (
    *(
        _with(f"a database that is {what}", "DATABASE_URL", "opt-outs", "list", DATABASE_URL=value)
        for what, value in {"a word": TEXT, "of another kind": f"mysql://{TEXT}@x/y",
                            "no port": f"postgresql://a:{TEXT}@localhost:x/y"}.items()
    ),
    _with("a database in a folder", "database could not be used", "opt-outs", "list",
          DATABASE_URL="sqlite:////", exit_code=1),
    _with("a namespace that is none", "namespace", "show", "x", TEMPORAL_NAMESPACE="x",
          exit_code=1),
    _with("keys that are none", "PAYLOAD_KEYS", "show", "x", PAYLOAD_KEYS=TEXT,
          PAYLOAD_KEYS_FILE=""),
    _with("a file of keys that is none", "PAYLOAD_KEYS_FILE", "show", "x",
          PAYLOAD_KEYS_FILE=f"/{TEXT}"),
    _with("encryption that is maybe", "PAYLOAD_ENCRYPTION", "show", "x", PAYLOAD_ENCRYPTION=TEXT),
    _with("a secret file that is none", "DATABASE_URL_FILE", "opt-outs", "list",
          DATABASE_URL_FILE=f"/{TEXT}", DATABASE_URL=""),
)  # fmt: skip

COMMAND_ROWS: Final = (*_SEND_ROWS, *_ID_ROWS, *_OPTION_ROWS, *_VARIABLE_ROWS)
