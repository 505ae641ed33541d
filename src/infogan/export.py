"""Public name of `infogan.models.export`: ``from infogan.export import export``."""

from infogan.models.export import FORMATS as FORMATS
from infogan.models.export import export as export
