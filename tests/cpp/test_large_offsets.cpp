// Offsets that 32 bits do not hold, without the memory: reserved address space of which only the rows are touched.
#include <sys/mman.h>

#include <cstdio>
#include <vector>

#include "checks.hpp"
#include "cpu/dispatch.hpp"
#include "numbers.hpp"
#include "pixfold/column_stats.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/row_sums.hpp"
#include "pixfold/unfold.hpp"

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

namespace pixfold::tests {
namespace {

constexpr std::int64_t gib = std::int64_t{1} << 30;

class Reserved {
  public:
    explicit Reserved(std::int64_t bytes) : bytes_(static_cast<std::size_t>(bytes)) {
        data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (data_ == MAP_FAILED) {
            std::printf("       skipped: this machine refuses to reserve %.0f GiB of addresses\n",
                        static_cast<double>(bytes / gib));
        }
    }
    ~Reserved() {
        if (*this) {
            munmap(data_, bytes_);
        }
    }
    Reserved(const Reserved&) = delete;
    Reserved& operator=(const Reserved&) = delete;
    explicit operator bool() const { return data_ != MAP_FAILED; }
    char* data() const { return static_cast<char*>(data_); }

  private:
    std::size_t bytes_;
    void* data_;
};

struct Fold {
    static constexpr std::int64_t n_features = 3;
    const std::vector<std::int32_t> feature{2, 0, 1};
    const std::vector<std::int32_t> slot_of_feature{1, 2, 0};
    const std::vector<std::int32_t> pixel{0, 1, 3};
    SlotView slots() const { return {feature.data(), pixel.data(), 3, 4, false, false, true}; }
};

float value_of(std::int64_t i, std::int64_t j) { return static_cast<float>(10 * i + j + 1); }

void check_dense(std::int64_t sample_stride, std::int64_t feature_stride, std::int64_t n_samples) {
    const Reserved memory((n_samples - 1) * sample_stride + 2 * feature_stride + 64);
    if (!memory) {
        return;
    }
    for (std::int64_t i = 0; i < n_samples; ++i) {
        for (std::int64_t j = 0; j < 3; ++j) {
            write_as(memory.data() + i * sample_stride + j * feature_stride, value_of(i, j));
        }
    }
    const Fold fold;
    DenseView forwards{memory.data(), DType::f32, n_samples, 3, sample_stride, feature_stride};
    DenseView backwards{memory.data() + (n_samples - 1) * sample_stride + 2 * feature_stride,
                        DType::f32,
                        n_samples,
                        3,
                        -sample_stride,
                        -feature_stride};
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        for (const bool reversed : {false, true}) {
            const DenseView& view = reversed ? backwards : forwards;
            const auto expected = [&](std::int64_t i, std::int64_t j) {
                return reversed ? value_of(n_samples - 1 - i, 2 - j) : value_of(i, j);
            };
            std::vector<float> images(static_cast<std::size_t>(n_samples * 4), -1.0f);
            cpu::fold_dense(view, fold.slots(), NormalizeParameters{}, {images.data(), DType::f32}, 2);
            std::vector<double> sums(static_cast<std::size_t>(n_samples));
            cpu::row_sums_dense(view, sums.data(), 2);
            for (std::int64_t i = 0; i < n_samples; ++i) {
                const float* image = images.data() + i * 4;
                CHECK_EQUAL(image[0], expected(i, 2));
                CHECK_EQUAL(image[1], expected(i, 0));
                CHECK_EQUAL(image[2], 0.0f);
                CHECK_EQUAL(image[3], expected(i, 1));
                CHECK_EQUAL(sums[static_cast<std::size_t>(i)],
                            static_cast<double>(expected(i, 0) + expected(i, 1) + expected(i, 2)));
            }
            std::int64_t count[3], missing[3], zeros[3];
            double min[3], max[3], mean[3], m2[3];
            cpu::column_stats_dense(view, {false, false, nullptr, nullptr}, {count, missing, zeros, min, max, mean, m2},
                                    2);
            for (std::int64_t j = 0; j < 3; ++j) {
                CHECK_EQUAL(count[j], n_samples);
                CHECK_EQUAL(max[j], static_cast<double>(expected(reversed ? 0 : n_samples - 1, j)));
            }
        }
    }
}

void dense_samples() { check_dense(9 * gib + 4, 4, 4); }
void dense_features() { check_dense(12, 9 * gib + 4, 4); }

// The samples behind 5 * 2^30 entries of others, more than unsigned 32 bits count: a slice of a large matrix.
template <class Index>
void check_csr() {
    constexpr std::int64_t first = 5 * gib + 5;
    const std::vector<std::int64_t> row_start{first, first + 2, first + 2, first + 5};
    const Reserved values((first + 5) * 4);
    const Reserved indices((first + 5) * static_cast<std::int64_t>(sizeof(Index)));
    if (!values || !indices) {
        return;
    }
    const Index features[] = {0, 2, 0, 1, 2};
    const float stored[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
    for (std::int64_t e = 0; e < 5; ++e) {
        write_as(values.data() + (first + e) * 4, stored[e]);
        write_as(indices.data() + (first + e) * static_cast<std::int64_t>(sizeof(Index)), features[e]);
    }
    const Fold fold;
    const CsrView view{values.data(), DType::f32, indices.data(), sizeof(Index) == 8, row_start.data(), 3, 3};
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        std::vector<float> images(12, -1.0f);
        cpu::fold_csr(view, fold.slots(), fold.slot_of_feature.data(), NormalizeParameters{},
                      {images.data(), DType::f32}, 2);
        CHECK(images == (std::vector<float>{2, 1, 0, 0, 0, 0, 0, 0, 5, 3, 0, 4}));
        std::vector<double> sums(3);
        cpu::row_sums_csr(view, sums.data(), 2);
        CHECK(sums == (std::vector<double>{3, 0, 12}));
        std::int64_t count[3], missing[3], zeros[3];
        double min[3], max[3], mean[3], m2[3];
        cpu::column_stats_csr(view, {false, false, nullptr, nullptr}, {count, missing, zeros, min, max, mean, m2}, 2);
        CHECK_EQUAL(zeros[0], 1);
        CHECK_EQUAL(zeros[1], 2);
        CHECK_EQUAL(max[0], 3.0);
        CHECK_EQUAL(max[1], 4.0);
        CHECK_EQUAL(max[2], 5.0);
    }
}

void csr_narrow() { check_csr<std::int32_t>(); }
void csr_wide() { check_csr<std::int64_t>(); }

// Images of as many pixels as there may be, so that the third begins beyond 2^32; four pixels are looked at.
void unfold_pixels() {
    constexpr std::int64_t n_pixels = 2 * gib - 1;
    const Reserved images(3 * n_pixels);
    if (!images) {
        return;
    }
    const std::vector<std::int32_t> pixel{0, n_pixels - 1, -1, gib};
    std::vector<char> expected;
    for (std::int64_t i = 0; i < 3; ++i) {
        for (std::int64_t j = 0; j < 4; ++j) {
            const auto value = static_cast<char>(4 * i + j + 1);
            const std::int64_t at = pixel[static_cast<std::size_t>(j)];
            if (at >= 0) {
                images.data()[i * n_pixels + at] = value;
            }
            expected.push_back(at >= 0 ? value : '\0');
        }
    }
    for (const std::string& isa : available_isas()) {
        set_isa(isa);
        context = isa;
        std::vector<char> out(12, '\x5a');
        cpu::unfold({images.data(), out.data(), 1, 3, 4, n_pixels, pixel.data(), false}, 2);
        CHECK(out == expected);
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"dense_samples", dense_samples},
                {"dense_features", dense_features},
                {"csr_narrow", csr_narrow},
                {"csr_wide", csr_wide},
                {"unfold_pixels", unfold_pixels}});
}
