# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest for the run of aiosmtpd's tests: puts our read side under them and notes the outcomes.

POSTROAD_OUTCOMES names the file for them, {test: outcome} in JSON.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import sys
import types
from pathlib import Path

import aiosmtpd.controller
import aiosmtpd.smtp
import pytest

from tests.integration.aiosmtpd_suite.stock_commands import StockCommands
from tests.ports import free_port

_outcomes: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    # The suite asks setuptools for the path of its certificate, with a module that setuptools no longer has.
    resources = types.ModuleType("pkg_resources")
    vars(resources)["resource_filename"] = lambda package, name: str(importlib.resources.files(package) / name)
    sys.modules.setdefault("pkg_resources", resources)
    for module in (aiosmtpd.smtp, aiosmtpd.controller):
        vars(module)["SMTP"] = StockCommands
    from aiosmtpd.tests import conftest

    # Its servers are all on one port, one after the other.
    conftest.HostPort.__new__.__defaults__ = ("localhost", free_port())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = f"{Path(report.location[0]).stem}::{report.nodeid.partition('::')[2]}"
    if report.when == "call" or report.outcome != "passed":
        before = _outcomes.get(name, report.outcome)
        _outcomes[name] = "failed" if "failed" in (before, report.outcome) else report.outcome


def pytest_sessionfinish() -> None:
    Path(os.environ["POSTROAD_OUTCOMES"]).write_text(json.dumps(_outcomes))
