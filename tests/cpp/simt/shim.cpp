#include "shim.hpp"

#include <ucontext.h>

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

enum class State { ready, at_barrier, at_exchange, done };

// One thread of a block. It lives as long as the program and runs thread after thread of that number.
struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack;
    void* hidden = nullptr;  // what AddressSanitizer keeps of this fiber while another one runs
    State state = State::done;
    Place where;
    unsigned mask = 0;
    std::uint64_t value = 0;
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
        if (fiber.state == State::at_exchange) {
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
        if (progress || finish_barrier(threads)) {
            continue;
        }
        for (unsigned t = 0; t < threads; ++t) {
            if (machine.fibers[t]->state != State::done) {
                threadIdx.x = t;
                stop("a warp operation that not all lanes of its mask come to", machine.fibers[t]->where);
            }
        }
        return;
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
