"""What a measurement was made on."""

import os
import platform
from pathlib import Path

import timm
import torch

__all__ = ['describe_machine']


def describe_machine(device: torch.device) -> list[str]:
    """Lines naming the processor or GPU, threads and versions."""
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        machine = (
            f'{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA '
            f'{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}'
        )
    else:
        load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan')
        machine = (
            f'{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, '
            f'load at the start {load:.1f}'
        )
    return [
        f'machine: {machine}',
        f'versions: Python {platform.python_version()}, torch {torch.__version__}, timm '
        f'{timm.__version__}',
    ]


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    if not info.exists():
        return platform.processor() or platform.machine()
    pairs = [line.partition(':') for line in info.read_text().splitlines()]
    fields = {key.strip(): value.strip() for key, _, value in pairs}
    return f'{fields.get("model name", platform.machine())} (model {fields.get("model", "?")})'
