"""Operations that are fast on the training machine."""

from __future__ import annotations

import torch

NATIVE_BF16 = ("amx_bf16", "avx512_bf16", "arm_bf16", "sve_bf16", "bf16")


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 itself; a CPU without it is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in NATIVE_BF16)
