#include <map>
#include <mutex>
#include <utility>

#include "card.hpp"
#include "overlap.hpp"

namespace pixfold::cuda {
namespace {

void check(cudaError_t status) {
    if (status != cudaSuccess) {
        cudaGetLastError();  // so that the next call does not report it again
        throw Error(cudaGetErrorString(status));
    }
}

int current_device() {
    int device = 0;
    check(cudaGetDevice(&device));
    return device;
}

int attribute_of(cudaDeviceAttr attribute, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, attribute, device));
    return value;
}

// Of a kernel on a device: what it was allowed, and the answer to the last question.
struct Asked {
    std::size_t allowed = std::size_t{48} << 10;
    unsigned threads = 0;
    std::size_t shared = 0;
    std::int64_t blocks = 0;
};

std::mutex mutex;

}  // namespace

Card card() {
    static std::map<int, Card> cards;
    const int device = current_device();
    const std::lock_guard lock(mutex);
    const auto found = cards.find(device);
    if (found != cards.end()) {
        return found->second;
    }
    const Card made{attribute_of(cudaDevAttrMultiProcessorCount, device),
                    attribute_of(cudaDevAttrMaxSharedMemoryPerBlockOptin, device)};
    return cards.emplace(device, made).first->second;
}

bool detail::knows_waiting(const void* kernel) {
    static std::map<std::pair<const void*, int>, bool> known;
    const int device = current_device();
    const std::lock_guard lock(mutex);
    const auto found = known.find({kernel, device});
    if (found != known.end()) {
        return found->second;
    }
    cudaFuncAttributes of{};
    check(cudaFuncGetAttributes(&of, kernel));
    return known.emplace(std::pair{kernel, device}, of.ptxVersion >= 90).first->second;
}

std::int64_t detail::blocks_at_once(const void* kernel, unsigned threads, std::size_t shared) {
    static std::map<std::pair<const void*, int>, Asked> asked;
    const int multiprocessors = card().multiprocessors;
    const int device = current_device();
    const std::lock_guard lock(mutex);
    Asked& last = asked[{kernel, device}];
    if (shared > last.allowed) {
        check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
        last.allowed = shared;
    }
    if (last.threads != threads || last.shared != shared) {
        int blocks = 0;
        check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, static_cast<int>(threads), shared));
        last.threads = threads;
        last.shared = shared;
        last.blocks = std::int64_t{blocks} * multiprocessors;
    }
    return last.blocks;
}

}  // namespace pixfold::cuda
