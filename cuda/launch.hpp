// The one way to start a kernel.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <tuple>
#include <type_traits>

#include "simt.hpp"

namespace pixfold::cuda {

// What the CUDA runtime refused, in its words. The bindings add the op's name.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Kernels take their units in strides of the grid, so fewer blocks than units are right, too.
inline unsigned blocks_for(std::int64_t n_units) {
#ifdef PIXFOLD_SIMT_SHIM
    const std::int64_t most_blocks = simt::largest_grid(n_units);
#else
    constexpr std::int64_t most_blocks = (std::int64_t{1} << 31) - 1;
#endif
    return static_cast<unsigned>(n_units < most_blocks ? n_units : most_blocks);
}

// Starts `blocks` blocks of `threads` threads with `shared` bytes of dynamic shared memory each on the stream, which
// may be null for the default one. Throws Error; errors of the kernel itself show at the stream's next synchronisation.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, std::size_t shared, void* stream,
            const Arguments&... arguments) {
#ifdef PIXFOLD_SIMT_SHIM
    static_cast<void>(stream);
    simt::run({blocks, threads, shared}, [&] { kernel(arguments...); });
#else
    // The arguments as the kernel declares them, because the runtime takes them by address.
    std::tuple<std::remove_cv_t<Parameters>...> values(arguments...);
    const cudaError_t status = std::apply(
        [&](auto&... value) {
            void* addresses[] = {&value...};
            return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(blocks), dim3(threads), addresses,
                                    shared, static_cast<cudaStream_t>(stream));
        },
        values);
    if (status != cudaSuccess) {
        cudaGetLastError();  // so that the next call does not report it again
        throw Error(cudaGetErrorString(status));
    }
#endif
}

}  // namespace pixfold::cuda
