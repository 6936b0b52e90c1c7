// rank and top_k against std::stable_sort and counting: on the CPU for any number of threads and both ways to sort.
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "device_memory.hpp"
#include "importances.hpp"
#include "pixfold/rank.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

// What top_k selects of positions in decreasing order: the first k, without the tied group that goes on beyond them.
std::vector<std::int64_t> selection(const std::vector<double>& values, std::vector<std::int64_t> order,
                                    std::int64_t k) {
    const auto at = [&](std::size_t i) { return values[static_cast<std::size_t>(order[i])]; };
    std::size_t end = std::min(static_cast<std::size_t>(k), order.size());
    if (order.empty() || at(0) == at(order.size() - 1)) {
        end = 0;
    }
    if (end < order.size()) {
        const double beyond = at(end);
        while (end > 0 && at(end - 1) == beyond) {
            --end;
        }
    }
    order.resize(end);
    return order;
}

struct Expected {
    explicit Expected(const std::vector<double>& from) : values(from), order(from.size()) {
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
            return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)];
        });
        std::vector<double> sorted(values);
        std::sort(sorted.begin(), sorted.end());
        for (const double value : values) {
            const auto [low, high] = std::equal_range(sorted.begin(), sorted.end(), value);
            const auto above = static_cast<double>(sorted.end() - high);
            const auto equal = static_cast<double>(high - low);
            ranks.push_back(above + (equal + 1.0) / 2.0);
        }
    }
    // Checks what `select(k, positions)` writes and how many it says they are.
    template <class Select>
    void check_top_k(bool few, Select&& select) const {
        const auto n = static_cast<std::int64_t>(values.size());
        const std::string about = context;
        for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, n / 100, n / 2, n - 1, n,
                                     std::numeric_limits<std::int64_t>::max()}) {
            if (k < 0 || (k < n / 2 && k > 2 && few)) {
                continue;
            }
            context = about + ", the largest " + text(k);
            std::vector<std::int64_t> selected(static_cast<std::size_t>(std::min(k, n)), -1);
            const std::int64_t size = select(k, selected);
            CHECK(size >= 0 && size <= std::min(k, n));
            selected.resize(static_cast<std::size_t>(size));
            CHECK(selected == selection(values, order, k));
        }
    }

    const std::vector<double>& values;
    std::vector<std::int64_t> order;
    std::vector<double> ranks;
};

void check_on_cpu(const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    const Expected expected(values);
    for (const int threads : {1, 2, 7}) {
        const Survey found = survey(values.data(), n, threads);
        CHECK_EQUAL(found.first_nan, -1);
        for (const std::int64_t packed_up_to : {most_packed, std::int64_t{0}}) {
            context = text(n) + " values, " + text(threads) + " threads" + (packed_up_to > 0 ? "" : ", not packed");
            std::vector<double> ranks(values.size(), -1.0);
            average_ranks(values.data(), n, found, ranks.data(), threads, packed_up_to);
            CHECK(ranks == expected.ranks);
            expected.check_top_k(packed_up_to == 0, [&](std::int64_t k, std::vector<std::int64_t>& selected) {
                return top_k(values.data(), n, found, k, selected.data(), threads, packed_up_to);
            });
        }
    }
}

Survey survey_on_device(DeviceArray<double>& values, std::int64_t n) {
    DeviceMemory workspace(cuda::survey_workspace_bytes(n));
    DeviceArray<Survey> found(std::vector<Survey>(1));
    cuda::survey(values.data(), n, workspace.data(), found.data(), nullptr);
    return found.read()[0];
}

// The survey of the device is the CPU's.
Survey check_survey(DeviceArray<double>& on_device, const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    const Survey expected = survey(values.data(), n, 1);
    const Survey found = survey_on_device(on_device, n);
    CHECK_EQUAL(found.first_nan, -1);
    CHECK_EQUAL(found.least, expected.least);
    CHECK_EQUAL(found.most, expected.most);
    CHECK_EQUAL(found.varying, expected.varying);
    return found;
}

