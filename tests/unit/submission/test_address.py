# SPDX-License-Identifier: GPL-3.0-or-later
import pytest

from relay_agent.submission.address import PathError, parse_path


@pytest.mark.parametrize(
    ("argument", "address", "parameters"),
    [
        ("FROM:<alice@alpha.test>", "alice@alpha.test", {}),
        ("from:<alice@alpha.test>", "alice@alpha.test", {}),
        ("FROM: <alice@alpha.test>", "alice@alpha.test", {}),
        ("FROM:<>", "", {}),
        ("FROM:<a@b.test> SIZE=12 BODY=8BITMIME", "a@b.test", {"SIZE": "12", "BODY": "8BITMIME"}),
        ("FROM:<a@b.test> size=12 smtputf8", "a@b.test", {"SIZE": "12", "SMTPUTF8": ""}),
        ('FROM:<"a b>c"@b.test>', '"a b>c"@b.test', {}),
        ('FROM:<"a\\"b"@b.test>', '"a\\"b"@b.test', {}),
        ("FROM:<@one.test,@two.test:a@b.test>", "a@b.test", {}),
        ("FROM:<a+tag@[192.0.2.1]>", "a+tag@[192.0.2.1]", {}),
        ("FROM:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]", {}),
        ("FROM:<jörg@bücher.test> SMTPUTF8", "jörg@bücher.test", {"SMTPUTF8": ""}),
        ("FROM:<a@b.test> ENVID=Qq+3D1", "a@b.test", {"ENVID": "Qq+3D1"}),
        ("FROM:<a@b>", "a@b", {}),
        ("FROM:<a@1.b-c.test>", "a@1.b-c.test", {}),
    ],
)
def test_reads(argument: str, address: str, parameters: dict[str, str]) -> None:
    assert parse_path(argument, keyword="FROM") == (address, parameters)


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("", "501 5.5.4"),
        ("FROM:a@b.test", "501 5.5.4"),
        ("FROM<a@b.test>", "501 5.5.4"),
        ("FROM:<a@b.test", "501 5.5.4"),
        ("FROM:<a@b.test>x", "501 5.5.4"),
        ("FROM:<a@b.test> SIZE=1 SIZE=2", "501 5.5.4"),
        ("FROM:<a@b.test> =x", "501 5.5.4"),
        ("FROM:<a@b.test> SI\x00ZE=1", "501 5.5.4"),
        ("FROM:<alice>", "553 5.1.7"),
        ("FROM:<a b@b.test>", "553 5.1.7"),
        ("FROM:<a\x00@b.test>", "553 5.1.7"),
        ("FROM:<a\r@b.test>", "553 5.1.7"),
        ("FROM:<.a@b.test>", "553 5.1.7"),
        ("FROM:<a..b@b.test>", "553 5.1.7"),
        ("FROM:<a\u2028b@b.test>", "553 5.1.7"),
        ('FROM:<"a\x85b"@b.test>', "553 5.1.7"),
        ("FROM:<a@b\x9f.test>", "553 5.1.7"),
        ("FROM:<a@-b.test>", "553 5.1.7"),
        ("FROM:<a@b..test>", "553 5.1.7"),
        ("FROM:<a@b.test.>", "553 5.1.7"),
        ("FROM:<a@@b.test>", "553 5.1.7"),
        ("FROM:<a@[999.1.1.1]>", "553 5.1.7"),
        ("FROM:<a@[IPv6:zz]>", "553 5.1.7"),
        (f"FROM:<{'a' * 65}@b.test>", "553 5.1.7"),
        (f"FROM:<a@{'b' * 64}.test>", "553 5.1.7"),
        (f"FROM:<a@{'.'.join(['b' * 60] * 5)}.test>", "553 5.1.7"),
        ("TO:<a@b.test>", "501 5.5.4"),
    ],
)
def test_refuses(argument: str, code: str) -> None:
    with pytest.raises(PathError) as caught:
        parse_path(argument, keyword="FROM")
    reply = str(caught.value)
    assert reply.startswith(code)
    assert reply.isprintable()


@pytest.mark.parametrize("argument", ["FROM:<a@b.test> " + "X" * 900 + "=1 " + "X" * 900 + "=2"])
def test_a_reply_stays_a_line_that_every_program_reads(argument: str) -> None:
    with pytest.raises(PathError) as caught:
        parse_path(argument, keyword="FROM")
    assert len(str(caught.value)) <= 510  # RFC 5321 4.5.3.1.5
    assert str(caught.value).startswith("501 5.5.4 Parameter XXX")


def test_a_recipient_is_never_empty() -> None:
    with pytest.raises(PathError, match=r"^501 5\.1\.3"):
        parse_path("TO:<>", keyword="TO")


def test_hostile_length_is_refused_quickly() -> None:
    with pytest.raises(PathError):
        parse_path('FROM:<"' + "\\" * 4001 + ">", keyword="FROM")
    with pytest.raises(PathError):
        parse_path("FROM:<" + "a." * 5000 + ">", keyword="FROM")
    with pytest.raises(PathError):
        parse_path("FROM:<a@" + "b-" * 5000 + ">", keyword="FROM")
