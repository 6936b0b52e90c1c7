#!/usr/bin/env bash
# Everything that needs a GPU, in one command that ends within six minutes:
#
#     benchmarks/gpu_job.sh [FOLDER]
#
# builds both extensions in place for the card that is there, runs the tests marked gpu and those of the kernels alone,
# the benchmarks, a needle-in-a-haystack run, all pairs of 10^6 genotypes, and compute-sanitizer's memcheck and racecheck
# on small cases. It writes summary.md, log.txt and benchmarks.json into FOLDER, benchmarks/results/CARD without one. No network. What is missing
# is said before anything else: see `packages` and `tools` below. A part that cannot run, or has no time left, says so in
# the summary. The exit status is 0 only when every part ran and passed.
#
# shellcheck disable=SC2329 # functions are called by `part`
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
packages=(numpy scipy torch pybind11 pytest pytest_benchmark hypothesis)
packages+=(sklearn pandas) # for the needles alone
tools=(nvcc c++ cmake compute-sanitizer)
seconds=350 # of the whole job

# compute-sanitizer stands beside nvcc, which may be a link.
nvcc=$(command -v nvcc) && PATH=$PATH:$(dirname "$(readlink -f "$nvcc")")
missing=$("$python" - "${packages[@]}" <<'PYTHON'
import importlib.util, sys

names = {"sklearn": "scikit-learn", "pytest_benchmark": "pytest-benchmark"}
print(*(names.get(name, name) for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
PYTHON
) || exit 2
[ -z "$missing" ] || echo "gpu_job.sh: these Python packages are missing: $missing" >&2
for tool in "${tools[@]}"; do
    if ! command -v "$tool" >/dev/null; then
        missing+=" $tool"
        echo "gpu_job.sh: this program is missing: $tool" >&2
    fi
done
[ -z "$missing" ] || exit 2

read -r name capability < <("$python" -c 'import re, torch
found = torch.cuda.is_available()
print(re.sub(r"\W+", "_", torch.cuda.get_device_name().lower()) if found else "none",
      "".join(map(str, torch.cuda.get_device_capability())) if found else "none")')
[ "$name" != none ] || { echo "gpu_job.sh: torch finds no CUDA device" >&2 && exit 2; }
out=${1:-benchmarks/results/$name}
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
summary=$out/summary.md log=$out/log.txt
build=build/gpu_$capability
export PYTHONPATH=$PWD/python OMP_WAIT_POLICY=passive
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # of packages that happen to be there
export python build out capability
failed=0

# part NAME SECONDS FUNCTION: runs it with a limit, logs it, adds a line to the summary.
part() {
    local limit=$2 started=$SECONDS status=0 said=passed from last
    [ $((seconds - SECONDS)) -ge "$limit" ] || limit=$((seconds - SECONDS))
    printf '\n==== %s\n' "$1" >>"$log"
    from=$(wc -l <"$log")
    if [ "$limit" -lt 5 ]; then
        status=124 said="FAILED: no time was left" failed=1
    else
        timeout -k 5 "$limit" bash -c "$3" >>"$log" 2>&1 || status=$?
        case $status in
            0) ;;
            124 | 137) said="FAILED: over its $limit s" failed=1 ;;
            *) said="FAILED: status $status" failed=1 ;;
        esac
    fi
    last=$(tail -n +"$from" "$log" | grep -E ' passed|failed|ERROR SUMMARY|RACECHECK SUMMARY|[Ee]rror:|accuracy' | tail -1)
    printf '| %s | %s | %s s | %s |\n' "$1" "$said" $((SECONDS - started)) "$(tr '|' ' ' <<<"${last:0:150}")" >>"$summary"
    return "$status"
}

machine() {
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader ||
        echo "$name, compute capability $capability"
    nvcc --version | tail -2 | head -1
    "$python" -c 'import platform, numpy, torch
print("python", platform.python_version(), "numpy", numpy.__version__, "torch", torch.__version__)'
    git log -1 --format='commit %h' 2>/dev/null
    date -u +%F
}

build_in_place() {
    cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSKBUILD_PROJECT_NAME=pixfold -DSKBUILD_PROJECT_VERSION=0 \
        -DSKBUILD_PROJECT_VERSION_FULL=0 -DPIXFOLD_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="$capability" \
        -DPIXFOLD_TESTS=ON -DPython_EXECUTABLE="$(command -v "$python")" \
        -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
        cmake --build "$build" --target _core _cuda gpu_tests -j "$(nproc)" &&
        find "$build" \( -name '_core*.so' -o -name '_cuda*.so' \) -exec cp {} python/pixfold/ \; &&
        "$python" -c 'import pixfold; print(pixfold.build_config())'
}

# The files with tests marked gpu: to look through all others takes longer than to run these.
gpu_tests() {
    # shellcheck disable=SC2046 # names of files, without spaces
    "$python" -m pytest -q -m gpu -p no:cacheprovider -W ignore \
        $(grep -l 'mark\.gpu' tests/ops/*.py) tests/loader/test_device_dataset.py
}

# The kernels alone, against the CPU's: what CI runs on simulated threads.
cpp_tests() {
    local test
    for test in "$build"/tests/cpp/gpu_test_*; do
        echo "$test"
        "$test" || return 1
    done
}

benchmarks() {
    local status=0 all
    all=$(mktemp)
    "$python" -m pytest -q -p pytest_benchmark.plugin -p no:cacheprovider benchmarks/test_gpu.py \
        benchmarks/test_gpu_rivals.py --benchmark-only --benchmark-columns=median --benchmark-json="$all" -W ignore ||
        status=$?
    "$python" benchmarks/summary.py "$all" --to "$out/benchmarks.json" >"$build/benchmarks.md" || status=1
    rm -f "$all"
    return "$status"
}

needles() { "$python" benchmarks/gpu_needles.py; }
pairs() { "$python" benchmarks/gpu_pairs.py; }

# Every op once: the tools make kernels ten to a thousand times slower.
memcheck() { compute-sanitizer --tool memcheck --error-exitcode 9 "$python" benchmarks/gpu_small.py; }
racecheck() { compute-sanitizer --tool racecheck --error-exitcode 9 "$python" benchmarks/gpu_small.py; }

export -f build_in_place gpu_tests cpp_tests benchmarks needles pairs memcheck racecheck

: >"$log"
{
    # shellcheck disable=SC2016 # Markdown
    printf '# pixfold on a GPU\n\n```\n%s\n```\n\n' "$(machine 2>&1)"
    # shellcheck disable=SC2016 # Markdown
    printf 'Command: `benchmarks/gpu_job.sh`\n\n| part | result | took | last word |\n|---|---|---|---|\n'
} >"$summary"
if part build 110 build_in_place; then
    part gpu_tests 60 gpu_tests
    part cpp_tests 20 cpp_tests
    part benchmarks 110 benchmarks
    part needles 40 needles
    part pairs 60 pairs
    part memcheck 40 memcheck
    part racecheck 60 racecheck
    [ ! -s "$build/benchmarks.md" ] || cat "$build/benchmarks.md" >>"$summary"
fi
cat "$summary"
exit $failed
