// Packed genotypes: fold and packing against literal loops over codes that are read bit by bit. Rows lie in
// buffers of exactly their bytes, so that AddressSanitizer sees any access outside.
#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "layouts.hpp"
#include "matrices.hpp"
#include "packed_bits.hpp"
#include "pixfold/packed.hpp"

namespace pixfold::tests {
namespace {

// Random elements for every code and pixel, 0 at pixels without a feature.
class Table {
  public:
    Table(const SlotView& slots, std::int64_t n_features, DType dtype, std::uint64_t seed) : dtype_(dtype) {
        std::mt19937_64 random(seed);
        stride_ = (slots.n_pixels + 63) / 64 * 64;
        const auto n = static_cast<std::size_t>(4 * stride_ * size_of(dtype));
        memory_.assign(n + 64, 0);
        planes_ = memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64) % 64;
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            for (int code = 0; code < 4; ++code) {
                const std::uint64_t bits = random();
                std::memcpy(planes_ + (code * stride_ + slots.pixel[k]) * size_of(dtype), &bits,
                            static_cast<std::size_t>(size_of(dtype)));
            }
        }
        if (!slots.identity_features || !slots.identity_pixels) {
            position_.assign(static_cast<std::size_t>(slots.n_pixels), 0);
            for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                position_[static_cast<std::size_t>(slots.pixel[k])] =
                    static_cast<std::int32_t>(packed_position(slots.feature[k], (n_features + 3) / 4));
            }
        }
        n_pixels_ = slots.n_pixels;
    }
    PackedTable view() const {
        return {planes_, stride_, dtype_, position_.empty() ? nullptr : position_.data(), n_pixels_};
    }
    const char* element(int code, std::int64_t pixel) const {
        return planes_ + (code * stride_ + pixel) * size_of(dtype_);
    }

  private:
    DType dtype_;
    std::int64_t stride_ = 0;
    std::int64_t n_pixels_ = 0;
    std::vector<char> memory_;
    char* planes_ = nullptr;
    std::vector<std::int32_t> position_;
};

void check_fold(std::int64_t n_samples, std::int64_t n_features, Kind kind, DType dtype, std::int64_t gap,
                bool reversed, std::uint64_t seed, const std::vector<int>& threads) {
    const Bits x(n_samples, n_features, gap, reversed, seed);
    const Layout layout(kind, n_features);
    const SlotView slots = layout.view();
    const Table table(slots, n_features, dtype, seed + 1);
    const auto size = static_cast<std::size_t>(size_of(dtype));
    std::vector<char> expected(static_cast<std::size_t>(n_samples * slots.n_pixels) * size, 0);
    for (std::int64_t i = 0; i < n_samples; ++i) {
        for (std::int64_t k = 0; k < slots.n_slots; ++k) {
            std::memcpy(expected.data() + static_cast<std::size_t>(i * slots.n_pixels + slots.pixel[k]) * size,
                        table.element(x.code(i, slots.feature[k]), slots.pixel[k]), size);
        }
    }
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const int n_threads : threads) {
            context = isa + ", " + name_of(dtype) + ", " + text(n_samples) + " samples of " + text(n_features) +
                      " features, layout " + text(static_cast<int>(kind)) + ", " + text(n_threads) + " threads";
            std::vector<char> out(expected.size(), '\x7f');
            cpu::fold_packed(x.view(), table.view(), out.data(), n_threads);
            CHECK(out == expected);
        }
    }
}

void fold() {
    constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16, DType::i8};
    int step = 0;
    for (const std::int64_t n :
         {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 1087, 1088, 1089, 2113, 16385, 18225}) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 33}) {
            if (n > 2000 && n_samples > 17) {
                continue;
            }
            for (const Kind kind : {Kind::natural, Kind::gather, Kind::scatter, Kind::shuffled, Kind::dropped}) {
                ++step;
                if (kind == Kind::dropped && n < 2) {
                    continue;
                }
                check_fold(n_samples, n, kind, dtypes[step % 4], step % 3, step % 5 == 0,
                           static_cast<std::uint64_t>(step), {1, 3});
            }
        }
    }
}

