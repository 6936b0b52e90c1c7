#!/usr/bin/env bash
# Everything that needs a GPU, in one command that ends within ten minutes:
#
#     benchmarks/gpu_job.sh FOLDER
#
# builds both extensions in place for the card that is there, runs the tests marked gpu and those of the kernels alone,
# compute-sanitizer's memcheck and racecheck on the smaller ones, the benchmarks and a needle-in-a-haystack run, and
# writes logs, JSON and a summary.md into FOLDER. Needs python3 (or $PYTHON) with torch, pybind11, numpy, scipy, pytest,
# pytest-benchmark and hypothesis, and nvcc, cmake and compute-sanitizer; no network. A part that cannot run says why in
# the summary. The exit status is 0 only when every part ran and passed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:?usage: benchmarks/gpu_job.sh FOLDER}
mkdir -p "$out" && out=$(cd "$out" && pwd)
python=${PYTHON:-python3}
build=build/gpu
export PYTHONPATH=$PWD/python OMP_WAIT_POLICY=passive
failed=0
summary=$out/summary.md

tests=tests/ops/test_cuda*.py
export python build out tests

# part NAME SECONDS FUNCTION: runs it with a limit, logs it, adds a line to the summary.
part() {
    local name=$1 limit=$2 started=$SECONDS status=0 said=passed
    timeout -k 5 "$limit" bash -c "$3" >"$out/$name.log" 2>&1 || status=$?
    case $status in
        0) ;;
        124 | 137) said="FAILED: over its $limit s" failed=1 ;;
        *) said="FAILED: status $status" failed=1 ;;
    esac
    local last
    last=$(grep -E ' passed| failed|ERROR SUMMARY|RACECHECK SUMMARY|[Ee]rror:|accuracy|needles' "$out/$name.log" | tail -1)
    printf '| %s | %s | %s s | %s |\n' "$name" "$said" $((SECONDS - started)) "$(tr '|' ' ' <<<"${last:0:150}")" >>"$summary"
    return $status
}

machine() {
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader || echo "no NVIDIA driver"
    nvcc --version | tail -2 | head -1
    "$python" -c 'import platform, numpy, torch
print("python", platform.python_version(), "numpy", numpy.__version__, "torch", torch.__version__)'
    git log -1 --format='commit %h' 2>/dev/null || true
    date -u +%F
}

build_in_place() {
    local arch
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .)
    cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSKBUILD_PROJECT_NAME=pixfold -DSKBUILD_PROJECT_VERSION=0 \
        -DSKBUILD_PROJECT_VERSION_FULL=0 -DPIXFOLD_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES="${arch:-90}" \
        -DPIXFOLD_TESTS=ON \
        -DPython_EXECUTABLE="$(command -v "$python")" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" &&
        cmake --build "$build" --target _core _cuda gpu_tests -j "$(nproc)" &&
        find "$build" \( -name '_core*.so' -o -name '_cuda*.so' \) -exec cp {} python/pixfold/ \; &&
        "$python" -c 'import pixfold; print(pixfold.build_config())'
}

# Without a card every test would be skipped, and none fail.
card() { "$python" -c 'import torch; print(torch.cuda.get_device_name())'; }

gpu_tests() { "$python" -m pytest -q -m gpu -p no:cacheprovider tests/ops tests/loader/test_device_dataset.py -W ignore; }

# The kernels alone, against the CPU's: what CI runs on simulated threads.
cpp_tests() {
    local test
    for test in "$build"/tests/cpp/gpu_test_*; do
        echo "$test"
        "$test" || return 1
    done
}

# A few of each kernel: the sanitizers make them ten to a hundred times slower.
some="every_layout and 33 or sparse_rows or channels_last or unfold or classes_are_split or row_sums"
some+=" or offset_row_scale or packed_genotypes or rank_and_top_k"
under() {
    compute-sanitizer --tool "$1" --error-exitcode 9 "$python" -m pytest -q -m gpu -p no:cacheprovider $tests \
        -k "$some" -W ignore
}
memcheck() { under memcheck; }
racecheck() { under racecheck; }

benchmarks() {
    "$python" -m pytest -q -p no:cacheprovider benchmarks/test_gpu.py --benchmark-only --benchmark-columns=median \
        --benchmark-json="$out/benchmarks_all.json" -W ignore
    local status=$?
    "$python" benchmarks/summary.py "$out/benchmarks_all.json" --to "$out/benchmarks.json" >"$out/benchmarks.md"
    rm -f "$out/benchmarks_all.json"
    return $status
}

needles() { "$python" benchmarks/gpu_needles.py; }

export some
export -f build_in_place card gpu_tests cpp_tests under memcheck racecheck benchmarks needles

machine >"$out/machine.txt" 2>&1
{
    printf '# pixfold on a GPU\n\n```\n%s\n```\n\n' "$(cat "$out/machine.txt")"
    printf 'Command: `benchmarks/gpu_job.sh FOLDER`\n\n| part | result | took | last word |\n|---|---|---|---|\n'
} >"$summary"

# Nine and a half minutes at the very most; the build takes a minute or two of its share.
if part build 150 build_in_place && part card 30 card; then
    part gpu_tests 80 gpu_tests
    part cpp_tests 30 cpp_tests
    part benchmarks 120 benchmarks
    part needles 50 needles
    part memcheck 50 memcheck
    part racecheck 50 racecheck
fi
[ ! -s "$out/benchmarks.md" ] || cat "$out/benchmarks.md" >>"$summary"
cat "$summary"
exit $failed
