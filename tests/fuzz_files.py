"""Damaged models, layouts, normalisers and checkpoints: each is read, or refused by one clear error.

Each case copies a sound folder, spoils one of its files (bytes, JSON, headers and tensors of safetensors, members of
.npz, links, pipes, sizes) and does with the folder what a user would. It may succeed, or raise InputError. It must not
crash, hang, take more than a gigabyte, or raise anything else.

    python tests/fuzz_files.py --seconds 60              until the time is over, from a new seed, which is printed
    python tests/fuzz_files.py --seed 7 --cases 500      the same cases every time
    python tests/fuzz_files.py --seed 7 --case 123       one of them
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import os
import resource
import secrets
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from fuzzing import model_folders

from pixfold.errors import InputError, PixfoldError

FOUND = 3
SECONDS_PER_CASE = 60
MORE_MEMORY = 2**30


def case(seed: int, number: int, sound: Path, work: Path) -> tuple[str, str | None]:
    """Spoil a copy of a folder and use it; say of which kind it is, and what was wrong with the outcome."""
    rng = np.random.default_rng([seed, number])
    kind = sorted(path.name for path in sound.iterdir())[int(rng.integers(len(list(sound.iterdir()))))]
    folder = work / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound / kind, folder)
    how = model_folders.damage(rng, folder)
    label = f"{kind}, {how}"
    faulthandler.dump_traceback_later(SECONDS_PER_CASE, exit=True)
    try:
        model_folders.use(folder, kind)
    except InputError as error:
        # What is found out when the model is used names the estimator.
        said = str(error)
        if "\n" in said or len(said) > 2_000:
            return kind, f"{label}: the error is no line: {said[:300]!r}..."
        return f"{kind} refused", None
    except PixfoldError as error:
        return kind, f"{label}: {type(error).__name__}: {error}"
    except Exception:
        return kind, f"{label}\n{traceback.format_exc()}"
    finally:
        faulthandler.cancel_dump_traceback_later()
    return f"{kind} accepted", None


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--cases", type=int)
    parser.add_argument("--case", type=int)
    parser.add_argument("--go-on", action="store_true", help="after a failure")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    faulthandler.enable()
    warnings.simplefilter("ignore")
    counts: collections.Counter[str] = collections.Counter()
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        sound, work = Path(name, "sound"), Path(name, "work")
        model_folders.make(sound)
        for kind in sound.iterdir():
            shutil.copytree(kind, work / "folder")
            model_folders.use(work / "folder", kind.name)
            shutil.rmtree(work / "folder", ignore_errors=True)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + MORE_MEMORY, size + MORE_MEMORY))
        end = time.monotonic() + given.seconds
        numbers = range(2**62) if given.cases is None else range(given.cases)
        for number in numbers if given.case is None else [given.case]:
            kind, wrong = case(given.seed, number, sound, work)
            counts[kind] += 1
            if wrong is not None:
                failures += 1
                print(
                    f"{wrong}\nagain: python {os.path.relpath(__file__)} --seed {given.seed} --case {number}",
                    flush=True,
                )
                if not given.go_on:
                    return FOUND
            if given.cases is None and given.case is None and time.monotonic() > end:
                break
    for kind, count in sorted(counts.items()):
        print(f"{kind:32}{count:8}")
    print(f"{counts.total()} cases, {failures} failures")
    return FOUND if failures else 0


if __name__ == "__main__":
    sys.exit(main())
