// GCC's OpenMP entry points on std::thread, linked in front of libgomp's for ThreadSanitizer: it sees a thread's start
// and end but not libgomp's own barriers, and would report every parallel region as a race. Only what the kernels use.
// A region starts its threads and joins them; nested regions are not needed.
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace {

// One dynamic loop of a region.
struct Loop {
    std::atomic<long> next{0};
    long end = 0;
    long chunk = 1;
    long step = 1;
};

// What the threads of a region share: its loops, in the order in which every thread comes to them, and a barrier.
struct Team {
    int n_threads = 1;
    std::mutex lock;
    std::deque<Loop> loops;
    std::condition_variable all_there;
    int waiting = 0;
    long turn = 0;
};

thread_local Team* team = nullptr;
thread_local int thread_number = 0;
thread_local std::size_t loops_begun = 0;
thread_local Loop* loop = nullptr;
std::mutex atomic_region;

void enter(Team& shared, int number) {
    team = &shared;
    thread_number = number;
    loops_begun = 0;
}

void run(void (*body)(void*), void* data, Team& shared) {
    std::vector<std::thread> threads;
    for (int number = 1; number < shared.n_threads; ++number) {
        threads.emplace_back([&shared, body, data, number] {
            enter(shared, number);
            body(data);
        });
    }
    enter(shared, 0);
    body(data);
    for (std::thread& thread : threads) {
        thread.join();
    }
    team = nullptr;
}

void wait_for_all() {
    std::unique_lock<std::mutex> guard(team->lock);
    const long turn = team->turn;
    if (++team->waiting == team->n_threads) {
        team->waiting = 0;
        ++team->turn;
        team->all_there.notify_all();
    } else {
        team->all_there.wait(guard, [turn] { return team->turn != turn; });
    }
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
    const long start = loop->next.fetch_add(loop->chunk * loop->step, std::memory_order_relaxed);
    if (start >= loop->end) {
        return false;
    }
    const long end = start + loop->chunk * loop->step;
    *first = start;
    *last = end < loop->end ? end : loop->end;
    return true;
}

// Every thread of the region comes here once per loop; the first one sets the loop up.
bool GOMP_loop_nonmonotonic_dynamic_start(long start, long end, long step, long chunk, long* first, long* last) {
    {
        const std::lock_guard<std::mutex> guard(team->lock);
        if (loops_begun == team->loops.size()) {
            Loop& made = team->loops.emplace_back();
            made.next.store(start, std::memory_order_relaxed);
            made.end = end;
            made.step = step;
            made.chunk = chunk;
        }
        loop = &team->loops[loops_begun++];
    }
    return GOMP_loop_nonmonotonic_dynamic_next(first, last);
}

void GOMP_loop_end() { wait_for_all(); }
void GOMP_loop_end_nowait() {}
void GOMP_barrier() { wait_for_all(); }
void GOMP_atomic_start() { atomic_region.lock(); }
void GOMP_atomic_end() { atomic_region.unlock(); }

}  // extern "C"
