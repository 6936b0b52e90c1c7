#include "shim.hpp"

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace pixfold::cuda::simt {
namespace {

constexpr std::size_t stack_bytes = std::size_t{128} << 10;

[[noreturn]] void stop(const char* what, const Place& where) {
    std::fprintf(stderr, "%s:%u: %s (block %u, thread %u)\n", where.file_name(), static_cast<unsigned>(where.line()),
                 what, blockIdx.x, threadIdx.x);
    std::abort();
}

bool same(const Place& a, const Place& b) {
    return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

enum class State { ready, at_barrier, at_exchange, at_copies, done };

// One thread of a block. It lives as long as the program and runs thread after thread of that number.
struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    void* hidden = nullptr;  // what AddressSanitizer keeps of this fiber while another one runs
    State state = State::done;
    Place where;
    unsigned mask = 0;
    std::uint64_t value = 0;
    const CopyBarrier* barrier = nullptr;  // with the parity of the phase that is waited for
    unsigned parity = 0;
};

// A copy that has begun, or, of no bytes, an arrival after the thread's copies before it.
struct Pending {
    unsigned thread;
    char* to;
    const char* from;
    std::size_t bytes;
    CopyBarrier* barrier;
};

struct Warp {
    std::uint64_t lanes[warp_threads];
};

struct Machine {
    ucontext_t scheduler{};
    void* hidden = nullptr;
    const void* stack = nullptr;  // the scheduler's, as AddressSanitizer knows it
    std::size_t stack_size = 0;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Warp> warps;
    Fiber* current = nullptr;
    const std::function<void()>* thread = nullptr;
    std::unique_ptr<char[]> shared;
    std::vector<Pending> pending;
    std::uint64_t random = 0;
};

Machine machine;

void to_scheduler() {
    Fiber& fiber = *machine.current;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fiber.hidden, machine.stack, machine.stack_size);
#endif
    swapcontext(&fiber.context, &machine.scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber.hidden, &machine.stack, &machine.stack_size);
#endif
}

void run_fiber() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &machine.stack, &machine.stack_size);
#endif
    for (;;) {
        (*machine.thread)();
        machine.current->state = State::done;
        to_scheduler();
    }
}

void resume(unsigned number) {
    Fiber& fiber = *machine.fibers[number];
    machine.current = &fiber;
    threadIdx.x = number;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&machine.hidden, fiber.stack.get(), stack_bytes);
#endif
    swapcontext(&machine.scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(machine.hidden, nullptr, nullptr);
#endif
}

void prepare(Fiber& fiber) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
}

void make_fibers(unsigned threads) {
    while (machine.fibers.size() < threads) {
        auto fiber = std::make_unique<Fiber>();
        fiber->stack = std::make_unique<char[]>(stack_bytes);
        prepare(*fiber);
        machine.fibers.push_back(std::move(fiber));
    }
    machine.warps.resize(threads / warp_threads);
}

// Lets the lanes of one exchange go on, if they are all there.
bool finish_exchange(unsigned warp) {
    bool any = false;
    for (unsigned lane = 0; lane < warp_threads; ++lane) {
        Fiber& first = *machine.fibers[warp * warp_threads + lane];
        if (first.state != State::at_exchange) {
            continue;
        }
        bool complete = true;
        for (unsigned other = 0; other < warp_threads; ++other) {
            const Fiber& fiber = *machine.fibers[warp * warp_threads + other];
            // A lane may still be on its way here, in an operation with others.
            complete =
                complete &&
                ((first.mask >> other & 1u) == 0 ||
                 (fiber.state == State::at_exchange && fiber.mask == first.mask && same(fiber.where, first.where)));
        }
        for (unsigned other = 0; complete && other < warp_threads; ++other) {
            if ((first.mask >> other & 1u) != 0) {
                Fiber& fiber = *machine.fibers[warp * warp_threads + other];
                machine.warps[warp].lanes[other] = fiber.value;
                fiber.state = State::ready;
            }
        }
        any = any || complete;
    }
    return any;
}

