#include "pixfold/rank.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <numeric>
#include <utility>
#include <vector>

#include "math/order.hpp"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace pixfold {
namespace {

constexpr int digit_bits = 11;  // 2,048 counters: 16 KiB of L1
constexpr std::int64_t n_buckets = std::int64_t{1} << digit_bits;
constexpr std::int64_t few = 1024;  // below, comparing is faster than counting

// Equal parts of n, the same for any caller.
std::int64_t part_start(std::int64_t n, int part, int parts) {
    return n / parts * part + std::min<std::int64_t>(n % parts, part);
}

// Where the bits of most - s lie, and which of them go into an item.
struct Digits {
    std::int64_t most;
    int width;   // bits of the largest difference
    int shift;   // a difference without its last `shift` bits has 32 or fewer: its high part
    bool exact;  // equal high parts mean equal values

    explicit Digits(const Survey& s) : most(s.most) {
        const VaryingBits varying(s);
        width = varying.end;
        shift = std::max(width - 32, varying.first);
        exact = shift == varying.first;
    }
    std::uint64_t high(double value) const { return below(most, order_of(value)) >> shift; }
    std::uint64_t low(double value) const { return below(most, order_of(value)) & ((std::uint64_t{1} << shift) - 1); }
    int high_bits() const { return width - shift; }
};

using Item = std::uint64_t;  // a key of 32 bits, and below it a position

Item pack(std::uint64_t key, std::int64_t position) { return key << 32 | static_cast<std::uint64_t>(position); }
std::uint64_t key_of(Item item) { return item >> 32; }
std::int64_t position_of(Item item) { return static_cast<std::int64_t>(item & 0xffffffffu); }

// Two buffers of n items, not initialised. Fresh pages of 4 KiB take longer than a pass of the sort: ask for huge ones.
class Buffers {
  public:
    explicit Buffers(std::int64_t n) : n_(n) {
        constexpr std::size_t huge = std::size_t{1} << 21;
        const std::size_t bytes = (2 * static_cast<std::size_t>(n) * sizeof(Item) + huge - 1) / huge * huge;
#ifdef __linux__
        if (static_cast<std::size_t>(n) * sizeof(Item) >= huge) {
            items_ = static_cast<Item*>(std::aligned_alloc(huge, bytes));
            if (items_ != nullptr) {
                (void)madvise(items_, bytes, MADV_HUGEPAGE);  // a wish; without it the pages are small
            }
        } else
#endif
        {
            items_ = static_cast<Item*>(std::malloc(bytes));
        }
        if (items_ == nullptr) {
            throw std::bad_alloc();
        }
    }
    ~Buffers() { std::free(items_); }
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;
    Item* items() { return items_; }
    Item* others() { return items_ + n_; }

  private:
    std::int64_t n_;
    Item* items_ = nullptr;
};

// One stable pass by the digit of `bits` bits at `shift`: every part counts its digits, the counts give each part its
// place in each bucket, and the parts move their items there.
void scatter(const Item* from, Item* to, std::int64_t n, int shift, int bits, std::int64_t* counts, int threads) {
    const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
        std::int64_t* count = counts + part * n_buckets;
        std::fill(count, count + n_buckets, 0);
        const std::int64_t end = part_start(n, part + 1, threads);
        for (std::int64_t i = part_start(n, part, threads); i < end; ++i) {
            ++count[(from[i] >> shift) & mask];
        }
    }
    std::int64_t total = 0;
    for (std::int64_t bucket = 0; bucket < n_buckets; ++bucket) {
        for (int part = 0; part < threads; ++part) {
            total += std::exchange(counts[part * n_buckets + bucket], total);
        }
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
        std::int64_t* start = counts + part * n_buckets;
        const std::int64_t end = part_start(n, part + 1, threads);
        for (std::int64_t i = part_start(n, part, threads); i < end; ++i) {
            to[start[(from[i] >> shift) & mask]++] = from[i];
        }
    }
}

// Sorts items whose positions increase by their keys of `key_bits` bits. The result lies in what is returned. `counts`
// has room for threads * n_buckets.
Item* radix_sort(Item* items, Item* other, std::int64_t n, int key_bits, std::int64_t* counts, int threads) {
    if (n < few) {
        std::sort(items, items + n);  // no two are equal
        return items;
    }
    const int passes = (key_bits + digit_bits - 1) / digit_bits;
    for (int pass = 0; pass < passes; ++pass) {
        const int first = key_bits * pass / passes;
        scatter(items, other, n, 32 + first, key_bits * (pass + 1) / passes - first, counts, threads);
        std::swap(items, other);
    }
    return items;
}

