// unfold: every element size and layout, bit by bit.
#include <cstring>
#include <random>
#include <vector>

#include "device_memory.hpp"
#include "layouts.hpp"
#include "pixfold/fold.hpp"
#include "pixfold/unfold.hpp"
#include "sides.hpp"

namespace pixfold::tests {
namespace {

std::vector<std::int32_t> pixels_of(const Layout& layout, std::int64_t n_features) {
    std::vector<std::int32_t> pixels(static_cast<std::size_t>(n_features));
    const SlotView slots = layout.view();
    for (std::int64_t j = 0; j < n_features; ++j) {
        const std::int64_t slot = layout.slot_of_feature()[j];
        pixels[static_cast<std::size_t>(j)] = slot >= 0 ? slots.pixel[slot] : -1;
    }
    return pixels;
}

void all() {
    std::mt19937_64 random(1);
    for (const std::int64_t size : {1, 2, 4, 8}) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            for (const std::int64_t n_features :
                 {1, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 1000, 1024, 1025, 2500, 18225}) {
                const Layout layout(static_cast<Kind>(kind), n_features);
                const std::int64_t n_pixels = layout.n_pixels();
                const std::vector<std::int32_t> pixels = pixels_of(layout, n_features);
                DeviceArray<std::int32_t> device_pixels(pixels);
                for (const std::int64_t n : {0, 1, 2, 3, 5, 17}) {
                    context = "elements of " + text(size) + " bytes, layout " + text(kind) + ", " + text(n_features) +
                              " features, " + text(n) + " samples";
                    std::vector<char> images(static_cast<std::size_t>(n * n_pixels * size));
                    for (char& byte : images) {
                        byte = static_cast<char>(random());
                    }
                    std::vector<char> expected(static_cast<std::size_t>(n * n_features * size), '\0');
                    for (std::int64_t i = 0; i < n; ++i) {
                        for (std::int64_t j = 0; j < n_features; ++j) {
                            const std::int64_t pixel = pixels[static_cast<std::size_t>(j)];
                            if (pixel >= 0) {
                                std::memcpy(expected.data() + (i * n_features + j) * size,
                                            images.data() + (i * n_pixels + pixel) * size,
                                            static_cast<std::size_t>(size));
                            }
                        }
                    }
                    const std::vector<char> unwritten(expected.size(), '\x5a');
                    UnfoldArguments arguments{
                        images.data(), nullptr,  size,          n,
                        n_features,    n_pixels, pixels.data(), static_cast<Kind>(kind) == Kind::natural};
                    for (const Side side : sides()) {
                        if (side == Side::cpu) {
                            on_cpu({1, 3}, [&](int threads) {
                                std::vector<char> out = unwritten;
                                arguments.out = out.data();
                                cpu::unfold(arguments, threads);
                                CHECK(out == expected);
                            });
                        } else if (n_features <= 2500) {  // the simulator takes its time
                            DeviceArray<char> device_images(images);
                            DeviceArray<char> out(unwritten);
                            arguments.images = device_images.data();
                            arguments.out = out.data();
                            arguments.pixel_of_feature = device_pixels.data();
                            cuda::unfold(arguments, nullptr);
                            CHECK(out.read() == expected);
                        }
                    }
                }
            }
        }
    }
}

// Folding what unfold gave brings every taken pixel back: features that share one all have its value.
void fold_brings_it_back() {
    for (int kind = 0; kind < n_kinds; ++kind) {
        const Layout layout(static_cast<Kind>(kind), 500);
        const SlotView slots = layout.view();
        const std::vector<std::int32_t> pixels = pixels_of(layout, 500);
        std::vector<float> images(static_cast<std::size_t>(2 * slots.n_pixels), 0.0f);
        for (std::int64_t i = 0; i < 2; ++i) {
            for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                // Few bits, so that even the sum of 500 equal values is exact.
                images[static_cast<std::size_t>(i * slots.n_pixels + slots.pixel[k])] =
                    static_cast<float>((k * 37 + i) % 1024) / 8.0f;
            }
        }
        on_cpu({1}, [&](int threads) {
            std::vector<float> features(1000), back(images.size(), -1.0f);
            cpu::unfold({images.data(), features.data(), 4, 2, 500, slots.n_pixels, pixels.data(), false}, threads);
            cpu::fold_dense({features.data(), DType::f32, 2, 500, 2000, 4}, slots, NormalizeParameters{},
                            {back.data(), DType::f32}, threads);
            CHECK(back == images);
        });
    }
}

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"all", all}, {"fold_brings_it_back", fold_brings_it_back}});
}
