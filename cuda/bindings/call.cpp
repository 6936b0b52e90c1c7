#include "call.hpp"

namespace pixfold::cuda::bindings {

DType dtype_of(const std::string& name) {
    constexpr std::pair<const char*, DType> names[] = {
        {"float32", DType::f32}, {"float64", DType::f64}, {"float16", DType::f16}, {"bfloat16", DType::bf16},
        {"bool", DType::b8},     {"int8", DType::i8},     {"uint8", DType::u8},    {"int16", DType::i16},
        {"uint16", DType::u16},  {"int32", DType::i32},   {"uint32", DType::u32},  {"int64", DType::i64},
        {"uint64", DType::u64}};
    for (const auto& [known, dtype] : names) {
        if (name == known) {
            return dtype;
        }
    }
    throw py::value_error("dtype must be a real number's, got " + name);
}

}  // namespace pixfold::cuda::bindings
