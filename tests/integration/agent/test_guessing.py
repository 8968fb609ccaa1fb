# SPDX-License-Identifier: GPL-3.0-or-later
"""Guesses count for the whole host: with several workers, over the death of one, and over a reload."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import ssl
from pathlib import Path

import pytest

from .conftest import PASSWORD, Agent, wait_for
from .test_resumption import alone, workers


def sign_in(agent: Agent, password: str, worker: int) -> int:
    """The code of this worker's answer to a wrong password."""
    context = ssl.create_default_context(cafile=str(agent.certificate.certificate))
    context.check_hostname = False
    with alone(agent, worker), smtplib.SMTP_SSL("127.0.0.1", agent.implicit, timeout=20, context=context) as program:
        program.ehlo()
        program.user, program.password = "alice", password
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            program.auth("PLAIN", program.auth_plain)
        return refused.value.smtp_code


def test_guesses_count_for_all_workers_together(agent: Agent) -> None:
    agent.configure('[policy]\nguesses = 4\nguess_delay = "100ms"\n[process]\nworkers = 2\n')
    agent.start()
    first, second = workers(agent)
    assert [sign_in(agent, f"wrong {number}", (first, second)[number % 2]) for number in range(4)] == [535] * 4
    wait_for(lambda: len(agent.events("shut_out")) == 1, what="the shut-out")
    for worker in (first, second):
        assert sign_in(agent, PASSWORD, worker) == 454
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(set(workers(agent)) - {first, second}) == 1, 90, "another worker")
    (third,) = set(workers(agent)) - {first, second}
    assert sign_in(agent, PASSWORD, third) == 454
    agent.signal(signal.SIGHUP)
    wait_for(lambda: bool(agent.events("reloaded")) and not set(workers(agent)) & {second, third}, 90, "reload")
    for worker in workers(agent):
        assert sign_in(agent, PASSWORD, worker) == 454


def test_the_host_is_told_of_each_wrong_password_and_of_the_shut_out(agent: Agent, tmp_path: Path) -> None:
    path = tmp_path / "notices"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(path))
        path.chmod(0o777)
        service.settimeout(30)
        agent.configure(
            f'[policy]\nguesses = 2\nguess_delay = "10ms"\nshut_out = "60s"\nshut_out_notices = "{path}"\n'
            "[process]\nworkers = 1\n"
        )
        agent.start()
        (worker,) = workers(agent)
        assert [sign_in(agent, password, worker) for password in ("wrong 1", "wrong 2")] == [535, 535]
        notices = [json.loads(service.recv(2048)) for _ in range(2)]
    assert [(notice["peer"], notice["shut_out"]) for notice in notices] == [("127.0.0.1", 0), ("127.0.0.1", 60)]
    assert "alice" not in str(notices)
