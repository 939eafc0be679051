"""What the machine is, in words."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

GPU_NAME = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"


@cache
def describe_machine() -> str:
    """The GPU, or else the CPU and its cores.

    PyTorch is asked in a process of its own: memory that this process holds would count in the peak of its children.
    """
    gpu = subprocess.run([sys.executable, "-c", GPU_NAME], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
    return gpu or f"CPU {read_cpu_name()}, {os.cpu_count()} cores".replace("  ", " ")


def read_cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return ""
