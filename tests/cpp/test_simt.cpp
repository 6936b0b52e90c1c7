// The shim itself: what the kernels' tests rest on. Kernels here have one answer on a GPU.
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "async_copy.hpp"
#include "checks.hpp"
#include "launch.hpp"

namespace pixfold::tests {
namespace {

using namespace pixfold::cuda;

// Every thread once, whatever the grid.
void grid() {
    for (const unsigned blocks : {1u, 2u, 5u}) {
        for (const unsigned threads : {32u, 96u, 1024u}) {
            std::vector<int> seen(blocks * threads, 0);
            const auto kernel = [](int* at) { ++at[blockIdx.x * blockDim.x + threadIdx.x]; };
            launch(+kernel, blocks, threads, 0, nullptr, seen.data());
            CHECK(seen == std::vector<int>(blocks * threads, 1));
        }
    }
}

// The sum of a block's numbers, by halves, in shared memory of the launch; two blocks, so both orders of threads.
void barriers() {
    std::vector<long> sums(2, 0);
    const auto kernel = [](long* out) {
        long* shared = dynamic_shared<long>();
        shared[threadIdx.x] = static_cast<long>(threadIdx.x) + 1000 * blockIdx.x;
        __syncthreads();
        for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) {
                shared[threadIdx.x] += shared[threadIdx.x + half];
            }
            __syncthreads();
        }
        if (threadIdx.x == 0) {
            out[blockIdx.x] = shared[0];
        }
    };
    launch(+kernel, 2, 256, 256 * sizeof(long), nullptr, sums.data());
    CHECK_EQUAL(sums[0], 255 * 128);
    CHECK_EQUAL(sums[1], 255 * 128 + 256000);
}

void warp_operations() {
    std::vector<unsigned> out(64 * 6, 0);
    const auto kernel = [](unsigned* to) {
        unsigned* mine = to + threadIdx.x * 6;
        const unsigned lane = threadIdx.x % warp_threads;
        mine[0] = __shfl_sync(whole_warp, threadIdx.x, 5);
        mine[1] = __shfl_xor_sync(whole_warp, threadIdx.x, 8);
        mine[2] = __shfl_down_sync(whole_warp, threadIdx.x, 30);
        mine[3] = __ballot_sync(whole_warp, threadIdx.x % 3 == 0);
        // Halves of a warp may do different things, as their masks say.
        if (lane < 16) {
            mine[4] = __shfl_sync(0x0000ffffu, threadIdx.x, 2);
        } else {
            mine[4] = __ballot_sync(0xffff0000u, lane == 20);
            __syncwarp(0xffff0000u);
        }
        mine[5] = static_cast<unsigned>(__any_sync(whole_warp, threadIdx.x == 40) +
                                        2 * __all_sync(whole_warp, threadIdx.x < 40));
    };
    launch(+kernel, 1, 64, 0, nullptr, out.data());
    for (unsigned t = 0; t < 64; ++t) {
        const unsigned lane = t % 32;
        unsigned thirds = 0;
        for (unsigned other = 0; other < 32; ++other) {
            thirds |= (t - lane + other) % 3 == 0 ? 1u << other : 0u;
        }
        const unsigned expected[] = {
            t - lane + 5, t ^ 8u, lane < 2 ? t + 30 : t, thirds, lane < 16 ? t - lane + 2 : 1u << 20, t < 32 ? 2u : 1u};
        for (unsigned k = 0; k < 6; ++k) {
            CHECK_EQUAL(out[t * 6 + k], expected[k]);
        }
    }
}

