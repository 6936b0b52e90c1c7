// GCC's OpenMP entry points on std::thread, linked in front of libgomp's for ThreadSanitizer: it sees a thread's start
// and end but not libgomp's own barriers, and would report every parallel region as a race. Only what the kernels use.
// A region starts its threads and joins them; nested regions are not needed.
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace {

// What the threads of a region share, with its one dynamic loop.
struct Team {
    int n_threads = 1;
    std::mutex setting_up;
    bool set_up = false;
    std::atomic<long> next{0};
    long end = 0;
    long chunk = 1;
    long step = 1;
};

thread_local Team* team = nullptr;
thread_local int thread_number = 0;
std::mutex atomic_region;

void run(void (*body)(void*), void* data, Team& shared) {
    std::vector<std::thread> threads;
    for (int number = 1; number < shared.n_threads; ++number) {
        threads.emplace_back([&shared, body, data, number] {
            team = &shared;
            thread_number = number;
            body(data);
        });
    }
    team = &shared;
    thread_number = 0;
    body(data);
    for (std::thread& thread : threads) {
        thread.join();
    }
    team = nullptr;
}

int wanted(unsigned n_threads) { return n_threads == 0 ? 2 : static_cast<int>(n_threads); }

}  // namespace

extern "C" {

int omp_get_thread_num() { return thread_number; }
int omp_get_num_threads() { return team != nullptr ? team->n_threads : 1; }
int omp_get_max_threads() { return 2; }
int omp_get_num_procs() { return 2; }

void GOMP_parallel(void (*body)(void*), void* data, unsigned n_threads, unsigned) {
    Team shared;
    shared.n_threads = wanted(n_threads);
    run(body, data, shared);
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* first, long* last) {
    const long start = team->next.fetch_add(team->chunk * team->step, std::memory_order_relaxed);
    if (start >= team->end) {
        return false;
    }
    const long end = start + team->chunk * team->step;
    *first = start;
    *last = end < team->end ? end : team->end;
    return true;
}

// Every thread of the region comes here once; the first one sets the loop up.
bool GOMP_loop_nonmonotonic_dynamic_start(long start, long end, long step, long chunk, long* first, long* last) {
    {
        const std::lock_guard<std::mutex> guard(team->setting_up);
        if (!team->set_up) {
            team->next.store(start, std::memory_order_relaxed);
            team->end = end;
            team->step = step;
            team->chunk = chunk;
            team->set_up = true;
        }
    }
    return GOMP_loop_nonmonotonic_dynamic_next(first, last);
}

void GOMP_loop_end_nowait() {}
void GOMP_atomic_start() { atomic_region.lock(); }
void GOMP_atomic_end() { atomic_region.unlock(); }

}  // extern "C"