// Sorts the items of a run, whose high parts are equal, by the rest of their values; that becomes their key.
// `other` has room for n.
void sort_run(Item* items, Item* other, std::int64_t n, const double* values, const Digits& digits) {
    for (std::int64_t i = 0; i < n; ++i) {
        items[i] = pack(digits.low(values[position_of(items[i])]), position_of(items[i]));
    }
    if (std::is_sorted(items, items + n)) {
        return;  // ties, most often
    }
    std::int64_t counts[n_buckets];
    const Item* sorted = radix_sort(items, other, n, digits.shift, counts, 1);
    if (sorted != items) {
        std::copy(sorted, sorted + n, items);
    }
}

// Where the run of equal keys that begins at `first` ends.
std::int64_t end_of_run(const Item* items, std::int64_t first, std::int64_t end) {
    std::int64_t after = first + 1;
    while (after < end && key_of(items[after]) == key_of(items[first])) {
        ++after;
    }
    return after;
}

// Sorts the n items of `buffers` and calls group(at, first, end) for every group of equal values, from any thread: by
// decreasing value the group is [first, end), and at(i) is the position of the i-th.
template <class Group>
void for_sorted_groups(Buffers& buffers, std::int64_t n, const double* values, const Digits& digits, int threads,
                       Group&& group) {
    std::vector<std::int64_t> counts(static_cast<std::size_t>(threads * n_buckets));
    Item* items = radix_sort(buffers.items(), buffers.others(), n, digits.high_bits(), counts.data(), threads);
    Item* others = items == buffers.items() ? buffers.others() : buffers.items();
    const auto at = [items](std::int64_t i) { return position_of(items[i]); };
    // A part begins with the first run that begins in it. All are found before any run is sorted: that changes keys.
    std::vector<std::int64_t> starts(static_cast<std::size_t>(threads) + 1, n);
    for (int part = 0; part < threads; ++part) {
        std::int64_t i = part_start(n, part, threads);
        while (i > 0 && i < n && key_of(items[i]) == key_of(items[i - 1])) {
            ++i;
        }
        starts[static_cast<std::size_t>(part)] = i;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
        const std::int64_t end = starts[static_cast<std::size_t>(part) + 1];
        for (std::int64_t first = starts[static_cast<std::size_t>(part)]; first < end;) {
            std::int64_t after = end_of_run(items, first, end);
            if (digits.exact || after == first + 1) {
                group(at, first, after);
            } else {
                sort_run(items + first, others + first, after - first, values, digits);
                for (std::int64_t tied = first; tied < after;) {
                    const std::int64_t next = end_of_run(items, tied, after);
                    group(at, tied, next);
                    tied = next;
                }
            }
            first = after;
        }
    }
}

// The same for inputs whose positions need more than 32 bits: all positions, sorted by comparing.
template <class Group>
void for_groups_wide(const double* values, std::int64_t n, Group&& group) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return values[a] > values[b]; });
    const auto at = [&order](std::int64_t i) { return order[static_cast<std::size_t>(i)]; };
    for (std::int64_t first = 0; first < n;) {
        std::int64_t end = first + 1;
        while (end < n && values[at(end)] == values[at(first)]) {
            ++end;
        }
        group(at, first, end);
        first = end;
    }
}

