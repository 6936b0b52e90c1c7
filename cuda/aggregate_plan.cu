// The samples of a batch by class, and whether the batch counts: one block each.
#include <algorithm>
#include <bit>

#include "aggregate_plan.hpp"
#include "counts.hpp"
#include "launch.hpp"

namespace pixfold::cuda {
namespace {

constexpr std::int64_t most_warps = 16;

Plan plan_of(std::int64_t n_samples, std::int64_t n_classes, std::int64_t n_pixels, std::int64_t part_samples,
             const void* memory) {
    Plan plan{};
    const auto take = [&]<class T>(T*& to, std::int64_t n) {
        to = reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(memory) + static_cast<std::uintptr_t>(plan.bytes));
        plan.bytes += (n * static_cast<std::int64_t>(sizeof(T)) + 15) / 16 * 16;
    };
    const bool split = part_samples < n_samples;
    plan.part_samples = part_samples;
    plan.most_classes = n_classes < n_samples ? n_classes : n_samples;
    plan.most_parts = plan.most_classes + (split ? n_samples / part_samples : 0);
    take(plan.order, n_samples);
    take(plan.added, n_classes);
    take(plan.parts, plan.most_parts);
    take(plan.classes, plan.most_classes);
    take(plan.bad, 3);
    if (split) {
        take(plan.sums, plan.most_parts * 3 * n_pixels);
    }
    return plan;
}

// Positions of the samples that count, class after class, those of a class in order: a warp takes a class. One block.
__global__ void sort_by_class(const Aggregation a) {
    __shared__ std::int64_t found[most_warps];
    const Plan& plan = a.plan;
    const std::int64_t n = a.batch.n_samples;
    const int warp = static_cast<int>(threadIdx.x / warp_threads);
    const int lane = static_cast<int>(threadIdx.x % warp_threads);
    const int warps = static_cast<int>(blockDim.x / warp_threads);
    const auto is_of = [&](std::int64_t i, std::int64_t k) {
        return i < n && a.batch.labels[i] == k && (a.batch.keep == nullptr || a.batch.keep[i] != 0);
    };
    // Samples, parts and classes before this round; every thread knows them.
    std::int64_t samples = 0;
    std::int64_t parts = 0;
    std::int64_t classes = 0;
    for (std::int64_t first = 0; first < a.state.n_classes; first += warps) {
        const std::int64_t k = first + warp;
        const bool there = k < a.state.n_classes;
        std::int64_t mine = 0;
        for (std::int64_t i = lane; there && i < n; i += warp_threads) {
            mine += is_of(i, k) ? 1 : 0;
        }
        for (unsigned flip = warp_threads / 2; flip > 0; flip /= 2) {
            mine += __shfl_xor_sync(whole_warp, mine, flip);
        }
        if (lane == 0) {
            found[warp] = mine;
        }
        __syncthreads();
        const auto parts_of = [&](std::int64_t m) { return (m + plan.part_samples - 1) / plan.part_samples; };
        std::int64_t at = samples;
        std::int64_t part = parts;
        std::int64_t place = classes;
        for (int w = 0; w < warps; ++w) {
            const std::int64_t m = found[w];
            at += w < warp ? m : 0;
            part += w < warp ? parts_of(m) : 0;
            place += w < warp && m > 0 ? 1 : 0;
            samples += m;
            parts += parts_of(m);
            classes += m > 0 ? 1 : 0;
        }
        __syncthreads();
        if (!there) {
            continue;
        }
        if (lane == 0) {
            plan.added[k] = mine;
            if (mine > 0) {
                plan.classes[place] = {k, at, mine, part, parts_of(mine), ClassWeights(a.state.count[k], mine)};
            }
        }
        for (std::int64_t p = lane; p < parts_of(mine); p += warp_threads) {
            const std::int64_t done = p * plan.part_samples;
            plan.parts[part + p] = {k, at, at + done,
                                    mine - done < plan.part_samples ? mine - done : plan.part_samples};
        }
        for (std::int64_t i = 0; i < n && mine > 0; i += warp_threads) {
            const bool is = is_of(i + lane, k);
            const unsigned votes = __ballot_sync(whole_warp, is ? 1 : 0);
            if (is) {
                plan.order[at + std::popcount(votes & ((1u << lane) - 1u))] = i + lane;
            }
            at += std::popcount(votes);
        }
    }
    for (std::int64_t p = parts + threadIdx.x; p < plan.most_parts; p += blockDim.x) {
        plan.parts[p].n_samples = 0;
    }
    for (std::int64_t k = classes + threadIdx.x; k < plan.most_classes; k += blockDim.x) {
        plan.classes[k].n_samples = 0;
    }
    if (threadIdx.x < 3) {
        plan.bad[threadIdx.x] = 0;
    }
    __syncthreads();
    unsigned outside = 0;
    unsigned strange = 0;
    for (std::int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        outside += a.batch.labels[i] < 0 || a.batch.labels[i] >= a.state.n_classes ? 1u : 0u;
        strange += a.batch.keep != nullptr && a.batch.keep[i] > 1 ? 1u : 0u;
    }
    add_counts({0u, outside, strange}, plan.bad);
}

__global__ void commit(const Aggregation a) {
    const unsigned long long* bad = a.plan.bad;
    if (bad[0] + bad[1] + bad[2] > 0) {
        if (threadIdx.x < 3) {
            a.state.refused[threadIdx.x] += bad[threadIdx.x];
        }
        return;
    }
    for (std::int64_t k = threadIdx.x; k < a.state.n_classes; k += blockDim.x) {
        const std::int64_t added = a.plan.added[k];
        if (added > 0) {
            a.state.count[k] += added;
            a.state.side[k] = 1 - a.state.side[k];
        }
    }
}

// A warp for each class, where there are not too many.
unsigned threads_for(std::int64_t n_classes) {
    return static_cast<unsigned>(std::clamp(n_classes, std::int64_t{1}, most_warps)) * warp_threads;
}

}  // namespace

std::int64_t aggregate_workspace_bytes(std::int64_t n_samples, std::int64_t n_classes, std::int64_t n_pixels,
                                       std::int64_t part_samples) {
    return plan_of(n_samples, n_classes, n_pixels, part_samples, nullptr).bytes;
}

Aggregation planned(const AggregateBatch& batch, const AggregateState& state, std::int64_t part_samples,
                    void* workspace) {
    return {batch, state, plan_of(batch.n_samples, state.n_classes, batch.n_pixels, part_samples, workspace)};
}

void sort_samples(const Aggregation& a, void* stream) {
    launch(sort_by_class, 1, threads_for(a.state.n_classes), 0, stream, a);
}

void commit_batch(const Aggregation& a, void* stream) {
    launch(commit, 1, threads_for(a.state.n_classes), 0, stream, a);
}

}  // namespace pixfold::cuda
