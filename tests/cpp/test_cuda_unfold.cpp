// unfold for CUDA: every element size, layout and alignment, bit by bit the CPU's.
#include <random>
#include <vector>

#include "checks.hpp"
#include "device_memory.hpp"
#include "layouts.hpp"
#include "pixfold/unfold.hpp"

namespace pixfold::tests {
namespace {

void all() {
    std::mt19937_64 random(1);
    for (const std::int64_t size : {1, 2, 4, 8}) {
        for (int kind = 0; kind < n_kinds; ++kind) {
            for (const std::int64_t n_features : {1, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 1000, 1024, 2500}) {
                const Layout layout(static_cast<Kind>(kind), n_features);
                const SlotView slots = layout.view();
                std::vector<std::int32_t> pixels(static_cast<std::size_t>(n_features), -1);
                for (std::int64_t k = 0; k < slots.n_slots; ++k) {
                    pixels[static_cast<std::size_t>(slots.feature[k])] = slots.pixel[k];
                }
                const bool identity = static_cast<Kind>(kind) == Kind::natural;
                DeviceArray<std::int32_t> device_pixels(pixels);
                for (const std::int64_t n : {0, 1, 2, 3, 17}) {
                    context = "elements of " + text(size) + " bytes, layout " + text(kind) + ", " + text(n_features) +
                              " features, " + text(n) + " samples";
                    std::vector<char> images(static_cast<std::size_t>(n * slots.n_pixels * size));
                    for (char& byte : images) {
                        byte = static_cast<char>(random());
                    }
                    std::vector<char> expected(static_cast<std::size_t>(n * n_features * size), '\x11');
                    UnfoldArguments arguments{images.data(), expected.data(), size,          n,
                                              n_features,    slots.n_pixels,  pixels.data(), identity};
                    cpu::unfold(arguments, 1);
                    DeviceArray<char> device_images(images);
                    DeviceArray<char> out(std::vector<char>(expected.size(), '\x5a'));
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

}  // namespace
}  // namespace pixfold::tests

int main() {
    using namespace pixfold::tests;
    return run({{"all", all}});
}
