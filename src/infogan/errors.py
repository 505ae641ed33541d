"""The error that infogan raises for a user's mistake."""

from infogan.utils.errors import UserError

__all__ = ["UserError"]