// What a GPU would hang on ends the program, and what it leaves undefined gives wrong results or ends it.
template <class Test>
bool goes_wrong(Test&& is_right) {
    const pid_t child = fork();
    if (child == 0) {
        static_cast<void>(std::freopen("/dev/null", "w", stderr));
        _exit(is_right() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) || WEXITSTATUS(status) != 0;
}

// Rows that a warp brings, two deep; the others read each when it is there, and say when they are done with it. Leaves
// out one of the two where it is told to.
struct Bringing {
    const float* from;
    float* out;
    int n;
    int rows;
    bool waits;
    bool frees;
};

void bring_rows(const Bringing a) {
    constexpr int depth = 2;
    static CopyBarrier full[depth], empty[depth];
    float* memory = dynamic_shared<float>();
    const int place = (a.n + 3 + 3) / 4 * 4;
    const unsigned readers = blockDim.x - warp_threads;
    if (threadIdx.x < depth) {
        expect_arrivals(full[threadIdx.x], copy_arrivals());
        expect_arrivals(empty[threadIdx.x], readers);
    }
    __syncthreads();
    for (int i = 0; i < a.rows; ++i) {
        const int slot = i % depth;
        const auto phase = static_cast<unsigned>(i / depth);
        const float* row = a.from + i * a.n;
        float* here = memory + slot * place + from_boundary(row);
        if (threadIdx.x >= readers) {
            if (a.frees) {
                wait_for(empty[slot], phase ^ 1u);
            }
            copy_row(here, row, a.n, threadIdx.x - readers, full[slot]);
            continue;
        }
        if (a.waits) {
            wait_for(full[slot], phase);
        }
        // Readers take turns, so that copies may come in between.
        const int each = (a.n + static_cast<int>(readers) - 1) / static_cast<int>(readers);
        for (int turn = 0; turn < each; ++turn) {
            const int k = turn * static_cast<int>(readers) + static_cast<int>(threadIdx.x);
            if (k < a.n) {
                a.out[i * a.n + k] = here[k];
            }
            __syncwarp();
        }
        arrive(empty[slot]);
    }
}

void copies() {
    constexpr int n = 64 * 7 + 1;  // so that rows begin anywhere
    constexpr int rows = 9;
    std::vector<float> from(n * rows);
    for (std::size_t k = 0; k < from.size(); ++k) {
        from[k] = static_cast<float>(k);
    }
    const auto brought = [&](bool waits, bool frees) {
        std::vector<float> out(from.size(), -1.0f);
        launch(bring_rows, 1, 96, 2 * 456 * sizeof(float), nullptr,
               Bringing{from.data(), out.data(), n, rows, waits, frees});
        return out;
    };
    for (const bool bulk : {true, false}) {
        simt::bulk_copies = bulk;
        context = bulk ? "bulk copies" : "copies of 16 bytes";
        CHECK(brought(true, true) == from);
        CHECK(goes_wrong([&] { return brought(false, true) == from; }));
        CHECK(goes_wrong([&] { return brought(true, false) == from; }));
    }
    simt::bulk_copies = true;
    context.clear();
}

void mistakes() {
    const auto ends = [](void (*kernel)()) {
        return goes_wrong([&] {
            launch(kernel, 1, 64, 0, nullptr);
            return true;
        });
    };
    // Outside the macro, which would give both barriers one place.
    const auto together = [] { __syncthreads(); };
    const auto passed_by = [] {
        if (threadIdx.x < 7) {
            __syncthreads();
        }
    };
    const auto two_places = [] {
        if (threadIdx.x < 7) {
            __syncthreads();
        } else {
            __syncthreads();
        }
    };
    const auto part_of_a_warp = [] {
        if (threadIdx.x < 7) {
            __syncwarp();
        }
    };
    const auto not_in_the_mask = [] { __syncwarp(1u); };
    alignas(16) static float values[8];
    const auto copied_by = [](float* to, const float* from, unsigned arrivals, bool wait) {
        static CopyBarrier barrier;
        if (threadIdx.x == 0) {
            expect_arrivals(barrier, arrivals);
            simt::barrier_arrive(barrier, 16);
            simt::copy_later(to, from, 16, &barrier);
            if (wait) {
                wait_for(barrier, 0);
            }
        }
    };
    static const auto copied = copied_by;
    const auto awaited = [] { copied(values, values + 4, 1, true); };
    const auto never_awaited = [] { copied(values, values + 4, 1, false); };
    const auto misaligned = [] { copied(values, values + 1, 1, true); };
    const auto never_complete = [] { copied(values, values + 4, 2, true); };
    const auto too_many = [] {
        static CopyBarrier barrier;
        if (threadIdx.x == 0) {
            expect_arrivals(barrier, 1);
            simt::barrier_arrive(barrier, 16);
            simt::barrier_arrive(barrier, 16);
        }
    };
    CHECK(!ends(awaited));
    CHECK(ends(never_awaited));
    CHECK(ends(misaligned));
    CHECK(ends(never_complete));
    CHECK(ends(too_many));
    CHECK(!ends(together));
    CHECK(ends(passed_by));
    CHECK(ends(two_places));
    CHECK(ends(part_of_a_warp));
    CHECK(ends(not_in_the_mask));
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"grid", grid},
                {"barriers", barriers},
                {"warp_operations", warp_operations},
                {"copies", copies},
                {"mistakes", mistakes}});
}
