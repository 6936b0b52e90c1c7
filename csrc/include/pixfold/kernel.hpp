// How a contract declares a kernel of the CPU, which is compiled once per instruction set.
//
//     PIXFOLD_KERNEL(unfold, void(const UnfoldArguments&, int threads));
// declares unfold in the namespace of every instruction set, for csrc/cpu/unfold.cpp to define, and cpu::unfold, which
// calls the one of the instruction set in use (csrc/cpu/dispatch.hpp).
#pragma once

namespace pixfold {

#ifdef PIXFOLD_HAS_X86
constexpr const char* isas[] = {"baseline", "avx2", "avx512"};
#else
constexpr const char* isas[] = {"baseline"};
#endif
constexpr int n_isas = sizeof(isas) / sizeof(isas[0]);

// The position in `isas` of the instruction set in use.
int isa_number();

template <class Signature>
using KernelFunction = Signature;

template <class Signature>
struct Kernel;
template <class Result, class... Arguments>
struct Kernel<Result(Arguments...)> {
    Result (*of[n_isas])(Arguments...);

    Result operator()(Arguments... arguments) const { return of[isa_number()](arguments...); }
};

}  // namespace pixfold

#ifdef __CUDACC__
#define PIXFOLD_KERNEL(name, ...) static_assert(true)
#else
#define PIXFOLD_DECLARE_KERNEL(isa, name, ...)   \
    namespace isa {                              \
    ::pixfold::KernelFunction<__VA_ARGS__> name; \
    }
#ifdef PIXFOLD_HAS_X86
#define PIXFOLD_KERNEL(name, ...)                                                             \
    PIXFOLD_DECLARE_KERNEL(baseline, name, __VA_ARGS__)                                       \
    PIXFOLD_DECLARE_KERNEL(avx2, name, __VA_ARGS__)                                           \
    PIXFOLD_DECLARE_KERNEL(avx512, name, __VA_ARGS__)                                         \
    namespace cpu {                                                                           \
    inline constexpr Kernel<__VA_ARGS__> name{{&baseline::name, &avx2::name, &avx512::name}}; \
    }                                                                                         \
    static_assert(true)
#else
#define PIXFOLD_KERNEL(name, ...)                                 \
    PIXFOLD_DECLARE_KERNEL(baseline, name, __VA_ARGS__)           \
    namespace cpu {                                               \
    inline constexpr Kernel<__VA_ARGS__> name{{&baseline::name}}; \
    }                                                             \
    static_assert(true)
#endif
#endif
