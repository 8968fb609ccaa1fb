# SPDX-License-Identifier: GPL-3.0-or-later
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay_agent.config.load import ConfigError, load_config, parse_config, read_config

GOOD = """\
hostname = "relay.example.org"

[[listener]]
address = "0.0.0.0"
port = 587
tls = "starttls"

[[listener]]
address = "0.0.0.0"
port = 465
tls = "implicit"

[tls]
certificate = "/nowhere/fullchain.pem"
key = "/nowhere/privkey.pem"

[[route]]
domains = ["*"]
via = [{ host = "smtp.example.net", port = 587, username = "u", password_file = "/nowhere/upstream" }]

[delivery]
retry_for = "5d"
"""


def problems(text: str | bytes) -> dict[str, str]:
    """The problems of a text, by key."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "agent.toml")
    assert all(problem.file == "agent.toml" for problem in caught.value.problems)
    assert str(caught.value).count("\n") == len(caught.value.problems) - 1
    return {problem.key: problem.problem for problem in caught.value.problems}


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_the_contract_is_read() -> None:
    config = parse_config(GOOD, "agent.toml")
    assert [listener.port for listener in config.listener] == [587, 465]
    assert config.delivery.retry_for == 432_000
    assert config.route[0].via[0].password_file == Path("/nowhere/upstream")
    assert parse_config("\ufeff".encode() + GOOD.encode(), "agent.toml") == config


def test_every_problem_is_told_with_its_key() -> None:
    text = """
        hostname = 3
        retry_for = "5d"
        [[listener]]
        port = 99999
        tls = "starttls"
        [[listener]]
        port = "587"
        tls = "tls"
        adress = "::1"
        [[listener]]
        port = 26
        address = "foo"
        tls = "none"
        [[listener]]
        port = 25
        tls = "none"
        [tls]
        certificate = 5
        [submission]
        trusted_networks = ["192.0.2.7/24", "example.org"]
        command_timeout = "4y"
        [[route]]
        domains = []
        via = [{ host = "a b", username = "u" }]
        [queue]
        backend = "replicated"
        [delivery]
        retry_for = 1
        resolvers = ["1.2.3.999"]
        """
    expected = {
        "hostname": "3 is not valid (expected text in quotes)",
        "retry_for": "is not a known key here; it belongs in [delivery]",
        "listener[0].port": "99999 is not a port (expected a whole number from 1 to 65535, without quotes)",
        "listener[1].port": '"587" is not a port (expected a whole number from 1 to 65535, without quotes)',
        "listener[1].tls": '"tls" is not a choice here (expected "starttls", "implicit", "auto" or "none")',
        "listener[1].adress": 'is not a known key; did you mean "address"?',
        "listener[2].address": '"foo" is not valid (expected an IP address such as 192.0.2.1 or 2001:db8::1)',
        "listener[3]": "port 25 is for mail between servers (RFC 6409), not for submission",
        "tls.certificate": "5 is not valid (expected a path in quotes)",
        "tls.key": "is missing (expected: PEM file with the private key, readable by the agent alone)",
        "submission.trusted_networks[0]": '"192.0.2.7/24" is not a network: it has bits set behind the prefix '
        "(expected 192.0.2.0/24)",
        "submission.trusted_networks[1]": '"example.org" is not a network '
        "(expected e.g. 192.0.2.0/24 or 2001:db8::/32)",
        "submission.command_timeout": '"4y" is not valid (expected a duration such as "90s", "30m", "12h" or "5d")',
        "route[0].domains": 'is empty (expected: Recipient domains: `"example.org"`, `"*.example.org"` (any name '
        'below) or `"*"` (all))',
        "route[0].via[0].host": '"a b" is not valid (expected a host name such as relay.example.org)',
        "queue.backend": '"replicated" is not a choice here (expected "embedded")',
        "delivery.retry_for": "1 is too small (expected at least 60)",
        "delivery.resolvers[0]": "1.2.3.999 is not an IP address",
    }
    assert problems(text) == expected


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", "hostname", "is missing"),
        ('hostname = "a"', "listener", "is missing"),
        ("listener = 5", "listener", "a list"),
        ('tls = "x"', "tls", "(expected [tls])"),
        ("listener = [5]", "listener[0]", "(expected [[listener]])"),
        ('[[route]]\ndomains = ["*"]\nvia = [5]', "route[0].via[0]", "(expected { key = value, ... })"),
        ('"\\u001b[31m" = 1', '"\\x1b[31m"', "not a known key"),
        (
            "[submission]\nmax_message_size = 5",
            "submission.max_message_size",
            "5 is too small (expected at least 65536)",
        ),
        ('[submission]\nmax_message_size = "big"', "submission.max_message_size", "a whole number, without quotes"),
        ("[delivery]\nretry_for = true", "delivery.retry_for", "true is not valid"),
        ("[delivery]\nretry_for = nan", "delivery.retry_for", "nan"),
        ("[delivery]\nconnect_timeout = -1", "delivery.connect_timeout", "negative"),
    ],
)
def test_a_single_fault(text: str, key: str, words: str) -> None:
    assert words in problems(text)[key]


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (b"hostname = \n", "line 1, column 12", "expected TOML"),
        (b"a = 1\nb = \x00\n", "line 2, column 5", "expected TOML"),
        (b"a = 1\n# \xff\n", "line 2", "0xff is not UTF-8"),
        (b'hostname = "a\x1b[31m"', "line 1, column 14", r"\x1b"),
        (b"a = " + b"[" * 100_000, "", "nested too deeply"),
        (b"a = " + b"9" * 10_000, "", "4300 digits"),
        (b"#" * 11_000_000, "", "larger than 1048576 bytes"),
        (b"a = 1\na = 2\n", "line 2, column 6", "overwrite"),
    ],
)
def test_what_is_not_toml_is_told_with_its_line(text: bytes, key: str, words: str) -> None:
    found = problems(text)
    assert list(found) == [key]
    assert words in found[key]
    assert found[key].isprintable()


@given(st.recursive(st.one_of(st.booleans(), st.integers(), st.text(max_size=9)), lambda s: st.lists(s, max_size=3)))
def test_any_value_in_any_place_is_judged_in_words(value: object) -> None:
    line = json.dumps(value, ensure_ascii=True)
    for text in (f"listener = {line}", f"submission = {line}", f"[tls]\ncertificate = {line}"):
        with pytest.raises(ConfigError) as caught:
            parse_config(text, "f")
        assert str(caught.value).replace("\n", "").isprintable()


def test_a_flood_of_faults_is_cut() -> None:
    text = "".join(f"key{number} = 1\n" for number in range(5000))
    assert len(problems(text)) == 101


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        (
            "port = 465",
            "port = 587",
            "listener[1].port",
            "port 587 is taken by listener[0] already, on the same address",
        ),
        (
            'address = "0.0.0.0"\nport = 465',
            'address = "127.0.0.1"\nport = 587',
            "listener[1].port",
            "on an address that includes it",
        ),
        ('address = "0.0.0.0"\nport = 465', "port = 587", "listener[1].port", "on an address that includes it"),
        (GOOD[GOOD.index("[tls]") : GOOD.index("[[route]]")], "", "listener[0].tls", '"starttls" needs a certificate'),
        ("port = 465", 'port = 465\nauth = "none"', "listener[1].auth", "would let everybody send"),
        ('tls = "implicit"', 'tls = "none"', "listener[1].tls", "passwords in the clear"),
        ('domains = ["*"]', 'domains = ["bücher.example"]', "route[0].domains[0]", "xn--"),
        ('domains = ["*"]', 'domains = ["a..b"]', "route[0].domains[0]", "is not a domain"),
        ('domains = ["*"]', 'domains = ["*.*.org"]', "route[0].domains[0]", "is not a domain"),
        ('retry_for = "5d"', 'retry_first = "2h"', "delivery.retry_first", "longer than delivery.retry_max"),
        (
            "[delivery]",
            '[submission]\ntrusted_networks = ["0.0.0.0/0"]\n[delivery]',
            "submission.trusted_networks[0]",
            "everybody",
        ),
        (
            "port = 465",
            'port = 465\nproxy_from = ["192.0.2.0/24", "::/0"]',
            "listener[1].proxy_from[1]",
            '"::/0" is everybody',
        ),
        ("port = 465", 'port = 465\nweb = "192.0.2.1:80"', "listener[1].web", "no web server of this host"),
        ("port = 465", 'port = 465\nweb = "localhost"', "listener[1].web", "no web server of this host"),
        ("port = 465", 'port = 465\nweb = "[::1]:0"', "listener[1].web", "no web server of this host"),
        ("[delivery]", "[submission]\ntrusted_networks = [5]\n[delivery]", "submission.trusted_networks[0]", "network"),
        (
            "[delivery]",
            '[[route]]\ndomains = ["example.org"]\nvia = [{ host = "a" }]\n[delivery]',
            "route[1].domains[0]",
            'never reached: route[0] takes "*"',
        ),
    ],
)
def test_a_rule_between_values(old: str, new: str, key: str, words: str) -> None:
    assert words in problems(changed(old, new))[key]


def test_a_route_that_is_there_twice() -> None:
    routes = '[[route]]\ndomains = ["A.org", "b.org"]\nvia = [{ host = "a" }]\n' * 2
    text = changed(GOOD[GOOD.index("[[route]]") : GOOD.index("[delivery]")], routes)
    assert list(problems(text)) == ["route[1].domains[0]", "route[1].domains[1]"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('address = "0.0.0.0"\nport = 465', 'address = "::"\nport = 587'),  # a family each
        ('port = 465\ntls = "implicit"', 'port = 465\ntls = "none"\n[submission]\ntrusted_networks = ["10.0.0.0/8"]'),
        ('address = "0.0.0.0"\nport = 465\ntls = "implicit"', 'address = "127.0.0.1"\nport = 465\ntls = "none"'),
        ('tls = "implicit"', 'tls = "implicit"\nweb = "[::1]:8080"'),
        ('tls = "implicit"', 'tls = "auto"\nproxy_from = ["192.0.2.1"]\n[submission]\nauto_wait = "1s500ms"'),
    ],
)
def test_what_the_rules_allow(old: str, new: str) -> None:
    parse_config(changed(old, new), "agent.toml")


def test_rules_of_signing() -> None:
    key = '[[dkim.key]]\ndomain = "a.org"\nselector = "S"\nfile = "/k"\n'
    found = problems(f'{GOOD}\n[dkim]\nexpire_after = "11d"\n{key}{key.replace("a.org", "A.org").replace("S", "s")}')
    assert set(found) == {"dkim.expire_after", "dkim.key[1].selector"}
    assert "at least 1036800 seconds" in found["dkim.expire_after"]
    assert "dkim.key[0] already" in found["dkim.key[1].selector"]
    parse_config(f'{GOOD}\n[dkim]\nexpire_after = "12d"\n{key}{key.replace("a.org", "b.org")}', "agent.toml")


def test_somebody_has_to_hand_over_reports() -> None:
    reports = '[suppression]\nreport_address = "fbl@relay.example.org"\n'
    assert list(problems(f"{GOOD}\n{reports}")) == ["suppression.report_address"]
    parse_config(f'{GOOD}\n{reports}report_accounts = ["mx"]\n', "agent.toml")
    parse_config(f'{GOOD}\n{reports}[submission]\ntrusted_networks = ["192.0.2.0/24"]\n', "agent.toml")


def test_reports_do_not_wait_for_a_site() -> None:
    reports = '[suppression]\nreport_address = "fbl@in.Site.test"\nreport_accounts = ["mx"]\n'
    site = SITE.replace("site.test", "*.site.test")
    taken = changed("[[route]]", f"{site}[[route]]")
    assert "waits for a site to call in" in problems(f"{taken}\n{reports}")["suppression.report_address"]
    other = '[[route]]\ndomains = ["in.site.test"]\nvia = [{ host = "b.test" }]\n'
    parse_config(f"{taken.replace(site, other + site)}\n{reports}", "agent.toml")
    parse_config(f"{taken}\n{reports.replace('in.Site.test', 'in..test')}", "agent.toml")


@pytest.mark.parametrize("selector", ["", "a b", "../a", "a_b", "-a", "a..b", "ä"])
def test_what_is_no_selector(selector: str) -> None:
    key = f'[[dkim.key]]\ndomain = "a.org"\nselector = "{selector}"\nfile = "/k"\n'
    assert list(problems(f"{GOOD}\n{key}")) == ["dkim.key[0].selector"]


def test_rules_are_told_together_with_unknown_keys() -> None:
    found = problems(changed("port = 465", "port = 587\ncolour = 1"))
    assert set(found) == {"listener[1].port", "listener[1].colour"}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/none.toml: cannot be read: no such file")):
        read_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a directory"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match="larger than"):
        read_config("/dev/zero")


def test_the_port_for_metrics() -> None:
    assert parse_config(GOOD, "agent.toml").metrics is None
    metrics = parse_config(GOOD + "[metrics]\n", "agent.toml").metrics
    assert metrics is not None
    assert (str(metrics.address), metrics.port) == ("127.0.0.1", 9465)
    found = problems(GOOD + '[metrics]\naddress = "localhost"\nport = 80\n')
    assert set(found) == {"metrics.address", "metrics.port"}
    taken = changed("port = 587\ntls", "port = 2587\ntls") + '[metrics]\naddress = "::"\nport = 2587\n'
    assert parse_config(taken, "agent.toml").metrics is not None  # the listener has IPv4 alone
    assert "listener[0]" in problems(taken.replace('"::"', '"127.0.0.1"'))["metrics.port"]


SITE = '[[route]]\ndomains = ["site.test"]\netrn = true\nowners = ["site"]\n'


@pytest.mark.parametrize(
    ("route", "key", "words"),
    [
        ('domains = ["a.test"]', "route[0]", "either via (upstream relays) or mx = true, or else etrn = true"),
        ('domains = ["a.test"]\netrn = true\nowners = ["a"]\nmx = true', "route[0]", "exclude each other"),
        ('domains = ["a.test"]\netrn = true\nowners = ["a"]\naccounts = ["b"]', "route[0]", "whoever sent it"),
        ('domains = ["a.test"]\netrn = true', "route[0]", "etrn needs owners"),
        ('domains = ["*"]\netrn = true\nowners = ["a"]', "route[0]", "for the domains of one site"),
        ('domains = ["a.test"]\nvia = [{ host = "b.test" }]\nowners = ["a"]', "route[0]", "with etrn = true"),
        ('domains = ["a.test"]\netrn = true\nowners = ["a b"]', "route[0].owners[0]", "is no account name"),
        ('domains = ["a.test"]\netrn = true\nowners = ["a"]\nhold_for = "1d"', "route[0].hold_for", "432000 seconds"),
    ],
)
def test_rules_of_mail_that_waits_for_a_site(route: str, key: str, words: str) -> None:
    (problem,) = problems(changed("[[route]]", f"[[route]]\n{route}\n[[route]]")).items()
    assert problem[0] == key
    assert words in problem[1]


def test_mail_may_wait_for_a_site_without_a_known_host() -> None:
    (site, _) = parse_config(changed("[[route]]", f"{SITE}[[route]]"), "agent.toml").route
    assert (site.etrn, site.owners, site.via, site.hold_for) == (True, ("site",), (), 30 * 86_400)
