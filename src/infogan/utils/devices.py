"""The devices that networks compute on: the CPU, and accelerators of any maker that PyTorch supports.

What differs between them is here, except the messages of several workers (`utils.distributed`) and pinned memory
(`data.batches`), which only CUDA has. Random numbers, autocast and transfers take a device as it is.
"""

import os

import torch

from infogan.utils.errors import UserError


def pick_device(name: str) -> str:
    """Return the name of a device; ``auto`` is the accelerator if there is one, else the CPU.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` (NVIDIA, AMD), ``mps`` (Apple), ``xpu`` (Intel), or one of several, as
            ``cuda:1``.

    Raises:
        UserError: The device is not available.
    """
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        shares_work = "TORCHELASTIC_RUN_ID" in os.environ  # several workers exchange messages on CPU and CUDA alone
        return "cpu" if accelerator is None or (shares_work and accelerator.type != "cuda") else accelerator.type
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {name!r} is not available: {str(error).splitlines()[0]}") from error
    return name


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies numbers in bfloat16, so that networks are faster in it."""
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported()
    if device.type != "cuda":
        return False
    # PyTorch also counts GPUs on which it emulates bfloat16, slowly.
    return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished what it was given: Python only queues work for an accelerator."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def describe(device: torch.device) -> tuple[str, str]:
    """Return what the device is, and what else must be the same for the same results, as part of a sentence."""
    if device.type == "cpu":
        name = f"CPU with {torch.backends.cpu.get_cpu_capability()}"
        return name, f"{torch.get_num_threads()} thread(s) and a CPU with the same instructions"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        cuda = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
        return name, f"{cuda}, the same driver and a {name}"
    return device.type, f"the same system and the same {device.type} device"
