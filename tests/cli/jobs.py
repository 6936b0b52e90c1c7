"""Jobs of the command line in processes of their own that share their imports, and that can be killed anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# Imports once, computes nothing, and forks a process for each job: a job then takes no seconds to begin.
_SERVER = """
import importlib, json, os, signal, sys, time
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot, captum.attr, sklearn.linear_model, safetensors.torch, torch
from pathlib import Path
import pixfold.report, pixfold.learn.estimators, pixfold.report.figures, pixfold.report.html, pixfold.sources
from pixfold.cli.app import main

PACKAGES = "pixfold captum sklearn scipy pandas pyarrow torch torchvision safetensors jinja2 rich".split()

# Pictures take longer than the jobs, and come after all that is looked at.
pixfold.report.figures.render = lambda results: {}

def die_at(step):
    # The moments that matter: before and after each change of a file's name, and within each file of tensors.
    left = [step]
    def tick():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def around(owner, name, half=None):
        own = getattr(owner, name)
        def wrapped(*given, **named):
            tick()
            found = own(*given, **named)
            if half is not None:
                half(*given)
            tick()
            return found
        setattr(owner, name, wrapped)
    def cut(tensors, path):
        if left[0] == 1:
            os.truncate(path, os.path.getsize(path) // 2)
    around(os, "replace")
    around(Path, "unlink")
    around(safetensors.torch, "save_file", cut)
    return left

def limited(limit):
    import resource
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(job["folder"])
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        torch.set_num_threads(1)
        exec(job["before"])
        limited(job["file_bytes"])
        steps = die_at(job["die_at"]) if job["die_at"] else die_at(10**9)
        sys.argv = ["pixfold", *job["argv"]]
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            import traceback
            traceback.print_exc()
            code = 99
        job["file_bytes"] or Path("modules").write_text(json.dumps(sorted(sys.modules)))
        Path("steps").write_text(str(10**9 - steps[0]))
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    awaited = job["signal_when"] and os.path.join(job["folder"], job["signal_when"])
    status, until = None, None if job["signal_after"] is None else time.monotonic() + job["signal_after"]
    while status is None:
        ended, found = os.waitpid(pid, 0 if until is None else os.WNOHANG)
        if ended:
            status = found
        elif time.monotonic() >= until and (awaited is None or os.path.exists(awaited)):
            os.kill(pid, job["signal"])
            until = None
        else:
            time.sleep(0.002)
    # What a job imports as it goes, the next ones have already.
    modules = Path(job["folder"], "modules")
    for name in json.loads(modules.read_text()) if modules.exists() else ():
        if name not in sys.modules and name.partition(".")[0] in PACKAGES:
            try:
                importlib.import_module(name)
            except Exception:
                pass
    modules.unlink(missing_ok=True)
    print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
"""


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str
    steps: int


class Jobs:
    """Runs jobs one after the other; a context manager."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.kill()
        self._server.communicate()

    def run(
        self,
        *argv: Any,
        die_at: int = 0,
        signal_after: float | None = None,
        signal_when: str | None = None,
        signal: int = 9,
        before: str = "",
        file_bytes: int | None = None,
    ) -> Done:
        """Run ``pixfold argv``.

        Parameters
        ----------
        die_at : int
            The process kills itself at this step of its work on files (:attr:`Done.steps` counts them). 0: never.
        signal_after : float, optional
            Seconds after which the process gets `signal`.
        signal_when : str, optional
            File without which it does not get it before.
        before : str
            Python that runs in the process first.
        file_bytes : int, optional
            Size that no file may exceed, as on a disk that is full.
        """
        (self.folder / "steps").unlink(missing_ok=True)
        job = {
            "folder": str(self.folder),
            "argv": [str(part) for part in argv],
            "die_at": die_at,
            "signal_after": signal_after,
            "signal_when": signal_when,
            "signal": signal,
            "before": before,
            "file_bytes": file_bytes,
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        code = json.loads(self._server.stdout.readline())
        steps = self.folder / "steps"
        return Done(
            code,
            (self.folder / "stdout").read_text(),
            (self.folder / "stderr").read_text(),
            int(steps.read_text()) if steps.exists() else 0,
        )