// Blocks for every thread, and blocks that all threads share.
void threads() {
    for (const Kind kind : {Kind::natural, Kind::shuffled}) {
        for (const DType dtype : {DType::f16, DType::f32}) {
            check_fold(170, 3001, kind, dtype, 0, false, 5, {1, 2, 4, 7});
            check_fold(20, 40003, kind, dtype, 1, true, 6, {1, 2, 4, 7});
        }
    }
}

// From 32 MB on, past the caches; first pixels at every place in a line.
void streamed() {
    check_fold(41, 450001, Kind::natural, DType::f16, 0, false, 7, {1, 2});
    check_fold(41, 450001, Kind::shuffled, DType::f16, 0, false, 8, {2});
    check_fold(41, 225003, Kind::natural, DType::f32, 1, true, 9, {2});
    check_fold(41, 900003, Kind::gather, DType::i8, 0, false, 10, {2});
}

void any_missing() {
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        for (const std::int64_t n : {1, 2, 3, 4, 5, 63, 64, 65, 257}) {
            const std::int64_t row = (n + 3) / 4;
            for (std::int64_t at = 0; at < row * 4; ++at) {
                context = isa + ", " + text(n) + " features, missing at " + text(at);
                std::vector<std::uint8_t> bits(static_cast<std::size_t>(3 * row), 0xe2);  // codes 2, 0, 2, 3
                auto& byte = bits[static_cast<std::size_t>(row + at / 4)];
                byte = static_cast<std::uint8_t>((byte & ~(3 << (2 * (at % 4)))) | 1 << (2 * (at % 4)));
                CHECK_EQUAL(cpu::any_missing_packed({bits.data(), 3, n, row}, 2), at < n);
            }
        }
    }
}

void pack() {
    for (const DType dtype : all_dtypes) {
        for (const std::int64_t n : {1, 2, 3, 4, 5, 63, 64, 65, 1023, 1024, 1025, 2049}) {
            Matrix x{dtype, 3, n, std::vector<double>(static_cast<std::size_t>(3 * n))};
            std::mt19937_64 random(static_cast<std::uint64_t>(n));
            const bool is_signed =
                dtype == DType::i8 || dtype == DType::i16 || dtype == DType::i32 || dtype == DType::i64;
            for (double& value : x.values) {
                const auto code = static_cast<int>(random() % 4);
                value = code < 3 ? code : (is_floating(dtype) ? nan : (is_signed ? -1.0 : 0.0));
                value = dtype == DType::b8 && value > 1.0 ? 1.0 : value;
            }
            for (int storage = 0; storage < n_storages; ++storage) {
                const Dense dense(x, static_cast<Storage>(storage));
                for (const std::string& isa : available_isas()) {
                    set_isa(isa);
                    context = isa + ", " + name_of(dtype) + ", " + text(n) + " features, storage " + text(storage);
                    for (const int copies : {0, 2}) {
                        const std::int64_t row = (n + 3) / 4;
                        std::vector<std::uint8_t> bits(static_cast<std::size_t>(3 * row), 0xff);
                        CHECK_EQUAL(cpu::pack(dense.view(), {copies, -1}, bits.data(), 2), -1);
                        for (std::int64_t i = 0; i < 3; ++i) {
                            for (std::int64_t j = 0; j < 4 * row; ++j) {
                                const int code = bits[static_cast<std::size_t>(i * row + j / 4)] >> (2 * (j % 4)) & 3;
                                const double value = j < n ? x.at(i, j) : 0.0;
                                const bool absent = std::isnan(value) || value == -1.0;
                                const int first = copies == 2 ? static_cast<int>(2.0 - value) : static_cast<int>(value);
                                const int expected = absent ? 1 : (first == 0 ? 0 : first + 1);
                                CHECK_EQUAL(code, j < n ? expected : 0);
                            }
                        }
                    }
                }
            }
            if (dtype != DType::b8) {
                Matrix bad = x;
                bad.values[static_cast<std::size_t>(2 * n + n - 1)] = 3.0;
                bad.values[static_cast<std::size_t>(n + n / 2)] = 3.0;
                const Dense dense(bad, Storage::packed);
                std::vector<std::uint8_t> bits(static_cast<std::size_t>(3 * ((n + 3) / 4)));
                CHECK_EQUAL(cpu::pack(dense.view(), {2, -1}, bits.data(), 3), n + n / 2);
            }
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run(
        {{"fold", fold}, {"threads", threads}, {"streamed", streamed}, {"any_missing", any_missing}, {"pack", pack}});
}
