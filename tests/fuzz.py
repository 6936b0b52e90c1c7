"""Random calls of every op and of every function of the extension module: nothing may crash, and every error is clear.

Each case makes one sound call of an op with random data and compares its result with the reference. The calls that
the op made to ``pixfold._core`` on the way are recorded. Then arguments of both are damaged (dtypes, shapes, strides,
read-only memory, corrupt rows, layouts and labels, sizes that wrap around, overlaps) and the calls made again: they
may succeed or raise ValueError, TypeError or an error of pixfold's own, and after an error no argument has changed.

    python tests/fuzz.py --seconds 60              until the time is over, from a new seed, which is printed
    python tests/fuzz.py --seed 7 --cases 500      the same cases every time
    python tests/fuzz.py --seed 7 --case 123       one of them
"""

from __future__ import annotations

import argparse
import collections
import copy
import faulthandler
import mmap
import os
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

# Threads that spin would take the cores from whatever else runs; read when OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from fuzzing import calls, spoil
from fuzzing.arguments import GUARD, arrays_in, content, guarded, is_enormous, told
from fuzzing.calls import Call, Random, pick
from fuzzing.recorder import FUNCTIONS, RawCall, Recorder

from pixfold import _core
from pixfold.errors import PixfoldError

FOUND = 3  # exit code for a failure that was told; sanitizers end a process with 1
SECONDS_PER_CASE = 120  # a case takes milliseconds; this is a hang


class WrongError(AssertionError):
    """A call did what no call may do."""


