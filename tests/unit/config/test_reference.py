# SPDX-License-Identifier: GPL-3.0-or-later
import re
from pathlib import Path

from relay_agent.config.load import parse_config
from relay_agent.config.reference import reference
from relay_agent.config.schema import Config

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    message = "run: python -m relay_agent.config.reference > docs/configuration.md"
    assert PAGE.read_text() == reference(), message


def test_every_key_has_a_row_with_a_meaning() -> None:
    text = reference()
    for name, field in Config.model_fields.items():
        assert re.search(rf"`\[*{name}\]*`", text)
        assert field.description
    assert "|  |" not in text
    assert '| `retry_for` | duration, at least 1m | `"5d"` |' in text


def test_the_example_is_good() -> None:
    example = re.search(r"```toml\n(.*?)```", reference(), re.DOTALL)
    assert example
    parse_config(example[1], "example")