// The values that may be among the first `cut`, 0 < cut: those with a leading digit up to the one where counting
// reaches `cut`. All values above are among them, and all values equal to any of them.
class Candidates {
  public:
    Candidates(const double* values, std::int64_t n, const Digits& digits, std::int64_t cut, int threads)
        : values_(values), n_(n), digits_(digits), shift_(std::max(0, digits.high_bits() - digit_bits)) {
        std::vector<std::int64_t> counts(static_cast<std::size_t>(threads * n_buckets));
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int part = 0; part < threads; ++part) {
            std::int64_t* count = counts.data() + part * n_buckets;
            const std::int64_t end = part_start(n, part + 1, threads);
            for (std::int64_t i = part_start(n, part, threads); i < end; ++i) {
                ++count[leading(values[i])];
            }
        }
        sizes_.resize(static_cast<std::size_t>(threads));
        for (; size_ < cut; ++n_digits_) {
            for (std::size_t part = 0; part < sizes_.size(); ++part) {
                const std::int64_t here = counts[part * n_buckets + n_digits_];
                sizes_[part] += here;
                size_ += here;
            }
        }
    }

    std::int64_t size() const { return size_; }

    void pack_into(Item* items) const {
        const int threads = static_cast<int>(sizes_.size());
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int part = 0; part < threads; ++part) {
            Item* next = std::accumulate(sizes_.begin(), sizes_.begin() + part, items);
            const std::int64_t end = part_start(n_, part + 1, threads);
            for (std::int64_t i = part_start(n_, part, threads); i < end; ++i) {
                if (leading(values_[i]) < n_digits_) {
                    *next++ = pack(digits_.high(values_[i]), i);
                }
            }
        }
    }

  private:
    std::uint64_t leading(double value) const { return digits_.high(value) >> shift_; }

    const double* values_;
    std::int64_t n_;
    Digits digits_;
    int shift_;
    std::uint64_t n_digits_ = 0;       // leading digits below are in
    std::vector<std::int64_t> sizes_;  // by part
    std::int64_t size_ = 0;
};

}  // namespace

Survey survey(const double* values, std::int64_t n, int threads) {
    std::vector<Survey> parts(static_cast<std::size_t>(threads));
    const std::int64_t any = n > 0 ? order_of(values[0]) : 0;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; ++part) {
        const std::int64_t first = part_start(n, part, threads);
        const std::int64_t end = part_start(n, part + 1, threads);
        Survey s{-1, any, any, 0};
        bool nan = false;
        for (std::int64_t i = first; i < end; ++i) {
            const std::int64_t order = order_of(values[i]);
            nan = nan || values[i] != values[i];
            s.least = std::min(s.least, order);
            s.most = std::max(s.most, order);
            s.varying |= static_cast<std::uint64_t>(order ^ any);
        }
        if (nan) {
            s.first_nan = std::find_if(values + first, values + end, [](double v) { return std::isnan(v); }) - values;
        }
        parts[static_cast<std::size_t>(part)] = s;
    }
    Survey all{-1, any, any, 0};
    for (const Survey& s : parts) {
        all.first_nan = all.first_nan < 0 ? s.first_nan : all.first_nan;
        all.least = std::min(all.least, s.least);
        all.most = std::max(all.most, s.most);
        all.varying |= s.varying;
    }
    return all;
}

void average_ranks(const double* values, std::int64_t n, const Survey& survey, double* ranks, int threads,
                   std::int64_t packed_up_to) {
    const auto share = [ranks](const auto& at, std::int64_t first, std::int64_t end) {
        const double rank = 0.5 * static_cast<double>(first + 1 + end);
        for (std::int64_t i = first; i < end; ++i) {
            ranks[at(i)] = rank;
        }
    };
    if (n > packed_up_to) {
        for_groups_wide(values, n, share);
        return;
    }
    const Digits digits(survey);
    Buffers buffers(n);
    Item* items = buffers.items();
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t i = 0; i < n; ++i) {
        items[i] = pack(digits.high(values[i]), i);
    }
    for_sorted_groups(buffers, n, values, digits, threads, share);
}

std::int64_t top_k(const double* values, std::int64_t n, const Survey& survey, std::int64_t k, std::int64_t* positions,
                   int threads, std::int64_t packed_up_to) {
    if (k == 0 || survey.least == survey.most) {
        return 0;
    }
    const std::int64_t cut = std::min(k, n);
    std::int64_t selected = cut;
    const auto select = [&](const auto& at, std::int64_t first, std::int64_t end) {
        if (end <= cut) {
            for (std::int64_t i = first; i < end; ++i) {
                positions[i] = at(i);
            }
        } else if (first < cut) {
            selected = first;  // the one group that straddles the cut
        }
    };
    if (n > packed_up_to) {
        for_groups_wide(values, n, select);
        return selected;
    }
    const Digits digits(survey);
    Candidates candidates(values, n, digits, cut, threads);
    Buffers buffers(candidates.size());
    candidates.pack_into(buffers.items());
    for_sorted_groups(buffers, candidates.size(), values, digits, threads, select);
    return selected;
}

}  // namespace pixfold
