"""Registers, stack and spills of every CUDA kernel, as the compiler reports them (``nvcc -Xptxas -v``).

    python benchmarks/kernel_resources.py [--arch 90] [--to FILE.json] [cuda/fold_natural.cu ...]

Compiles the files (default: all of cuda/) as the build does, keeps nothing of it and needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What cuda/CMakeLists.txt compiles with.
OPTIONS = ["-std=c++20", "-O3", "-fmad=false", "--expt-relaxed-constexpr", "-DPIXFOLD_ISA=cuda"]
FOLDERS = ["cuda", "csrc/include", "csrc"]


@dataclass(frozen=True)
class Kernel:
    """What a kernel takes of a multiprocessor; bytes are a thread's."""

    name: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def resources(file: Path, arch: str, nvcc: str = "nvcc") -> list[Kernel]:
    """Compile a file for an architecture (``"90"``) and give its kernels in the order of the compiler's report."""
    includes = [f"-I{ROOT / folder}" for folder in FOLDERS]
    with tempfile.TemporaryDirectory() as folder:
        command = [nvcc, *OPTIONS, *includes, f"-arch=sm_{arch}", "-Xptxas", "-v", "-cubin", str(file)]
        done = subprocess.run([*command, "-o", f"{folder}/kernels.cubin"], capture_output=True, text=True, check=False)
    report = done.stdout + done.stderr
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{report}")
    return list(_read(report))


def _read(report: str) -> Iterator[Kernel]:
    name, frame = "", (0, 0, 0)
    for line in report.splitlines():
        if found := re.search(r"Compiling entry function '(\S+)'", line):
            name = found[1]
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            frame = (int(found[1]), int(found[2]), int(found[3]))
        elif name and (found := re.search(r"Used (\d+) registers", line)):
            yield Kernel(_plain(name), int(found[1]), *frame)
            name = ""


def _plain(mangled: str) -> str:
    """The name in words where there is c++filt, without its arguments."""
    try:
        told = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return mangled
    for noise in ("void ", "pixfold::cuda::", "(anonymous namespace)::"):
        told = told.replace(noise, "")
    return re.sub(r"\((?![A-Za-z]+\)\d).*$", "", told)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=sorted((ROOT / "cuda").glob("*.cu")))
    parser.add_argument("--arch", default="90", help="compute capability without its point")
    parser.add_argument("--to", type=Path, help="a JSON file to write")
    given = parser.parse_args(arguments)
    found = {}
    for file in given.files:
        kernels = resources(file, given.arch)
        found[file.name] = [asdict(kernel) for kernel in kernels]
        for k in kernels:
            spills = f"spills {k.spill_stores}/{k.spill_loads}, stack {k.stack}" if k.stack else "no stack"
            print(f"{file.name:24} {k.registers:4} registers, {spills:28} {k.name}")
        sys.stdout.flush()
    if given.to is not None:
        given.to.write_text(json.dumps({"arch": given.arch, "files": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
