# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts become HTML without becoming a way for HTML."""

import pytest
from ansible_collections.postroad.relay.plugins.plugin_utils.settings.texts import Texts, languages
from markupsafe import Markup

TEXTS = Texts({"one.bold": "Choose *File / {what}*, `run` <it>.", "one.steps": ["a *b*", "{x}"], "top": "t"})


def test_words_of_a_screen_and_words_to_type() -> None:
    assert TEXTS.say("one.bold", what="Add") == "Choose <b>File / Add</b>, <code>run</code> &lt;it&gt;."


def test_what_is_filled_in_is_escaped_and_never_marked_up() -> None:
    assert TEXTS.steps("one.steps", x="<script>*x*</script>")[1] == "&lt;script&gt;*x*&lt;/script&gt;"
    assert TEXTS.steps("one.steps", x=Markup("<code>1</code>")) == ["a <b>b</b>", "<code>1</code>"]


def test_an_attribute_gets_it_as_it_is() -> None:
    assert TEXTS.plain("one.bold", what="{}<") == "Choose *File / {}<*, `run` <it>."


def test_what_was_used_is_known() -> None:
    texts = Texts({"a.b": "x", "a.c": "y", "d": "z"})
    assert texts.table("a") == {"b": "x", "c": "y"}
    assert texts.used == {"a.b", "a.c"}
    assert texts.keys == {"a.b", "a.c", "d"}


def test_a_list_is_no_single_text() -> None:
    with pytest.raises(TypeError, match=r"one\.steps has to be a single"):
        TEXTS.plain("one.steps")
    with pytest.raises(TypeError, match=r"one\.bold has to be a list"):
        TEXTS.steps("one.bold")


def test_a_language_that_there_is_none_of() -> None:
    for language in ("tlh", "../settings_files/en", ""):
        with pytest.raises(ValueError, match=r"only in: .*en"):
            Texts.read(language)


@pytest.mark.parametrize("language", languages())
def test_every_language_has_every_text(language: str) -> None:
    texts, english = Texts.read(language), Texts.read("en")
    assert texts.keys == english.keys
    assert texts.plain("language") == language
    assert texts.plain("direction") in ("ltr", "rtl")