void check_on_device(const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    if (n == 0) {
        return;  // there is nothing to launch
    }
    context = text(n) + " values on the device";
    DeviceArray<double> on_device(values);
    const Survey found = check_survey(on_device, values);
    const Expected expected(values);
    DeviceMemory workspace(cuda::rank_workspace_bytes(n));
    DeviceArray<double> ranks(std::vector<double>(values.size(), -1.0));
    cuda::average_ranks(on_device.data(), n, found, ranks.data(), workspace.data(), nullptr);
    CHECK(ranks.read() == expected.ranks);
    expected.check_top_k(true, [&](std::int64_t k, std::vector<std::int64_t>& selected) {
        DeviceArray<std::int64_t> positions(selected);
        DeviceArray<std::int64_t> n_selected(std::vector<std::int64_t>{-1});
        cuda::top_k(on_device.data(), n, found, k, positions.data(), n_selected.data(), workspace.data(), nullptr);
        selected = positions.read();
        return n_selected.read()[0];
    });
}

// A test of such importances on each side.
std::function<void()> on_sides(void (*make)(const importances::CheckRank&, std::size_t)) {
    return [make] {
        for (const Side side : sides()) {
            side == Side::cpu ? make(check_on_cpu, 100'000) : make(check_on_device, 10'000);
        }
    };
}

// Groups that end at every distance from their ends and from those of the values: steps that double meet all of them.
void groups(const importances::CheckRank& check_rank, std::size_t) {
    for (const std::int64_t n : {1, 2, 5, 16, 33}) {
        for (std::int64_t first = 0; first < n; ++first) {
            for (std::int64_t end = first + 1; end <= n; end += n / 16 + 1) {
                std::vector<double> values;
                for (std::int64_t i = 0; i < n; ++i) {
                    values.push_back(i >= first && i < end ? 0.5
                                                           : static_cast<double>(n - i) * (i < first ? 1.0 : -1.0));
                }
                check_rank(values);
            }
        }
    }
}

void not_a_number() {
    for (const std::int64_t n : {1, 2, 15, 31, 64, 1000, 2048, 5000}) {
        std::vector<double> values(static_cast<std::size_t>(n), 1.0);
        for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
            values.back() = nan;  // the last one is not the first
            values[static_cast<std::size_t>(at)] = -nan;
            context = text(n) + " values, NaN at " + text(at);
            for (const Side side : sides()) {
                if (side == Side::cpu) {
                    for (const int threads : {1, 2, 7}) {
                        CHECK_EQUAL(survey(values.data(), n, threads).first_nan, at);
                    }
                } else {
                    DeviceArray<double> on_device(values);
                    CHECK_EQUAL(survey_on_device(on_device, n).first_nan, at);
                }
            }
            values[static_cast<std::size_t>(at)] = 1.0;
        }
    }
    CHECK_EQUAL(survey(nullptr, 0, 1).first_nan, -1);
}

// More surveys of blocks than there are: blocks of a device take several shares.
void many_blocks() {
    const std::size_t n = 1024 * 256 * 8 + 100'000;
    std::vector<double> values(n, 2.0);
    values[n - 3] = 1.0;
    values[1'000'000] = 3.0;
    if (sides().back() == Side::device) {
        DeviceArray<double> on_device(values);
        check_survey(on_device, values);
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"small", on_sides(importances::small)},
                {"sizes", on_sides(importances::sizes)},
                {"any_bits", on_sides(importances::any_bits)},
                {"ties", on_sides(importances::ties)},
                {"low_bits", on_sides(importances::low_bits)},
                {"narrow", on_sides(importances::narrow)},
                {"single_digits", on_sides(importances::single_digits)},
                {"groups", on_sides(groups)},
                {"not_a_number", not_a_number},
                {"many_blocks", many_blocks}});
}
