"""The error that infogan raises for a user's mistake, and its warning about odd images."""

from infogan.utils.errors import DataWarning, UserError

__all__ = ["DataWarning", "UserError"]
