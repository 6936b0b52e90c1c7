// A child of a process that used OpenMP: its thread pool is gone, so it must compute alone and not wait for it.
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "checks.hpp"
#include "cpu/threads.hpp"
#include "pixfold/fold.hpp"

namespace pixfold::tests {
namespace {

constexpr std::int64_t n_samples = 64;
constexpr std::int64_t n_features = 16384;
constexpr std::int64_t n_bytes = n_samples * n_features * 4;  // 4 MiB: enough for several threads

std::vector<float> fold(const std::vector<float>& x, const std::vector<std::int32_t>& slots) {
    std::vector<float> images(x.size());
    cpu::fold_dense({x.data(), DType::f32, n_samples, n_features, n_features * 4, 4},
                    {slots.data(), slots.data(), n_features, n_features, true, true, true}, NormalizeParameters{},
                    {images.data(), DType::f32}, threads_for(2, n_bytes));
    return images;
}

void child_folds() {
    watch_forks();
#ifdef _OPENMP
    CHECK_EQUAL(threads_for(2, n_bytes), 2);
#endif
    std::vector<float> x(static_cast<std::size_t>(n_samples * n_features));
    std::vector<std::int32_t> slots(static_cast<std::size_t>(n_features));
    for (std::size_t k = 0; k < x.size(); ++k) {
        x[k] = static_cast<float>(k % 1000);
    }
    for (std::size_t k = 0; k < slots.size(); ++k) {
        slots[k] = static_cast<std::int32_t>(k);
    }
    CHECK(fold(x, slots) == x);  // starts the pool
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);  // a child that waits for threads it does not have is killed
        const bool alone = default_threads() == 1 && threads_for(2, n_bytes) == 1;
        const bool right = fold(x, slots) == x;
        _exit(alone && right ? 0 : alone ? 1 : 2);
    }
    CHECK(child > 0);
    int status = -1;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_EQUAL(WEXITSTATUS(status), 0);
    CHECK(fold(x, slots) == x);  // the parent keeps its threads
#ifdef _OPENMP
    CHECK_EQUAL(threads_for(2, n_bytes), 2);
#endif
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"child_folds", child_folds}});
}