// Lets the block go on, if all its threads that are not done wait at one barrier.
bool finish_barrier(unsigned threads) {
    const Fiber* first = nullptr;
    for (unsigned t = 0; t < threads; ++t) {
        const Fiber& fiber = *machine.fibers[t];
        if (fiber.state == State::at_exchange || fiber.state == State::at_copies) {
            return false;
        }
        if (fiber.state == State::at_barrier) {
            if (first != nullptr && !same(first->where, fiber.where)) {
                stop("threads of a block wait at different barriers", fiber.where);
            }
            first = &fiber;
        }
    }
    if (first == nullptr) {
        return false;
    }
    for (unsigned t = 0; t < threads; ++t) {
        if (machine.fibers[t]->state == State::done) {
            stop("a barrier that a thread of the block has passed by", first->where);
        }
        machine.fibers[t]->state = State::ready;
    }
    return true;
}

void end_phase_if_complete(CopyBarrier& barrier) {
    if (barrier.missing == 0 && barrier.bytes == 0) {
        barrier.missing = barrier.count;
        ++barrier.phase;
    }
}

void count_arrival(CopyBarrier& barrier, std::uint32_t bytes, const Place& where) {
    if (barrier.missing == 0) {
        stop("more arrivals at a barrier of copies than it expects", where);
    }
    --barrier.missing;
    barrier.bytes += bytes;
    end_phase_if_complete(barrier);
}

bool is_after_own_copies(std::size_t which) {
    for (std::size_t k = 0; k < which; ++k) {
        if (machine.pending[k].thread == machine.pending[which].thread && machine.pending[k].bytes > 0) {
            return true;
        }
    }
    return false;
}

void finish(const Pending& done) {
    if (done.bytes == 0) {
        count_arrival(*done.barrier, 0, Place::current());
        return;
    }
    std::memcpy(done.to, done.from, done.bytes);
    if (done.barrier != nullptr) {
        done.barrier->bytes -= static_cast<std::int64_t>(done.bytes);
        end_phase_if_complete(*done.barrier);
    }
}

// Ends some of the copies, any with the same chance, and at least one where nothing else goes on.
bool finish_copies(bool at_least_one) {
    bool any = false;
    do {
        for (std::size_t k = 0; k < machine.pending.size();) {
            machine.random = machine.random * 6364136223846793005u + 1442695040888963407u;
            const bool now = (machine.random >> 62) == 0;
            if (!now || (machine.pending[k].bytes == 0 && is_after_own_copies(k))) {
                ++k;
                continue;
            }
            const Pending done = machine.pending[k];
            machine.pending.erase(machine.pending.begin() + static_cast<std::ptrdiff_t>(k));
            finish(done);
            any = true;
        }
    } while (at_least_one && !any && !machine.pending.empty());
    return any;
}

bool wake_those_at_copies(unsigned threads) {
    bool any = false;
    for (unsigned t = 0; t < threads; ++t) {
        Fiber& fiber = *machine.fibers[t];
        if (fiber.state == State::at_copies && fiber.barrier->phase % 2 != fiber.parity) {
            fiber.state = State::ready;
            any = true;
        }
    }
    return any;
}

bool all_are_done(unsigned threads) {
    return std::all_of(machine.fibers.begin(), machine.fibers.begin() + threads,
                       [](const auto& fiber) { return fiber->state == State::done; });
}

void run_block(unsigned threads, bool backwards) {
    for (unsigned t = 0; t < threads; ++t) {
        machine.fibers[t]->state = State::ready;
    }
    for (;;) {
        for (unsigned k = 0; k < threads; ++k) {
            const unsigned t = backwards ? threads - 1 - k : k;
            if (machine.fibers[t]->state == State::ready) {
                resume(t);
            }
        }
        bool progress = false;
        for (unsigned warp = 0; warp < threads / warp_threads; ++warp) {
            progress = finish_exchange(warp) || progress;
        }
        if (all_are_done(threads)) {
            if (!machine.pending.empty()) {
                stop("a block that ends with copies under way", Place::current());
            }
            return;
        }
        finish_copies(false);
        progress = wake_those_at_copies(threads) || progress;
        if (progress || finish_barrier(threads) || finish_copies(true)) {
            continue;
        }
        for (unsigned t = 0; t < threads; ++t) {
            if (machine.fibers[t]->state != State::done) {
                threadIdx.x = t;
                if (machine.fibers[t]->state == State::at_copies) {
                    stop("a barrier of copies that do not all come", machine.fibers[t]->where);
                }
                stop("a warp operation that not all lanes of its mask come to", machine.fibers[t]->where);
            }
        }
    }
}

}  // namespace

