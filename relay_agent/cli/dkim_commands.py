# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments and the help of ``relay-agent dkim``; what the commands do is in `dkim`."""

from __future__ import annotations

from typing import Any

from relay_agent.cli.commands import CommandFormatter, command, config_option, examples_text, json_option

__all__ = ["add_dkim"]

_MODULE = "relay_agent.cli.dkim"


def add_dkim(commands: Any) -> None:
    """Add the command and its actions."""
    dkim = commands.add_parser(
        "dkim", help="keys that sign mail, and their DNS records", formatter_class=CommandFormatter
    )
    dkim.description = (
        "Keys that sign mail (DKIM), and their DNS records. A domain's first key and every later one go the same way: "
        "`new` makes it, you publish its record, `activate` lets it sign and retires the one before, and `delete` "
        "removes that once the mail it signed has arrived. A change takes effect at once in a running agent."
    )
    dkim.epilog = examples_text(
        [
            "relay-agent dkim new example.org         # prints the records to publish",
            "relay-agent dkim check example.org       # are they in DNS?",
            "relay-agent dkim activate example.org    # from now on, mail is signed",
            "relay-agent dkim keys",
        ]
    )
    actions = dkim.add_subparsers(title="commands", metavar="COMMAND", required=True)

    keys = command(
        actions,
        "keys",
        f"{_MODULE}:keys",
        "the keys, and what each waits for",
        "List the keys of all domains or of one, the state of each, and what comes next.",
        ["relay-agent dkim keys", "relay-agent dkim keys example.org --json"],
    )
    new = command(
        actions,
        "new",
        f"{_MODULE}:new",
        "make a domain's next keys",
        "Make a domain's next keys, RSA of 2048 bits and Ed25519, and print the records to publish. Nothing is signed "
        "with them before `activate`.",
        [
            "relay-agent dkim new example.org",
            "relay-agent dkim new example.org --selector 2027a",
            "relay-agent dkim new example.org --algorithm rsa",
        ],
    )
    new.add_argument("--selector", metavar="NAME", default="", help="default: by date, such as 20260131-rsa")
    new.add_argument(
        "--algorithm", choices=("both", "rsa", "ed25519"), default="both", help="what to make (default: %(default)s)"
    )
    activate = command(
        actions,
        "activate",
        f"{_MODULE}:activate",
        "let pending keys sign",
        "Let a domain's pending keys sign, and retire those of the same kind that did before. Refused until DNS has "
        "their records.",
        ["relay-agent dkim activate example.org", "relay-agent dkim activate example.org 20260131-rsa"],
    )
    retire = command(
        actions,
        "retire",
        f"{_MODULE}:retire",
        "let a key sign no more",
        "Let a key sign no more. Its record has to stay until the mail that it signed has arrived.",
        ["relay-agent dkim retire example.org 20260131-ed25519"],
    )
    delete = command(
        actions,
        "delete",
        f"{_MODULE}:delete",
        "remove a key for good",
        "Remove a key that is pending, or retired for as long as mail may be on its way. Take its record out of DNS "
        "afterwards.",
        ["relay-agent dkim delete example.org 20260131-rsa"],
    )
    record = command(
        actions,
        "record",
        f"{_MODULE}:record",
        "print the DNS records to publish",
        "Print the records of the keys as lines for a zone file; comments have name and value for a provider's form.",
        [
            "relay-agent dkim record example.org >> example.org.zone",
            "relay-agent dkim record --json | jq -r '.[].value'",
        ],
    )
    check = command(
        actions,
        "check",
        f"{_MODULE}:check",
        "compare the records in DNS with the keys",
        "Ask the configured resolvers for the records of the keys and compare. Exit status 1 when a key that signs, "
        "or is to, has no fitting record.",
        ["relay-agent dkim check", "relay-agent dkim check example.org --json"],
    )
    check.add_argument("--everywhere", action="store_true", help="ask each name server of the domain as well")
    export = command(
        actions,
        "export",
        f"{_MODULE}:export",
        "print a key, for another relay",
        "Print a key's file: its state and the private key in PEM. Secret: hand it to another relay's `import` and "
        "nowhere else.",
        ["relay-agent dkim export example.org 2026a | ssh relay2 relay-agent dkim import example.org 2026a"],
    )
    import_key = command(
        actions,
        "import",
        f"{_MODULE}:import_key",
        "keep a key that another relay has made",
        "Read a key (PEM) from standard input and keep it as pending, so that several relays sign with the same.",
        ["relay-agent dkim import example.org 20260131-rsa < 20260131-rsa.pem"],
    )
    for parser in (new, activate, retire, delete, export, import_key):
        parser.add_argument("domain", metavar="DOMAIN")
    for parser in (keys, record, check):
        parser.add_argument("domain", metavar="DOMAIN", nargs="?", default="", help="default: all")
    for parser in (retire, delete, export, import_key):
        parser.add_argument("selector", metavar="SELECTOR")
    for parser in (activate, record, check):
        parser.add_argument("selector", metavar="SELECTOR", nargs="?", default="", help="default: all of the domain")
    for parser in (activate, delete):
        parser.add_argument("--force", action="store_true", help="do it all the same")
    for parser in (keys, new, activate, retire, delete, record, check, export, import_key):
        config_option(parser)
        if parser is not export:
            json_option(parser)
