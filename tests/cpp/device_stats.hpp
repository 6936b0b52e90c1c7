// What column_stats needs, on the device: what is done to them, outputs and scratch memory.
#pragma once

#include <vector>

#include "device_matrices.hpp"
#include "pixfold/column_stats.hpp"
#include "stats_reference.hpp"

namespace pixfold::tests {

class DeviceTransform {
  public:
    explicit DeviceTransform(const Transform& t) : transform_(t), offset_(t.offset), row_scale_(t.row_scale) {}
    StatsArguments arguments() {
        return {transform_.log, transform_.clip_below_zero, transform_.offset.empty() ? nullptr : offset_.data(),
                transform_.row_scale.empty() ? nullptr : row_scale_.data()};
    }

  private:
    const Transform& transform_;
    DeviceArray<double> offset_;
    DeviceArray<double> row_scale_;
};

struct DeviceStats : Stats {
    using Stats::Stats;
    std::int64_t taken = 0;  // stored values, of sparse samples
};

// `run` is given the outputs, the counts to add to and scratch memory full of rubbish.
template <class F>
DeviceStats stats_on_device(std::int64_t n_features, std::int64_t workspace_bytes, F&& run) {
    DeviceStats stats(n_features);
    DeviceArray<std::int64_t> count(stats.count), missing(stats.missing), zeros(stats.zeros);
    DeviceArray<double> min(stats.min), max(stats.max), mean(stats.mean), m2(stats.m2);
    DeviceArray<unsigned long long> counts(std::vector<unsigned long long>{10, 20, 30});
    DeviceArray<char> workspace(std::vector<char>(static_cast<std::size_t>(workspace_bytes), '\x5a'));
    run(StatsOutput{count.data(), missing.data(), zeros.data(), min.data(), max.data(), mean.data(), m2.data()},
        counts.data(), workspace_bytes > 0 ? workspace.data() : nullptr);
    stats.count = count.read();
    stats.missing = missing.read();
    stats.zeros = zeros.read();
    stats.min = min.read();
    stats.max = max.read();
    stats.mean = mean.read();
    stats.m2 = m2.read();
    const std::vector<unsigned long long> sums = counts.read();
    stats.counts = {static_cast<std::int64_t>(sums[0]) - 10, static_cast<std::int64_t>(sums[1]) - 20};
    stats.taken = static_cast<std::int64_t>(sums[2]) - 30;
    return stats;
}

}  // namespace pixfold::tests
