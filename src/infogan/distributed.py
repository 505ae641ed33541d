"""Who this process is among several; alone, it is all of them."""

from torch import distributed


def rank() -> int:
    """This process's number, 0 if it is alone."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes train together, 1 if alone."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1
