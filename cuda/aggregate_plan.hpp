// How a batch of attributions is shared out, worked out on the device: aggregate_plan.cu sorts its samples by class and
// takes it into the counts in the end, aggregate.cu sums between the two.
#pragma once

#include "math/pixel_moments.hpp"
#include "pixfold/aggregate.hpp"

namespace pixfold::cuda {

// Samples of a class that one block goes through, at places [first, first + n_samples) of the order.
struct Part {
    std::int64_t of;
    std::int64_t class_first;  // the place of the class's first sample, its pivot where it has no mean yet
    std::int64_t first;
    std::int64_t n_samples;
};

// A class that the batch has, and its parts.
struct Closing {
    std::int64_t of;
    std::int64_t first;
    std::int64_t n_samples;
    std::int64_t first_part;
    std::int64_t n_parts;
    ClassWeights weights;
};

// Where scratch memory has what. Parts and classes are listed without gaps; how many there are, the device knows.
struct Plan {
    std::int64_t part_samples;
    std::int64_t most_parts;
    std::int64_t most_classes;
    std::int64_t* order;      // [n_samples] positions, class after class
    std::int64_t* added;      // [n_classes] samples of the batch
    Part* parts;              // [most_parts], n_samples 0 behind the last one
    Closing* classes;         // [most_classes], the same
    unsigned long long* bad;  // [3] of this batch, as AggregateState::refused
    double* sums;             // (most_parts, 3, n_pixels); null where every class is one part, and closed at once
    std::int64_t bytes;
};

struct Aggregation {
    AggregateBatch batch;
    AggregateState state;
    Plan plan;
};

// A batch with its plan in scratch memory, which sort_samples() fills.
Aggregation planned(const AggregateBatch& batch, const AggregateState& state, std::int64_t part_samples,
                    void* workspace);
void sort_samples(const Aggregation& a, void* stream);

// Takes the batch into the counts where all of it was right; else adds to `refused` and leaves them.
void commit_batch(const Aggregation& a, void* stream);

}  // namespace pixfold::cuda
