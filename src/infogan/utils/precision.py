"""Number formats that the hardware has."""

import torch


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies numbers in bfloat16."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    return device.type == "cuda" and torch.cuda.is_bf16_supported()
