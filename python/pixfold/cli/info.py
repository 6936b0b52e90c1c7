"""The command ``pixfold info``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from pixfold.cli.messages import console, one_line_errors


@one_line_errors
def info() -> dict[str, Any]:
    """Show versions, what this build of pixfold holds, and the devices there are.

    Example: pixfold info --json
    """
    from rich.table import Table

    from pixfold.build import build_config
    from pixfold.util.provenance import versions

    config = build_config()
    cuda, driver = "not built", "not looked for"
    if config["cuda"]:
        cuda = f"built with CUDA {config['cuda_version']} for {', '.join(config['cuda_archs'])}"
        driver = "none" if config["cuda_driver"] is None else f"supports CUDA {config['cuda_driver']}"
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    rows = {
        **versions(),
        "instruction set": f"{config['isa']} (of {', '.join(config['isas'])})",
        "OpenMP": "yes" if config["openmp"] else "no",
        "threads": config["threads"],
        "CUDA extension": cuda,
        "CUDA driver": driver,
        "CUDA devices": "; ".join(config["cuda_devices"]) or "none",
        "devices of torch": _devices_of_torch(),
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console().print(table, markup=False)
    return {"versions": versions(), "build": config, "torch_devices": _devices_of_torch().split(", ")}


def _devices_of_torch() -> str:
    if find_spec("torch") is None:
        return "cpu (torch is not installed)"
    import torch

    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return ", ".join(devices)