class Fuzz:
    """Runs cases and counts what came of them."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.recorder = Recorder()
        self.isas = _core.isas()
        self.counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

    def case(self, number: int) -> None:
        """One sound call and several damaged ones."""
        rng = np.random.default_rng([self.seed, number])
        self.recorder.originals["set_isa"](pick(rng, self.isas))
        self.recorder.seen.clear()
        calls.strangers(rng)
        strange = [value for _, args, named in self.recorder.seen for value in (*args, *named.values())]
        self.recorder.seen.clear()
        call = pick(rng, calls.MAKERS)(rng)
        before = {key: content(value) for key, value in call.arguments.items()}
        result = call.function(**call.arguments)
        try:
            call.check(result)
        except AssertionError as error:
            raise WrongError(self._about(call.name, call.arguments, f"wrong result: {error}")) from error
        self._unchanged(call.name, call.arguments, before, except_for=("out", "self"))
        self.counts[call.name]["compared"] += 1
        raw = [*self.recorder.seen * 3, self._limit(rng), *self._plain(rng)]
        for _ in range(3):
            self._spoilt_op(rng, call)
        own = [value for _, args, named in raw for value in (*args, *named.values())]
        for _ in range(3):
            made = self._spoilt_function(rng, self._chosen(rng, raw), [*own, *strange])
            strange.append(made)

    def _chosen(self, rng: Random, raw: list[RawCall]) -> RawCall:
        """Any of the calls, or one of the function that was met least so far: some are called by few ops."""
        if rng.random() < 0.5:
            return pick(rng, raw)
        return min(raw, key=lambda call: self.counts[f"_core.{call[0]}"]["accepted"])

    def _limit(self, rng: Random) -> RawCall:
        """A sound call of one of the functions that only benchmarks use."""
        n, threads = int(rng.integers(0, 300)), int(rng.integers(-1, 3))
        to, from_ = np.zeros(n), np.arange(float(n))
        return pick(
            rng,
            [
                ("copy_bytes", (to, from_, threads), {}),
                ("fill_bytes", (from_, threads), {}),
                ("read_bytes", (from_, threads), {}),
            ],
        )

    def _plain(self, rng: Random) -> list[RawCall]:
        name = pick(rng, ["isa", "isas", "default_threads", "set_isa"])
        return [(name, (pick(rng, self.isas),) if name == "set_isa" else (), {})]

    def _spoilt_op(self, rng: Random, call: Call) -> None:
        arguments = dict(call.arguments)
        keys = [key for key in arguments if key != "self"]
        for _ in range(pick(rng, [1, 1, 2])):
            key = pick(rng, keys)
            others = [value for other, value in arguments.items() if other != key and other != "self"]
            arguments[key] = spoil.damaged(rng, arguments[key], others, long="column_stats" not in call.name)
        if "out" in arguments and "X" in arguments and rng.random() < 0.1:
            arguments["X"], arguments["out"] = _overlapping(rng, call)
        self._attempt(call.name, call.function, arguments, outputs=("out", "self"))

    def _spoilt_function(self, rng: Random, chosen: RawCall, foreign: list[Any]) -> Any:
        """Call a function of the extension module; what it gives may be an argument of the next."""
        name, args, kwargs = chosen
        function = self.recorder.originals[name]
        guards: list[np.ndarray] = []
        arguments: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
        arguments = {key: guarded(rng, value, guards) for key, value in arguments.items()}
        # In place of an argument also another one of the call (the same memory) or one of another call (a copy).
        others = [
            *arguments.values(),
            *(copy.copy(value) if isinstance(value, np.ndarray) else value for value in foreign),
        ]
        # Some sound calls are made again as they were: on other memory, and so that every function is met.
        spoilt = bool(arguments) and bool(rng.random() < 0.8)
        for _ in range(pick(rng, [1, 1, 2]) if spoilt else 0):
            key = pick(rng, list(arguments))
            long = all(word not in name for word in ("stats", "sums", "census", "any_missing")) and name != "Slots"
            arguments[key] = spoil.damaged(rng, arguments[key], others, long=long)
        positional = [arguments[i] for i in range(len(args))]
        named = {key: value for key, value in arguments.items() if isinstance(key, str)}
        result = self._attempt(
            f"_core.{name}", lambda **_: function(*positional, **named), {str(k): v for k, v in arguments.items()},
            outputs=None, sound=not spoilt,
        )  # fmt: skip
        for memory in guards:
            if not (np.all(memory[:GUARD] == 0xA5) and np.all(memory[-GUARD:] == 0xA5)):
                raise WrongError(self._about(f"_core.{name}", arguments, "wrote outside an array"))
        return result

    def _attempt(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: dict[str, Any],
        outputs: tuple[str, ...] | None,
        sound: bool = False,
    ) -> Any:
        """Make a call that may be refused; `outputs`: the arguments that it may change when it is not."""
        before = {key: content(value) for key, value in arguments.items()}
        read_only = {key for key, value in arguments.items() if not all(a.flags.writeable for a in arrays_in(value))}
        try:
            result = function(**arguments)
        except (ValueError, TypeError, PixfoldError) as error:
            if sound:
                raise WrongError(self._about(name, arguments, f"refused what an op passes: {error}")) from error
            self._unchanged(name, arguments, before)
            named = outputs is not None and not is_enormous(arguments)  # NumPy itself refuses to allocate that
            if named and not isinstance(error, PixfoldError | TypeError):
                raise WrongError(self._about(name, arguments, f"raised {type(error).__name__}")) from error
            op, _, kind = name.partition(" ")
            words = ("PackedGenotypes: ", "PackedGenotypes.toarray: ") if kind == "packed" else ()
            if named and not str(error).startswith((f"{op}: ", "Normalizer: ", *words)):
                raise WrongError(self._about(name, arguments, f"says no more than: {error}")) from error
            self.counts[name]["refused"] += 1
        except MemoryError as error:
            if not is_enormous(arguments):
                raise WrongError(self._about(name, arguments, "ran out of memory")) from error
            self._unchanged(name, arguments, before)
            self.counts[name]["refused"] += 1
        except Exception as error:
            raise WrongError(self._about(name, arguments, f"raised {type(error).__name__}")) from error
        else:
            inputs = set(arguments) - set(outputs) if outputs is not None else read_only
            self._unchanged(name, arguments, before, except_for=set(arguments) - inputs)
            self.counts[name]["accepted"] += 1
            return result
        return None

    def _unchanged(
        self, name: str, arguments: dict[str, Any], before: dict[str, list[bytes]], except_for: Any = ()
    ) -> None:
        for key, value in arguments.items():
            if key not in except_for and content(value) != before[key]:
                raise WrongError(self._about(name, arguments, f"changed {key}"))

    def _about(self, name: str, arguments: dict[Any, Any], what: str) -> str:
        lines = [f"    {key} = {told(value)}" for key, value in arguments.items()]
        return "\n".join([f"{name} ({_core.isa()}) {what}, called with", *lines])

    def table(self) -> str:
        """Count what happened, function by function."""
        kinds = ["compared", "accepted", "refused"]
        rows = [f"{'':28}" + "".join(f"{kind:>10}" for kind in kinds)]
        for name in sorted(self.counts):
            rows.append(f"{name:28}" + "".join(f"{self.counts[name][kind]:10}" for kind in kinds))
        return "\n".join(rows)

    def never_met(self) -> list[str]:
        """Functions of the extension module that no call has got through to."""
        return [name for name in FUNCTIONS if not self.counts[f"_core.{name}"]["accepted"]]


def _overlapping(rng: Random, call: Call) -> tuple[Any, Any]:
    """X and out of the right shapes in one piece of memory."""
    layout = call.arguments["layout"]
    n = 4
    images = n * layout.n_pixels
    memory = np.ones(n * layout.n_features + images, dtype=np.float32)
    x = memory[: n * layout.n_features].reshape(n, layout.n_features)
    start = int(rng.integers(0, n * layout.n_features))
    return x, memory[start : start + images].reshape(n, *layout.shape)


def work(seed: int, numbers: Iterator[int], end: float, progress: mmap.mmap, *, go_on: bool) -> int:
    """Run cases in this process, saying in `progress` which one; the exit code."""
    faulthandler.enable()
    warnings.simplefilter("ignore")  # corrupt input makes NumPy and SciPy warn
    if not os.environ.get("ASAN_OPTIONS"):  # which maps terabytes
        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    fuzz = Fuzz(seed)
    done = 0
    failures: collections.Counter[str] = collections.Counter()
    for number in numbers:
        progress[:8] = number.to_bytes(8, "little")
        try:
            fuzz.case(number)
        except Exception as error:
            kind = _kind(error)
            failures[kind] += 1
            if failures[kind] == 1:
                traceback.print_exc()
                print(f"case {number} failed: {again(seed, number)}", file=sys.stderr)
            if not go_on:
                return FOUND
        done += 1
        if time.monotonic() > end:
            break
    print(fuzz.table())
    print(f"{done} cases")
    for kind, n in failures.most_common():
        print(f"{n} x {kind}", file=sys.stderr)
    missed = fuzz.never_met()
    if done > 500 and missed:
        print(f"no call got through to {', '.join(missed)}: teach tests/fuzzing/calls.py", file=sys.stderr)
        return FOUND
    return FOUND if failures else 0


def _kind(error: BaseException) -> str:
    """What failures of one cause have in common."""
    deepest = error.__cause__ or error
    place = traceback.extract_tb(deepest.__traceback__)[-1]
    head = str(error).partition(", called with")[0].partition(": ")[0]
    return f"{head} [{type(deepest).__name__} at {os.path.basename(place.filename)}:{place.lineno}]"


def again(seed: int, number: int) -> str:
    """Say how to run one case again."""
    return f"python {os.path.relpath(__file__)} --seed {seed} --case {number}"


def watch(arguments: argparse.Namespace) -> int:
    """Run the cases in another process, so that a crash or a hang is told with the case that did it."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(mmap.PAGESIZE))
        file.flush()
        command = [sys.executable, __file__, *sys.argv[1:], "--seed", str(arguments.seed), "--progress", file.name]
        with mmap.mmap(file.fileno(), mmap.PAGESIZE) as progress, subprocess.Popen(command) as worker:
            last, since = b"", time.monotonic()
            while worker.poll() is None:
                time.sleep(0.05)
                now = progress[:8]
                if now != last:
                    last, since = now, time.monotonic()
                elif time.monotonic() - since > SECONDS_PER_CASE:
                    worker.send_signal(signal.SIGABRT)  # faulthandler then shows where it is
                    worker.wait()
            if worker.returncode not in (0, FOUND):
                number = int.from_bytes(progress[:8], "little")
                what = f"ended with {worker.returncode} (minus the signal, for a crash or a hang)"
                print(f"case {number} {what}: {again(arguments.seed, number)}", file=sys.stderr)
            return int(worker.returncode != 0)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--cases", type=int)
    parser.add_argument("--case", type=int)
    parser.add_argument("--go-on", action="store_true", help="after a failure, and show one of each kind")
    parser.add_argument("--progress", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.progress is None:
        print(f"seed {arguments.seed}, {_core.__file__}", flush=True)
        return watch(arguments)
    numbers = iter(range(2**62)) if arguments.cases is None else iter(range(arguments.cases))
    if arguments.case is not None:
        numbers = iter([arguments.case])
    timed = arguments.cases is None and arguments.case is None
    end = time.monotonic() + arguments.seconds if timed else np.inf
    with open(arguments.progress, "r+b") as file, mmap.mmap(file.fileno(), mmap.PAGESIZE) as progress:
        return work(arguments.seed, numbers, float(end), progress, go_on=arguments.go_on)


if __name__ == "__main__":
    sys.exit(main())
