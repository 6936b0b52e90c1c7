// The transpose of packed codes against codes that are read one by one. Rows lie in buffers of exactly their bytes, so
// that AddressSanitizer sees any access outside, and bytes between rows must stay as they were.
#include <algorithm>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "packed_bits.hpp"
#include "pixfold/transpose_packed.hpp"

namespace pixfold::tests {
namespace {

void check_transpose(std::int64_t n_rows, std::int64_t n_codes, std::int64_t gap, bool reversed,
                     const std::vector<int>& threads) {
    const Bits x(n_rows, n_codes, gap, reversed, 7);
    const std::int64_t row_bytes = (n_rows + 3) / 4;
    const std::int64_t stride = row_bytes + gap;
    constexpr std::uint8_t untouched = 0xa5;
    std::vector<std::uint8_t> expected(static_cast<std::size_t>((n_codes - 1) * stride + row_bytes), untouched);
    // The view of the output as the kernel sees it: its first row may be the last in memory.
    const std::int64_t first = reversed ? (n_codes - 1) * stride : 0;
    const std::int64_t step = reversed ? -stride : stride;
    for (std::int64_t j = 0; j < n_codes; ++j) {
        std::uint8_t* row = expected.data() + first + j * step;
        std::fill(row, row + row_bytes, std::uint8_t{0});
        for (std::int64_t i = 0; i < n_rows; ++i) {
            row[i / 4] = static_cast<std::uint8_t>(row[i / 4] | x.code(i, j) << (2 * (i % 4)));
        }
    }
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const int n_threads : threads) {
            context = isa + ", " + text(n_rows) + " rows of " + text(n_codes) + " codes, gap " + text(gap) + ", " +
                      text(n_threads) + " threads";
            std::vector<std::uint8_t> out(expected.size(), untouched);
            cpu::transpose_packed(x.view(), {out.data() + first, step}, n_threads);
            CHECK(out == expected);
        }
    }
}

const std::vector<std::int64_t> edges = {1,  2,  3,   4,   5,   15,  16,  17,  31,  32,  33, 63,
                                         64, 65, 127, 128, 129, 255, 256, 257, 260, 511, 513};

void edge_sizes() {
    for (const std::int64_t n_rows : edges) {
        for (const std::int64_t n_codes : edges) {
            check_transpose(n_rows, n_codes, 0, false, {1});
        }
    }
}

void strides() {
    for (const std::int64_t n_rows : {5, 64, 300}) {
        for (const std::int64_t n_codes : {3, 256, 777}) {
            check_transpose(n_rows, n_codes, 1, false, {1});
            check_transpose(n_rows, n_codes, 77, true, {1, 2});
        }
    }
}

void threads() {
    check_transpose(1000, 3001, 0, false, {1, 2, 3, 7, 64});
    check_transpose(3001, 1000, 3, false, {2, 5});
}

void no_rows() {
    std::vector<std::uint8_t> out;
    cpu::transpose_packed({nullptr, 0, 9, 3}, {out.data(), 0}, 2);
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"edge sizes", edge_sizes}, {"strides", strides}, {"threads", threads}, {"no rows", no_rows}});
}
