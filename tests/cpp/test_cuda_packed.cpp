// fold of packed genotypes for CUDA: against codes that are read bit by bit.
#include <cstring>
#include <random>
#include <vector>

#include "checks.hpp"
#include "device_fold.hpp"
#include "fold_packed_natural.hpp"
#include "matrices.hpp"
#include "packed_bits.hpp"
#include "pixfold/packed.hpp"

namespace pixfold::tests {
namespace {

// All samples, or some of them in any order.
void check_fold(std::int64_t n_stored, std::int64_t n_features, Kind kind, std::int64_t element, std::int64_t gap,
                bool reversed, bool plain, std::uint64_t seed, const std::vector<std::int64_t>* sample = nullptr) {
    const std::int64_t n_samples = sample != nullptr ? static_cast<std::int64_t>(sample->size()) : n_stored;
    context = text(element) + " bytes, " + text(n_samples) + " samples of " + text(n_features) + " features, layout " +
              text(static_cast<int>(kind)) + (plain ? ", plain" : "");
    const Bits x(n_stored, n_features, gap, reversed, seed);
    const Layout layout(kind, n_features);
    const SlotView slots = layout.view();
    const auto size = static_cast<std::size_t>(element);
    // Random elements for every code and pixel, 0 at pixels without a feature.
    std::vector<char> planes(static_cast<std::size_t>(4 * slots.n_pixels) * size, 0);
    const auto plane = [&](int code, std::int64_t pixel) {
        return planes.data() + static_cast<std::size_t>(code * slots.n_pixels + pixel) * size;
    };
    std::mt19937_64 random(seed);
    std::vector<char> expected(static_cast<std::size_t>(n_samples * slots.n_pixels) * size, 0);
    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
        for (int code = 0; code < 4; ++code) {
            const std::uint64_t bits = random();
            std::memcpy(plane(code, slots.pixel[k]), &bits, size);
        }
        for (std::int64_t i = 0; i < n_samples; ++i) {
            std::memcpy(expected.data() + static_cast<std::size_t>(i * slots.n_pixels + slots.pixel[k]) * size,
                        plane(x.code(sample != nullptr ? (*sample)[static_cast<std::size_t>(i)] : i, slots.feature[k]),
                              slots.pixel[k]),
                        size);
        }
    }
    DeviceArray<std::uint8_t> bits(x.memory());
    PackedView view = x.view();
    view.bits = bits.data() + (view.bits - x.memory().data());
    view.n_samples = n_samples;
    DeviceArray<std::int64_t> device_sample(sample != nullptr ? *sample : std::vector<std::int64_t>{});
    const DeviceSlots device_slots(slots, plain);
    DeviceArray<char> device_planes(planes);
    DeviceArray<char> out(std::vector<char>(expected.size(), '\x7f'));
    const bool gathers = device_slots.view().feature != nullptr;
    DeviceMemory scratch(gathers ? 4 * cuda::packed_scratch(view) : 0);
    cuda::fold_packed({view, device_slots.view(), device_planes.data(), element, out.data(),
                       gathers ? static_cast<std::uint32_t*>(scratch.data()) : nullptr,
                       sample != nullptr ? device_sample.data() : nullptr},
                      nullptr);
    CHECK(out.read() == expected);
}

void fold() {
    std::uint64_t step = 0;
    for (const std::int64_t n : {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, 1023, 1024, 1025, 3003}) {
        for (const std::int64_t n_samples : {0, 1, 2, 3, 15, 16, 17, 33}) {
            if (n > 2000 && n_samples > 17) {
                continue;
            }
            for (const Kind kind : {Kind::natural, Kind::gather, Kind::scatter, Kind::shuffled, Kind::dropped}) {
                ++step;
                constexpr std::int64_t elements[] = {4, 2, 1};
                check_fold(n_samples, n, kind, elements[step % 3], static_cast<std::int64_t>(step % 4), step % 5 == 0,
                           step % 7 == 0, step);
            }
        }
    }
}

// Rows in any order, some of them twice.
void gathered() {
    std::uint64_t step = 0;
    for (const std::int64_t n : {1, 33, 1026}) {
        for (const std::int64_t n_stored : {1, 40}) {
            for (const std::vector<std::int64_t>& samples : pickings(n_stored)) {
                for (const Kind kind : {Kind::natural, Kind::gather, Kind::scatter, Kind::shuffled}) {
                    ++step;
                    check_fold(n_stored, n, kind, step % 2 == 0 ? 2 : 4, static_cast<std::int64_t>(step % 3),
                               step % 5 == 0, step % 7 == 0, step, &samples);
                }
            }
        }
    }
}

// Genotypes in the order of the pixels, with padding up to whole 16 bytes of an image: every length of the last byte,
// groups of samples that are not full, rows by number.
void in_order() {
    std::mt19937_64 random(3);
    for (const std::int64_t n_features : {1, 2, 5, 8, 9, 13, 16, 31, 2047, 2050, 4100}) {
        for (const std::int64_t n_stored : {1, 2, 7, 8, 9, 19}) {
            for (const std::int64_t padding : {0, 8, 24}) {
                context = text(n_stored) + " samples of " + text(n_features) + " features, " + text(padding);
                const std::int64_t n_pixels = (n_features + 7) / 8 * 8 + padding;
                const std::int64_t row = (n_features + 3) / 4;
                const std::int64_t stride = row + row % 2 + (padding == 8 ? 6 : 0);
                std::vector<std::uint8_t> rows(static_cast<std::size_t>((n_stored - 1) * stride + row));
                for (std::uint8_t& byte : rows) {
                    byte = static_cast<std::uint8_t>(random());
                }
                std::vector<std::uint16_t> planes(static_cast<std::size_t>(4 * n_pixels), 0);
                for (std::int64_t k = 0; k < 4 * n_pixels; ++k) {
                    if (k % n_pixels < n_features) {
                        planes[static_cast<std::size_t>(k)] = static_cast<std::uint16_t>(random());
                    }
                }
                for (const std::vector<std::int64_t>& sample : pickings(n_stored)) {
                    const bool all = sample.empty();
                    const std::int64_t n = all ? n_stored : static_cast<std::int64_t>(sample.size());
                    std::vector<std::uint16_t> expected;
                    for (std::int64_t e = 0; e < n * n_pixels; ++e) {
                        const std::int64_t i = all ? e / n_pixels : sample[static_cast<std::size_t>(e / n_pixels)];
                        const std::int64_t j = e % n_pixels;
                        const int code = j < n_features
                                             ? rows[static_cast<std::size_t>(i * stride + j / 4)] >> (2 * (j % 4)) & 3
                                             : 0;
                        expected.push_back(planes[static_cast<std::size_t>(code * n_pixels + j)]);
                    }
                    DeviceArray<std::uint8_t> bits(rows);
                    DeviceArray<std::uint16_t> device_planes(planes);
                    DeviceArray<std::int64_t> device_sample(sample);
                    DeviceArray<std::uint16_t> out(std::vector<std::uint16_t>(expected.size(), 0x7f7f));
                    const cuda::FoldPackedArguments a{{bits.data(), n, n_features, stride},
                                                      {nullptr, nullptr, n_features, n_pixels, true},
                                                      device_planes.data(),
                                                      2,
                                                      out.data(),
                                                      nullptr,
                                                      all ? nullptr : device_sample.data()};
                    CHECK(cuda::is_packed_natural(a));
                    cuda::fold_packed(a, nullptr);
                    CHECK(out.read() == expected);
                }
            }
        }
    }
}

// Of values of slots, added in double in their order and rounded once.
void check_means(std::int64_t n_stored, std::int64_t n_features, Kind kind, DType dtype, std::uint64_t seed,
                 const std::vector<std::int64_t>* sample = nullptr) {
    const std::int64_t n_samples = sample != nullptr ? static_cast<std::int64_t>(sample->size()) : n_stored;
    context = std::string(name_of(dtype)) + ", means of " + text(n_samples) + " samples of " + text(n_features) +
              " features, layout " + text(static_cast<int>(kind));
    const Bits x(n_stored, n_features, static_cast<std::int64_t>(seed % 3), seed % 5 == 0, seed);
    const Layout layout(kind, n_features);
    const SlotView slots = layout.view();
    std::mt19937_64 random(seed);
    std::vector<float> values(static_cast<std::size_t>(4 * slots.n_slots));
    for (float& value : values) {
        value = std::ldexp(static_cast<float>(random() % (1u << 24)), -20) - 8.0f;
    }
    const DeviceSlots device_slots(slots, true);
    std::vector<double> sums(static_cast<std::size_t>(n_samples * slots.n_pixels), 0.0);
    std::vector<double> sharing(static_cast<std::size_t>(slots.n_pixels), 0.0);
    for (std::int64_t k = 0; k < slots.n_slots; ++k) {
        sharing[static_cast<std::size_t>(slots.pixel[k])] += 1.0;
        for (std::int64_t i = 0; i < n_samples; ++i) {
            const std::int64_t row = sample != nullptr ? (*sample)[static_cast<std::size_t>(i)] : i;
            const std::int64_t code = x.code(row, slots.feature[k]);
            sums[static_cast<std::size_t>(i * slots.n_pixels + slots.pixel[k])] +=
                static_cast<double>(values[static_cast<std::size_t>(code * slots.n_slots + k)]);
        }
    }
    DeviceArray<std::uint8_t> bits(x.memory());
    PackedView view = x.view();
    view.bits = bits.data() + (view.bits - x.memory().data());
    view.n_samples = n_samples;
    DeviceArray<std::int64_t> device_sample(sample != nullptr ? *sample : std::vector<std::int64_t>{});
    DeviceArray<float> device_values(values);
    Images images(dtype, n_samples * slots.n_pixels);
    DeviceMemory memory(images.output().data, images.size() * size_of(dtype));
    DeviceMemory scratch(4 * cuda::packed_scratch(view));
    cuda::fold_packed_means({view,
                             device_slots.view(),
                             device_values.data(),
                             {memory.data(), dtype},
                             static_cast<std::uint32_t*>(scratch.data()),
                             sample != nullptr ? device_sample.data() : nullptr},
                            nullptr);
    memory.read(images.output().data);
    for (std::int64_t at = 0; at < images.size(); ++at) {
        const double n = sharing[static_cast<std::size_t>(at % slots.n_pixels)];
        CHECK_EQUAL(images.at(at), rounded(dtype, n > 0.0 ? sums[static_cast<std::size_t>(at)] / n : 0.0));
    }
}

void means() {
    std::uint64_t step = 0;
    constexpr DType dtypes[] = {DType::f32, DType::f16, DType::bf16};
    for (const Kind kind : {Kind::many, Kind::all_on_one, Kind::dropped}) {
        for (const std::int64_t n : {1, 2, 5, 16, 33, 255, 257, 1025}) {
            for (const std::int64_t n_samples : {0, 1, 15, 16, 17, 33}) {
                check_means(n_samples, n, kind, dtypes[step % 3], step);
                ++step;
            }
        }
        for (const std::vector<std::int64_t>& samples : pickings(40)) {
            check_means(40, 300, kind, dtypes[step % 3], step, &samples);
            ++step;
        }
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"fold", fold}, {"gathered", gathered}, {"in_order", in_order}, {"means", means}});
}
