# SPDX-License-Identifier: GPL-3.0-or-later
"""A bad configuration is refused in words, and the agent that runs is left alone."""

import pytest
from traffic.relays import Relay

pytestmark = pytest.mark.parametrize("relay", ["relay1", "relay2"])

CONFIG = "/etc/postroad/agent.toml"


def test_every_problem_is_named_and_the_agent_goes_on(relay: str, relays: dict[str, Relay]) -> None:
    host, pid = relays[relay].host, relays[relay].main_pid()
    host.check_output(f"cp -p {CONFIG} {CONFIG}.good")
    try:
        host.check_output(f"sed -i -e 's/^port = 587$/port = 99999/' -e '1i nonsense = 1' {CONFIG}")
        checked = host.run(f"relay-agent check-config {CONFIG}")
        assert checked.rc == 2
        assert f"{CONFIG}: nonsense" in checked.stderr
        assert "port" in checked.stderr
        assert "99999" in checked.stderr
        assert host.run("systemctl reload relay-agent.service").rc != 0
    finally:
        host.check_output(f"mv {CONFIG}.good {CONFIG}")
    assert relays[relay].main_pid() == pid
    assert host.service("relay-agent.service").is_running
    host.check_output("systemctl reload relay-agent.service")
    assert relays[relay].main_pid() == pid
