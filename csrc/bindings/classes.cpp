#include "classes.hpp"

#include <limits>

namespace pixfold::bindings {

std::vector<ClassSamples> class_samples(const Arguments& of, const Array& samples, const Array& added,
                                        const Array& seen, const std::vector<OptionalArray>& before,
                                        const std::vector<Array>& after, std::int64_t n_samples,
                                        std::int64_t n_pixels) {
    const Arguments on_host(of.op());
    const std::int64_t n_kept = samples.size();
    const std::int64_t n_classes = added.size();
    const auto* positions = on_host.vector<std::int64_t>("samples", samples, n_kept);
    const auto* sizes = on_host.vector<std::int64_t>("added", added, n_classes);
    const auto* counts = on_host.vector<std::int64_t>("seen", seen, n_classes);
    for (std::int64_t i = 0; i < n_kept; ++i) {
        if (positions[i] < 0 || positions[i] >= n_samples) {
            of.refuse("samples", "in [0, " + std::to_string(n_samples) + ")", std::to_string(positions[i]));
        }
    }
    if (static_cast<std::int64_t>(before.size()) != n_classes || static_cast<std::int64_t>(after.size()) != n_classes) {
        of.refuse("before and after", "lists of " + std::to_string(n_classes),
                  std::to_string(before.size()) + " and " + std::to_string(after.size()));
    }
    const std::int64_t size = product(3, n_pixels);
    std::vector<ClassSamples> classes;
    std::int64_t first = 0;
    for (std::int64_t k = 0; k < n_classes; ++k) {
        const OptionalArray& old = before[static_cast<std::size_t>(k)];
        if (sizes[k] < 1 || sizes[k] > n_kept - first || counts[k] < 0 ||
            counts[k] > std::numeric_limits<std::int64_t>::max() - n_kept || (counts[k] > 0 && !old)) {
            of.refuse("added, seen and before", "sizes of parts of samples, counts, and moments where there are any",
                      std::to_string(sizes[k]) + " and " + std::to_string(counts[k]));
        }
        classes.push_back({positions + first, sizes[k], counts[k],
                           counts[k] > 0 ? of.vector<double>("before", old, size) : nullptr,
                           of.output<double>("after", after[static_cast<std::size_t>(k)], size)});
        first += sizes[k];
    }
    return classes;
}

}  // namespace pixfold::bindings
