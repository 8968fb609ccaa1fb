# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``relay-agent``: its arguments, its help, its exit status.

Each command's code is imported only when the command runs: ``--help`` answers in some 50 ms.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from relay_agent import __version__
from relay_agent.cli.certificate_commands import add_certificate
from relay_agent.cli.commands import DEFAULT_CONFIG
from relay_agent.cli.commands import CommandFormatter as _Formatter
from relay_agent.cli.commands import command as _command
from relay_agent.cli.commands import config_option as _config_option
from relay_agent.cli.commands import examples_text as _examples
from relay_agent.cli.commands import json_option as _json_option
from relay_agent.cli.dkim_commands import add_dkim
from relay_agent.cli.failover_commands import add_failover
from relay_agent.cli.probe_command import add_probe
from relay_agent.cli.queue_commands import add_queue, add_trace
from relay_agent.cli.shut_out_commands import add_shut_out
from relay_agent.cli.suppression_commands import add_suppression

__all__ = ["build_parser", "main"]

EXIT_FAILURE = 1
EXIT_BAD_CONFIG = 2

_STATUS = """\
exit status:
  0  done
  1  it could not be done; the reason is on standard error
  2  the configuration or the command line is bad; every problem is on standard error
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status. `arguments` without the program's name, default those of the process."""
    parsed = build_parser().parse_args(arguments)
    if "whole" in parsed:
        parsed.whole(parsed)  # what a parser cannot say by itself; exits as a parser does
    module, function = parsed.command
    try:
        status: int = getattr(importlib.import_module(module), function)(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Nothing may be written at exit any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        status = _report(error)
    return status


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="relay-agent",
        description="Postroad's relay agent: takes signed-in mail, keeps it safe, carries it on.",
        epilog="examples:\n  relay-agent check-config /etc/postroad/agent.toml\n  relay-agent status\n"
        f"  relay-agent trace bob@example.net\n\n{_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"relay-agent {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_service(commands)
    add_queue(commands)
    add_trace(commands)
    _add_account(commands)
    add_dkim(commands)
    add_suppression(commands)
    add_certificate(commands)
    add_shut_out(commands)
    add_probe(commands)
    add_failover(commands)
    return parser


def _add_service(commands: Any) -> None:
    serve = _command(
        commands,
        "serve",
        "relay_agent.cli.serve:serve",
        "run the agent in the foreground",
        "Run the agent in the foreground until SIGTERM. systemd runs it like this; SIGHUP takes up "
        "configuration, accounts, certificate and release without ending a session.",
        ["relay-agent serve --config /etc/postroad/agent.toml"],
    )
    _config_option(serve)

    check = _command(
        commands,
        "check-config",
        "relay_agent.cli.service:check_config",
        "say everything that is wrong with a configuration file",
        "Check a configuration file and what it names on this host (certificate, key, accounts, passwords), as the "
        "current user sees it. Each problem is a line: file, key, problem, what was expected.",
        [
            "relay-agent check-config",
            "relay-agent check-config new.toml",
            "relay-agent check-config --text-only new.toml   # on a machine that is not the relay",
            "relay-agent check-config --json new.toml",
        ],
    )
    check.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s"
    )
    check.add_argument(
        "--text-only", action="store_true", help="check only the file's text, not the files that it names on this host"
    )
    _json_option(check)

    test = _command(
        commands,
        "self-test",
        "relay_agent.cli.self_test:run",
        "check that this release works on this host",
        "Try what the agent needs of this host and release: modules, TLS, password hashes, and a message stored and "
        "read back in a temporary queue. Touches nothing of a running agent.",
        ["relay-agent self-test", "/opt/postroad/releases/NEW/bin/relay-agent self-test --json"],
    )
    _json_option(test)

    status = _command(
        commands,
        "status",
        "relay_agent.cli.status:run",
        "what the running agent is doing",
        "Show the running agent's listeners, sessions, counters and queue. Exit status 1 when no agent runs.",
        ["relay-agent status", "relay-agent status --json"],
    )
    _config_option(status)
    _json_option(status)

    metrics = _command(
        commands,
        "metrics",
        "relay_agent.cli.metrics:run",
        "the running agent's metrics",
        "Print the running agent's metrics in Prometheus' text format, as its port ([metrics]) has them; for the "
        "textfile collector of node_exporter, or a look. Exit status 1 when no agent runs.",
        [
            "relay-agent metrics | grep queue",
            "relay-agent metrics > /var/lib/prometheus/node-exporter/postroad.$$ &&",
            "      mv /var/lib/prometheus/node-exporter/postroad.$$ /var/lib/prometheus/node-exporter/postroad.prom",
            "relay-agent metrics --json",
        ],
    )
    _config_option(metrics)
    _json_option(metrics)


def _add_account(commands: Any) -> None:
    account = commands.add_parser("account", help="see and change who may sign in", formatter_class=_Formatter)
    account.description = "See and change who may sign in. A change takes effect at once in a running agent."
    account.epilog = _examples(["relay-agent account add alice@example.org", "relay-agent account list"])
    actions = account.add_subparsers(title="commands", metavar="COMMAND", required=True)
    module = "relay_agent.cli.account"

    add = _command(
        actions,
        "add",
        f"{module}:add",
        "add an account",
        "Add an account. The password is asked for, or read from standard input, and kept as an argon2id hash.",
        [
            "relay-agent account add alice@example.org",
            "relay-agent account add --generate printer",
            "pass show mail/alice | relay-agent account add alice@example.org --password-stdin",
        ],
    )
    passwd = _command(
        actions,
        "passwd",
        f"{module}:passwd",
        "change an account's password",
        "Change the password of an account; the old one stops working at once.",
        ["relay-agent account passwd alice@example.org", "relay-agent account passwd --generate printer"],
    )
    for parser in (add, passwd):
        parser.add_argument("name", metavar="NAME", help="the name to sign in with; upper and lower case are the same")
        source = parser.add_mutually_exclusive_group()
        source.add_argument(
            "--password-stdin", action="store_true", help="read the password: standard input's first line"
        )
        source.add_argument("--generate", action="store_true", help="make a password and print it, this once")

    add.add_argument(
        "--address", action="append", default=[], metavar="ADDRESS", help="what it may send as (may be repeated)"
    )
    held = _command(
        actions,
        "addresses",
        f"{module}:addresses",
        "set what an account may send as",
        "Set the addresses that an account may send as: alice@example.org (with any +tag), @example.org (the whole "
        "domain), sales-*@example.org, @*.example.org (any domain below).",
        [
            "relay-agent account addresses alice alice@example.org info@example.org",
            "relay-agent account addresses alice --clear",
        ],
    )
    held.add_argument("name", metavar="NAME")
    held.add_argument("address", metavar="ADDRESS", nargs="*")
    limits = _command(
        actions,
        "limits",
        f"{module}:limits",
        "give an account limits of its own",
        "Give an account limits in place of those of [policy]: messages_per_hour, messages_burst, recipients_per_hour, "
        "recipients_burst, message_size (bytes), sessions (0: no limit), priority_highest, priority_lowest (-9 to 9).",
        [
            "relay-agent account limits newsletter recipients_per_hour=50000",
            "relay-agent account limits alice --clear",
        ],
    )
    limits.add_argument("name", metavar="NAME")
    limits.add_argument("limit", metavar="LIMIT=NUMBER", nargs="*")
    for parser in (held, limits):
        parser.add_argument("--clear", action="store_true", help="drop what was set")

    texts = {
        "delete": ("remove an account", "Remove an account; it cannot sign in any more."),
        "disable": ("lock an account, keeping its password", "Lock an account; `enable` lets it in again."),
        "enable": ("let a locked account in again", "Let a locked account in again, with its old password."),
    }
    changes = []
    for name, (short, long) in texts.items():
        parser = _command(
            actions, name, f"{module}:{name}", short, long, [f"relay-agent account {name} alice@example.org"]
        )
        parser.add_argument("name", metavar="NAME")
        changes.append(parser)

    listing = _command(
        actions,
        "list",
        f"{module}:list_accounts",
        "the accounts",
        "List the accounts, without their hashes.",
        ["relay-agent account list", "relay-agent account list --json"],
    )
    sync = _command(
        actions,
        "sync",
        f"{module}:sync",
        "make the accounts exactly those of a list",
        "Make the accounts exactly those of a JSON list on standard input, changing only what differs: a hash that "
        'the wanted password fits is kept. The list: [{"name": "alice", "password": "..."}, '
        '{"name": "bob", "hash": "$argon2id$...", "disabled": true}]',
        ["relay-agent account sync < accounts.json", "relay-agent account sync --check --json < accounts.json"],
    )
    sync.add_argument("--check", action="store_true", help="only say what would change")
    sync.add_argument("--keep-others", action="store_true", help="leave accounts that are not in the list")
    for parser in (add, passwd, held, limits, *changes, listing, sync):
        _config_option(parser)
        parser.add_argument("--file", type=Path, metavar="FILE", help="file of accounts (default: the configuration's)")
        _json_option(parser)


def _report(error: Exception) -> int:
    """Say on standard error what went wrong; the exit status that it has."""
    from relay_agent.cli.terminal import complain, print_problem

    if isinstance(error, OSError):  # before what cannot be imported on every system that the probe runs on
        return _report_system(error)
    from relay_agent.accounts.store import AccountsError
    from relay_agent.control.client import AgentNotRunningError
    from relay_agent.control.protocol import ControlError

    if type(error).__name__ == "ConfigError":  # its module imports pydantic; whoever raised it has done so
        for line in str(error).splitlines():
            print_problem(line)
        return EXIT_BAD_CONFIG
    if isinstance(error, AccountsError) or type(error).__name__ in ("DkimError", "CertificateError", "FailoverError"):
        for line in str(error).splitlines():
            print_problem(line)
    elif isinstance(error, AgentNotRunningError | ControlError):
        complain(str(error))
        if type(error).__name__ == "UsageError":
            return EXIT_BAD_CONFIG
    else:
        raise error
    return EXIT_FAILURE


def _report_system(error: OSError) -> int:
    from relay_agent.cli.terminal import complain

    if isinstance(error, PermissionError):
        what = f"{error.filename}: permission denied" if error.filename else str(error)
        complain(f"{what}; run this as root or as the agent's user")
    else:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main())
