"""Run Python with a sanitized build of the extension modules in place of the installed ones.

    python tests/sanitized.py BUILD_FOLDER ARGUMENTS_OF_PYTHON ...

The package is a tree of links beside the modules that CMake built with PIXFOLD_SANITIZE=address: _core, and _cuda with
its kernels as host C++ (tests/cpp/simt). The interpreter is not
sanitized itself, so the compiler's runtime is loaded in front of everything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "python" / "pixfold"


def linked_package(build: Path) -> Path:
    """Links to the package's files, but for the modules, which are the build's; gives the folder to import from."""
    package = build / "python" / "pixfold"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    for path in [*SOURCES.iterdir(), *build.glob("_core*.so"), *build.glob("tests/cpp/_cuda*.so")]:
        if path.parent != SOURCES or not path.name.startswith(("_core.cpython", "_cuda.cpython", "__pycache__")):
            (package / path.name).symlink_to(path.resolve())
    return package.parent


def main() -> None:
    """Replace this process by the Python that was asked for."""
    build = Path(sys.argv[1]).resolve()
    cache = (build / "CMakeCache.txt").read_text()
    compiler = re.search(r"^CMAKE_CXX_COMPILER:\w+=(.+)$", cache, re.MULTILINE)
    assert compiler is not None
    # The runtime wraps what throws exceptions, so it wants the C++ library to be there when it starts.
    runtime = [
        subprocess.run([compiler[1], f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout
        for name in ("libasan.so", "libstdc++.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(path.strip() for path in runtime),
        # Python keeps much until it ends, so leaks are not looked for. NumPy asks for far too much in some tests,
        # and says so itself when it gets nothing.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=8192",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(linked_package(build)),
    }
    found = "import pixfold._core; print(pixfold._core.__file__)"
    said = subprocess.run(
        [sys.executable, "-c", found], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(said).resolve().parent == build, f"{said} is imported in place of the module in {build}"
    print(f"sanitized: {said}", flush=True)
    os.execve(sys.executable, [sys.executable, *sys.argv[2:]], environment)


if __name__ == "__main__":
    main()
