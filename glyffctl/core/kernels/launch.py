"""How kernels are launched."""

from __future__ import annotations

from typing import Any

OPTIONS: dict[str, Any] = {"enable_fp_fusion": True}
"""a·b + c in one instruction, rounded once. Triton 3.9 wants it said, and 3.10 would change its mind."""
