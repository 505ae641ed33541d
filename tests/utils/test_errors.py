"""Errors of users: one sentence, and the nearest valid name for a misspelt one."""

import os

from infogan.utils.errors import SilentError, UserError, encodable, unknown_name


def test_nearest_name_is_suggested() -> None:
    message = str(unknown_name("recipe", "robst", ["robust", "plain"]))
    assert message == "unknown recipe 'robst': did you mean 'robust'? Allowed are plain, robust"


def test_names_are_listed_if_none_is_near() -> None:
    assert str(unknown_name("recipe", "xyz", ["robust", "plain"])) == "unknown recipe 'xyz': allowed are plain, robust"


def test_programs_catch_them_as_value_errors() -> None:
    assert issubclass(UserError, ValueError)
    assert issubclass(SilentError, UserError)


def test_messages_can_be_encoded() -> None:
    message = str(UserError(f"cannot read {os.fsdecode(b'caf' + bytes([0xE9]) + b'.png')} and \ud800 of café"))
    assert message == "cannot read caf\\udce9.png and \\ud800 of café"
    assert message.encode().decode() == message
    assert str(SilentError(OSError("a\udcff"))) == "a\\udcff"
    assert str(unknown_name("code", "a\udcff", ["b\udcfe"])).isascii()
    assert encodable("été") == "été"
