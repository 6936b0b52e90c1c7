"""Registers, stack and spills of every CUDA kernel, as the compiler and the binary tools report them.

    python benchmarks/kernel_resources.py [--arch 80 90 ...] [--to FILE.json] [cuda/fold_natural.cu ...]
    python benchmarks/kernel_resources.py --module python/pixfold/_cuda*.so

The first compiles the files (default: all of cuda/) as the build does (``nvcc -Xptxas -v``) and keeps nothing of it;
the second reads an extension that was built (``cuobjdump -res-usage``; where the CUDA toolkit has none, that of
``pip install nvidia-cuda-cuobjdump`` or of triton). Neither needs a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


def find_cuobjdump() -> str | None:
    """The toolkit's, or one that came with a package."""
    found = shutil.which("cuobjdump")
    if found is not None:
        return found
    for package, below in (("nvidia", "cu*/bin/cuobjdump"), ("triton", "backends/nvidia/bin/cuobjdump")):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec is not None else []:
            for path in sorted(Path(folder).glob(below)):
                return str(path)
    return None


def of_module(module: Path, cuobjdump: str) -> dict[str, dict[str, list[Kernel]]]:
    """Kernels of a built extension, by architecture (``"sm_90"``) and by the file that they are in."""
    done = subprocess.run([cuobjdump, "-res-usage", str(module)], capture_output=True, text=True, check=True)
    return _read_usage(done.stdout)


def _read_usage(report: str) -> dict[str, dict[str, list[Kernel]]]:
    found: dict[str, dict[str, list[Kernel]]] = {}
    arch = name = ""
    for line in report.splitlines():
        if told := re.match(r"arch = (\S+)", line):
            arch = told[1]
        elif told := re.match(r"\s*Function (\S+):$", line):
            name = told[1]
        elif name and (told := re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", line)):
            file = re.search(r"_\d+_(\w+)_cu_[0-9a-f]{8}", name)
            # Spills are on the stack and have no number of their own here.
            kernel = Kernel(name, int(told[1]), int(told[2]) + int(told[3]), 0, 0)
            found.setdefault(arch, {}).setdefault(f"{file[1]}.cu" if file else "", []).append(kernel)
            name = ""
    return found


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
    parser.add_argument("--arch", nargs="+", default=["90"], help="compute capabilities without their point")
    parser.add_argument("--module", type=Path, help="a built extension to read in place of compiling")
    parser.add_argument("--to", type=Path, help="a JSON file to write")
    given = parser.parse_args(arguments)
    found: dict[str, dict[str, list[Kernel]]] = {}
    if given.module is not None:
        cuobjdump = find_cuobjdump()
        if cuobjdump is None:
            parser.error("--module needs cuobjdump, which is not there: pip install nvidia-cuda-cuobjdump")
        found = of_module(given.module, cuobjdump)
    else:
        for arch in given.arch:
            found[f"sm_{arch}"] = {file.name: resources(file, arch) for file in given.files}
    for arch, files in found.items():
        for file, kernels in files.items():
            for k in kernels:
                spills = f"stack {k.stack}, spills {k.spill_stores}/{k.spill_loads}" if k.stack else "no stack"
                print(f"{arch:7} {file:26} {k.registers:4} registers, {spills:28} {k.name}")
    if given.to is not None:
        ranges = {arch: {file: _range(kernels) for file, kernels in files.items()} for arch, files in found.items()}
        given.to.write_text(json.dumps(ranges, indent=1) + "\n")


def _range(kernels: Sequence[Kernel]) -> dict[str, dict[str, object]]:
    """Of each kernel, whatever it is compiled for, the registers from the fewest to the most and the largest stack."""
    by_name: dict[str, list[Kernel]] = {}
    for kernel in kernels:
        by_name.setdefault(kernel.name.split("<")[0], []).append(kernel)
    return {
        name: {
            "kernels": len(same),
            "registers": [min(k.registers for k in same), max(k.registers for k in same)],
            "stack": max(k.stack for k in same),
            "spills": max(k.spill_stores + k.spill_loads for k in same),
        }
        for name, same in by_name.items()
    }


if __name__ == "__main__":
    main()
