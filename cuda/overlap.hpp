// Kernels of one op that begin while the one before ends, where the card can do it (compute capability 9.0 and newer):
// each says when the next may begin, and waits for the one before where it needs what that one wrote, or writes what
// that one read. The first kernel of an op is started as any other, behind all that is on the stream.
#pragma once

#include "launch.hpp"

namespace pixfold::cuda {

#ifdef PIXFOLD_SIMT_SHIM

inline void let_next_begin() {}
inline void wait_for_previous() {}

template <class... Parameters, class... Arguments>
void launch_overlapping(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, void* stream,
                        const Arguments&... arguments) {
    launch(kernel, blocks, threads, 0, stream, arguments...);
}

#else

// By every block, early: the next kernel's blocks come when all of this one's have said it.
__device__ inline void let_next_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Until the kernel before is done and what it wrote is seen. At least one thread of a kernel calls it.
__device__ inline void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

namespace detail {
// Whether the kernel's code for the current device knows how to wait: that of compute_80 does not, on whatever card.
bool knows_waiting(const void* kernel);
}  // namespace detail

// As launch(), but the kernel may begin before the previous one on the stream, of the same op, has ended.
template <class... Parameters, class... Arguments>
void launch_overlapping(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, void* stream,
                        const Arguments&... arguments) {
    if (!detail::knows_waiting(reinterpret_cast<const void*>(kernel))) {
        launch(kernel, blocks, threads, 0, stream, arguments...);
        return;
    }
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(blocks);
    config.blockDim = dim3(threads);
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = &attribute;
    config.numAttrs = 1;
    const cudaError_t status = cudaLaunchKernelEx(&config, kernel, std::remove_cv_t<Parameters>(arguments)...);
    if (status != cudaSuccess) {
        cudaGetLastError();  // so that the next call does not report it again
        throw Error(cudaGetErrorString(status));
    }
}

#endif

}  // namespace pixfold::cuda