std::int64_t most_blocks = [] {
    const char* asked = std::getenv("PIXFOLD_SIMT_BLOCKS");
    return asked != nullptr ? std::atoll(asked) : 0;
}();

std::int64_t largest_grid(std::int64_t n_units) {
    if (most_blocks > 0) {
        return most_blocks;
    }
    std::uint64_t bits = static_cast<std::uint64_t>(n_units) * 0x9e3779b97f4a7c15u;
    bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
    return (bits >> 40) % 2 == 0 ? 3 : (std::int64_t{1} << 31) - 1;
}

std::int64_t launches = 0;

int multiprocessors = 2;
std::int64_t shared_bytes = std::int64_t{227} << 10;
bool bulk_copies = true;

void barrier_init(CopyBarrier& barrier, unsigned count) { barrier = {count, count, 0, 0}; }

void barrier_arrive(CopyBarrier& barrier, std::uint32_t bytes) { count_arrival(barrier, bytes, Place::current()); }

void barrier_wait(CopyBarrier& barrier, unsigned parity, Place where) {
    while (barrier.phase % 2 == parity) {
        machine.current->where = where;
        machine.current->barrier = &barrier;
        machine.current->parity = parity;
        machine.current->state = State::at_copies;
        to_scheduler();
    }
}

void copy_later(void* to, const void* from, std::size_t bytes, CopyBarrier* barrier) {
    const auto misaligned = [](const void* at) { return reinterpret_cast<std::uintptr_t>(at) % 16 != 0; };
    if (misaligned(to) || misaligned(from) || bytes % 16 != 0 || bytes == 0) {
        stop("a copy to shared memory that is not of whole 16 bytes", Place::current());
    }
    std::memset(to, 0xcd, bytes);
    machine.pending.push_back({threadIdx.x, static_cast<char*>(to), static_cast<const char*>(from), bytes, barrier});
}

void arrive_when_copied(CopyBarrier& barrier) {
    machine.pending.push_back({threadIdx.x, nullptr, nullptr, 0, &barrier});
}

void run(const Grid& grid, const std::function<void()>& thread) {
    if (grid.blocks == 0 || grid.threads == 0 || grid.threads > 1024 || grid.threads % warp_threads != 0) {
        std::fprintf(stderr, "a launch of %u blocks of %u threads\n", grid.blocks, grid.threads);
        std::abort();
    }
    ++launches;
    make_fibers(grid.threads);
    machine.thread = &thread;
    blockDim.x = grid.threads;
    gridDim.x = grid.blocks;
    // Of exactly the size that was asked for, so that AddressSanitizer sees any access outside.
    machine.shared = std::make_unique<char[]>(grid.shared);
    for (unsigned block = 0; block < grid.blocks; ++block) {
        blockIdx.x = block;
        std::memset(machine.shared.get(), 0xcd, grid.shared);  // what was in it before is nobody's
        machine.pending.clear();
        run_block(grid.threads, block % 2 == 1);
    }
}

void* shared_memory() { return machine.shared.get(); }

void wait_for_block(Place where) {
    machine.current->where = where;
    machine.current->state = State::at_barrier;
    to_scheduler();
}

const std::uint64_t* exchange(unsigned mask, std::uint64_t value, Place where) {
    const unsigned thread = threadIdx.x;
    if ((mask >> (thread % warp_threads) & 1u) == 0) {
        stop("a warp operation in a lane that its mask leaves out", where);
    }
    machine.current->where = where;
    machine.current->mask = mask;
    machine.current->value = value;
    machine.current->state = State::at_exchange;
    to_scheduler();
    return machine.warps[thread / warp_threads].lanes;
}

}  // namespace pixfold::cuda::simt
