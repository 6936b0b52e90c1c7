"""Budgets of memory: how much of it is free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# Where nothing says how much is free.
_UNKNOWN = 4 << 30


def free_memory(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """Bytes that can be had before the system swaps or kills: the least that machine, containers and SLURM leave.

    Parameters
    ----------
    root : Path
        Where ``proc`` and ``sys`` are.
    environment : mapping
        Where SLURM says what it grants.
    """
    found = [*_of_machine(root), *_of_groups(root), *_of_slurm(root, environment)]
    return max(0, min(found, default=_UNKNOWN))


def _of_machine(root: Path) -> Iterator[int]:
    available = _named(root / "proc/meminfo", r"MemAvailable:\s+(\d+) kB")
    if available is not None:
        yield available * 1024
    elif "SC_AVPHYS_PAGES" in os.sysconf_names:
        yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_groups(root: Path) -> Iterator[int]:
    """What the control groups of this process leave: its own, and every one that holds it."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2) if line.count(":") >= 2 else ("", "?", "")
        if controllers == "":  # version 2, by itself or beside version 1
            mounts, left = (mounted, mounted / "unified"), _of_group
        elif "memory" in controllers.split(","):
            mounts, left = (mounted / "memory", mounted), _of_old_group
        else:
            continue
        # In a container the path may be that of the host: then its folders are not here, but the mount is its own.
        names = [name for name in path.split("/") if name not in ("", ".", "..")]
        for mount in mounts:
            for depth in range(len(names), -1, -1):
                yield from left(mount.joinpath(*names[:depth]))


def _of_group(group: Path) -> Iterator[int]:
    limits = [limit for name in ("max", "high") if (limit := _number(group / f"memory.{name}")) is not None]
    used = _number(group / "memory.current")
    if limits and used is not None:
        # Files that it has cached can be given up.
        yield min(limits) - used + (_named(group / "memory.stat", r"inactive_file (\d+)") or 0)


def _of_old_group(group: Path) -> Iterator[int]:
    statistics = group / "memory.stat"
    # The second counts the groups above, which a container may not see.
    known = _number(group / "memory.limit_in_bytes"), _named(statistics, r"hierarchical_memory_limit (\d+)")
    limits = [limit for limit in known if limit is not None]
    used = _number(group / "memory.usage_in_bytes")
    if limits and used is not None:
        yield min(limits) - used + (_named(statistics, r"total_inactive_file (\d+)") or 0)


def _of_slurm(root: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """What SLURM grants to the job on this node, in MiB, less what this process takes; 0 stands for the whole node."""

    def granted(name: str) -> int:
        value = environment.get(name, "")
        return int(value) if re.fullmatch(r"[0-9]+", value) else 0

    resident = re.match(r"\d+ (\d+)", _text(root / "proc/self/statm"))
    used = int(resident[1]) * os.sysconf("SC_PAGE_SIZE") if resident else 0
    for mebibytes in (
        granted("SLURM_MEM_PER_NODE"),
        granted("SLURM_MEM_PER_CPU") * granted("SLURM_CPUS_ON_NODE"),
    ):
        if mebibytes:
            yield mebibytes * 2**20 - used


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if re.fullmatch(r"[0-9]+", text) else None


def _named(file: Path, line: str) -> int | None:
    match = re.search(f"^{line}$", _text(file), re.MULTILINE)
    return int(match[1]) if match else None
