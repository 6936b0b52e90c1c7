"""Sizes of memory, and what machine, control groups and SLURM leave of it."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pixfold.errors import InputError
from pixfold.stream.budget import free_memory
from pixfold.util.sizes import bytes_of, in_words


@pytest.mark.parametrize(
    ("size", "n_bytes"),
    [
        (1, 1),
        (np.int32(7), 7),
        ("12", 12),
        ("12B", 12),
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("1.5GB", 1_500_000_000),
        ("2G", 2 * 10**9),
        ("3k", 3_000),
        ("1TB", 10**12),
        ("512MiB", 512 * 2**20),
        ("2GiB", 2 * 2**30),
        (" 4 Ki ", 4096),
    ],
)
def test_sizes(size, n_bytes):
    assert bytes_of("pack", size) == n_bytes


@pytest.mark.parametrize("size", ["", "GB", "-1GB", "1XB", "1 G B", "0", "0.1B", 0, -5, 1.5, True, None, "1e9", "nan"])
def test_what_is_no_size(size):
    with pytest.raises(
        InputError, match=r"^pack: memory must be a size such as '500MB', .* or a number of bytes, got "
    ):
        bytes_of("pack", size)


def test_sizes_in_words():
    assert [in_words(n) for n in (1, 999, 1_500, 2_340_000, 1_230_000_000)] == [
        "1 byte",
        "999 bytes",
        "1.5 kB",
        "2.34 MB",
        "1.23 GB",
    ]


MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"}
FREE = 8000 * 1024
MIB = 2**20


def v2(group: str, high: str = "max", *, limit: str = "max", used: int = 0, cached: int = 0) -> dict[str, str]:
    return {
        f"sys/fs/cgroup/{group}/memory.max": f"{limit}\n",
        f"sys/fs/cgroup/{group}/memory.high": f"{high}\n",
        f"sys/fs/cgroup/{group}/memory.current": f"{used}\n",
        f"sys/fs/cgroup/{group}/memory.stat": f"anon 1\ninactive_file {cached}\nfile 9\n",
    }


def v1(group: str, limit: int, *, used: int = 0, cached: int = 0, above: int | None = None) -> dict[str, str]:
    return {
        f"sys/fs/cgroup/memory/{group}/memory.limit_in_bytes": f"{limit}\n",
        f"sys/fs/cgroup/memory/{group}/memory.usage_in_bytes": f"{used}\n",
        f"sys/fs/cgroup/memory/{group}/memory.stat": f"hierarchical_memory_limit {above or limit}\n"
        f"inactive_file 77777\ntotal_inactive_file {cached}\n",
    }


UNLIMITED = 2**63 - 4096
OWN = "proc/self/cgroup"
JOB = {OWN: "0::/slurm/job_7/step_0\n"}
OLD = {OWN: "12:cpuset:/a\n4:memory,hugetlb:/docker/ab\n1:name=systemd:/docker/ab\n"}

LAYOUTS = {
    "the machine alone": ({}, {}, FREE),
    "a container that sees its own group": ({OWN: "0::/\n"} | v2("", limit="1000", used=700, cached=50), {}, 350),
    "no limit": ({OWN: "0::/\n"} | v2("", used=700), {}, FREE),
    "memory.high": ({OWN: "0::/\n"} | v2("", "800", limit="1000", used=700), {}, 100),
    "a limit above": (JOB | v2("slurm/job_7", limit="5000", used=1000) | v2("slurm/job_7/step_0", used=500), {}, 4000),
    "usage of a group above": (
        JOB | v2("slurm/job_7/step_0", limit="5000", used=1000) | v2("slurm", limit="9000", used=8000),
        {},
        1000,
    ),
    "the least of all": (
        JOB | v2("slurm", limit="9000") | v2("slurm/job_7", limit="5000") | v2("slurm/job_7/step_0", "6000"),
        {},
        5000,
    ),
    "the path of the host": ({OWN: "0::/../../kubepods/pod1\n"} | v2("", limit="1000", used=100), {}, 900),
    "more used than allowed": ({OWN: "0::/\n"} | v2("", limit="1000", used=1200), {}, 0),
    "version 2 beside version 1": (
        {OWN: "4:cpu:/\n0::/user\n", "sys/fs/cgroup/unified/user/memory.max": "90"}
        | {"sys/fs/cgroup/unified/user/memory.current": "20"},
        {},
        70,
    ),
    "version 1": (OLD | v1("docker/ab", 3000, used=1000, cached=200), {}, 2200),
    "version 1, a limit above": (OLD | v1("docker/ab", UNLIMITED, used=10) | v1("docker", 4000, used=1500), {}, 2500),
    "version 1, a limit that is only said": (OLD | v1("docker/ab", UNLIMITED, used=10, above=4000), {}, 3990),
    "version 1 in a container": (OLD | v1("", 3000, used=1000), {}, 2000),
    "version 1 without a limit": (OLD | v1("docker/ab", UNLIMITED, used=10), {}, FREE),
    "missing files": (JOB | {"sys/fs/cgroup/slurm/memory.max": "10"}, {}, FREE),
    "garbage": (
        {OWN: "\x00\nno line\n0::/x\n::\n"} | v2("x", "-5", limit="lots") | {"sys/fs/cgroup/memory.max": "1e3"},
        {"SLURM_MEM_PER_NODE": "lots", "SLURM_MEM_PER_CPU": "-1", "SLURM_CPUS_ON_NODE": ""},
        FREE,
    ),
    "SLURM, a node": ({"proc/self/statm": "99999 10 3 4"}, {"SLURM_MEM_PER_NODE": "2"}, 2 * MIB - 10 * 4096),
    "SLURM, CPUs": ({}, {"SLURM_MEM_PER_CPU": "1", "SLURM_CPUS_ON_NODE": "3"}, 3 * MIB),
    "SLURM, CPUs without their number": ({}, {"SLURM_MEM_PER_CPU": "1"}, FREE),
    "SLURM, the whole node": ({}, {"SLURM_MEM_PER_NODE": "0"}, FREE),
    "SLURM and its group": (JOB | v2("slurm/job_7", limit="5000"), {"SLURM_MEM_PER_NODE": "2"}, 5000),
    "SLURM grants more than is free": ({}, {"SLURM_MEM_PER_NODE": "64000"}, FREE),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_free_memory(tmp_path, layout):
    files, environment, expected = LAYOUTS[layout]
    for name, text in (MACHINE | files).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if "statm" in str(files) and os.sysconf("SC_PAGE_SIZE") != 4096:
        expected = 2 * MIB - 10 * os.sysconf("SC_PAGE_SIZE")
    assert free_memory(tmp_path, environment) == expected


def test_free_memory_of_this_machine():
    assert 0 < free_memory() < 1 << 50
