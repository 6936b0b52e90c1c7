#include "threads.hpp"

#include <algorithm>
#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __linux__
#include <sched.h>
#endif
#ifndef _WIN32
#include <pthread.h>
#endif

namespace pixfold {
namespace {

std::atomic<bool> in_forked_child{false};

int processors() {
#if defined(_OPENMP) && _OPENMP >= 201307
    // Where OpenMP binds threads to places, the first thread's own affinity is its place and says nothing of the
    // others.
    if (omp_get_proc_bind() != omp_proc_bind_false) {
        return omp_get_num_procs();
    }
#endif
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return std::max(1, CPU_COUNT(&set));
    }
#endif
#ifdef _OPENMP
    return omp_get_num_procs();
#else
    return 1;
#endif
}

}  // namespace

int default_threads() {
#ifdef _OPENMP
    if (in_forked_child.load(std::memory_order_relaxed)) {
        return 1;
    }
    return std::max(1, std::min(omp_get_max_threads(), processors()));
#else
    return 1;
#endif
}

int threads_for(int requested, std::int64_t bytes) {
#ifdef _OPENMP
    if (in_forked_child.load(std::memory_order_relaxed)) {
        return 1;
    }
    constexpr std::int64_t least_bytes = std::int64_t{1} << 19;
    const std::int64_t useful = std::max<std::int64_t>(1, bytes / least_bytes);
    const std::int64_t wanted = requested > 0 ? requested : default_threads();
    return static_cast<int>(std::min(wanted, useful));
#else
    (void)requested;
    (void)bytes;
    return 1;
#endif
}

void watch_forks() {
#ifndef _WIN32
    pthread_atfork(nullptr, nullptr, [] { in_forked_child.store(true, std::memory_order_relaxed); });
#endif
}

}  // namespace pixfold
