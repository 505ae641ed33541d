"""Errors of users: one sentence, and the nearest valid name for a misspelt one."""

from infogan.utils.errors import SilentError, UserError, unknown_name


def test_nearest_name_is_suggested() -> None:
    message = str(unknown_name("recipe", "robst", ["robust", "plain"]))
    assert message == "unknown recipe 'robst': did you mean 'robust'? Allowed are plain, robust"


def test_names_are_listed_if_none_is_near() -> None:
    assert str(unknown_name("recipe", "xyz", ["robust", "plain"])) == "unknown recipe 'xyz': allowed are plain, robust"


def test_programs_catch_them_as_value_errors() -> None:
    assert issubclass(UserError, ValueError)
    assert issubclass(SilentError, UserError)
