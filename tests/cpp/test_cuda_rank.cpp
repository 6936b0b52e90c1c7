// rank for CUDA: survey, ranks and selections are the CPU's, for all that is hard to rank.
#include <algorithm>
#include <limits>
#include <vector>

#include "checks.hpp"
#include "device_memory.hpp"
#include "importances.hpp"
#include "pixfold/rank.hpp"

namespace pixfold::tests {
namespace {

Survey survey_on_device(DeviceArray<double>& values, std::int64_t n) {
    DeviceMemory workspace(cuda::survey_workspace_bytes(n));
    DeviceArray<Survey> found(std::vector<Survey>(1));
    cuda::survey(values.data(), n, workspace.data(), found.data(), nullptr);
    return found.read()[0];
}

void check_rank(const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    if (n == 0) {
        return;  // there is nothing to launch
    }
    context = text(n) + " values";
    const Survey expected = survey(values.data(), n, 1);
    DeviceArray<double> on_device(values);
    const Survey found = survey_on_device(on_device, n);
    CHECK_EQUAL(found.first_nan, expected.first_nan);
    CHECK_EQUAL(found.least, expected.least);
    CHECK_EQUAL(found.most, expected.most);
    CHECK_EQUAL(found.varying, expected.varying);

    DeviceMemory workspace(cuda::rank_workspace_bytes(n));
    std::vector<double> expected_ranks(values.size());
    average_ranks(values.data(), n, expected, expected_ranks.data(), 1);
    DeviceArray<double> ranks(std::vector<double>(values.size(), -1.0));
    cuda::average_ranks(on_device.data(), n, found, ranks.data(), workspace.data(), nullptr);
    CHECK(ranks.read() == expected_ranks);

    for (const std::int64_t k : {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, n / 2, n - 1, n,
                                 std::numeric_limits<std::int64_t>::max()}) {
        context = text(n) + " values, the largest " + text(k);
        const auto room = static_cast<std::size_t>(std::min(k, n));
        std::vector<std::int64_t> expected_positions(room);
        const std::int64_t size = top_k(values.data(), n, expected, k, expected_positions.data(), 1);
        expected_positions.resize(static_cast<std::size_t>(size));
        DeviceArray<std::int64_t> positions(std::vector<std::int64_t>(room, -1));
        DeviceArray<std::int64_t> n_selected(std::vector<std::int64_t>{-1});
        cuda::top_k(on_device.data(), n, found, k, positions.data(), n_selected.data(), workspace.data(), nullptr);
        CHECK_EQUAL(n_selected.read()[0], size);
        std::vector<std::int64_t> selected = positions.read();
        selected.resize(static_cast<std::size_t>(size));
        CHECK(selected == expected_positions);
    }
}

// Groups that end at every distance from their ends and from those of the values: steps that double meet all of them.
void groups() {
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
    for (const std::int64_t n : {1, 2, 31, 64, 2048, 5000}) {
        std::vector<double> values(static_cast<std::size_t>(n), 1.0);
        for (const std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
            values.back() = nan;  // the last one is not the first
            values[static_cast<std::size_t>(at)] = -nan;
            context = text(n) + " values, NaN at " + text(at);
            DeviceArray<double> on_device(values);
            CHECK_EQUAL(survey_on_device(on_device, n).first_nan, at);
            values[static_cast<std::size_t>(at)] = 1.0;
        }
    }
}

// More surveys of blocks than there are: blocks take several shares.
void many_blocks() {
    const std::int64_t n = 1024 * 256 * 8 + 100'000;
    std::vector<double> values(static_cast<std::size_t>(n), 2.0);
    values[static_cast<std::size_t>(n - 3)] = 1.0;
    values[1'000'000] = 3.0;
    const Survey expected = survey(values.data(), n, 1);
    DeviceArray<double> on_device(values);
    Survey found = survey_on_device(on_device, n);
    CHECK_EQUAL(found.first_nan, -1);
    CHECK_EQUAL(found.least, expected.least);
    CHECK_EQUAL(found.most, expected.most);
    CHECK_EQUAL(found.varying, expected.varying);
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    constexpr std::size_t many = 10000;
    return run({{"small", [] { importances::small(check_rank); }},
                {"sizes", [] { importances::sizes(check_rank); }},
                {"any_bits", [] { importances::any_bits(check_rank, many); }},
                {"ties", [] { importances::ties(check_rank, many); }},
                {"low_bits", [] { importances::low_bits(check_rank, many); }},
                {"narrow", [] { importances::narrow(check_rank); }},
                {"single_digits", [] { importances::single_digits(check_rank); }},
                {"groups", groups},
                {"not_a_number", not_a_number},
                {"many_blocks", many_blocks}});
}
