# SPDX-License-Identifier: GPL-3.0-or-later
"""ensure_service_user: what it runs, when it runs nothing, what it says on failure."""

import getpass

import pytest
from ansible_collections.postroad.relay.plugins.module_utils.service_user import ServiceUserError, ensure_service_user

ABSENT = "postroad-no-such-user"


class Recorder:
    """Stands where `AnsibleModule.run_command` stands and writes down what is asked of it."""

    def __init__(self, status: int = 0) -> None:
        self.calls: list[list[str]] = []
        self.status = status

    def __call__(self, args: list[str], /) -> tuple[int, str, str]:
        self.calls.append(args)
        return self.status, "", "it would not" if self.status else ""


def test_existing_user_is_left_alone() -> None:
    recorder = Recorder()
    assert ensure_service_user(recorder, getpass.getuser()) is False
    assert recorder.calls == []


def test_group_and_user_are_made() -> None:
    recorder = Recorder()
    assert ensure_service_user(recorder, ABSENT) is True
    assert [call[0] for call in recorder.calls] == ["groupadd", "useradd"]
    assert all(call[-1] == ABSENT and "--system" in call for call in recorder.calls)
    assert "/usr/sbin/nologin" in recorder.calls[1]


def test_check_mode_tells_and_touches_nothing() -> None:
    recorder = Recorder()
    assert ensure_service_user(recorder, ABSENT, check_mode=True) is True
    assert recorder.calls == []


def test_failure_names_the_command() -> None:
    with pytest.raises(ServiceUserError, match="groupadd postroad-no-such-user failed: it would not"):
        ensure_service_user(Recorder(status=1), ABSENT)
