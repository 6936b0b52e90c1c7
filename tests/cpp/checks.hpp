// Checks that print where they failed and both values, and a runner whose result is main's.
#pragma once

#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <sstream>
#include <string>
#include <utility>

namespace pixfold::tests {

inline long failures = 0;
inline std::string context;  // what the checks are about now, printed with a failure

inline void fail(const char* file, int line, const std::string& what) {
    // The first ones tell what is wrong; a broken kernel would print millions.
    if (++failures <= 25) {
        std::fprintf(stderr, "%s:%d: %s%s%s\n", file, line, what.c_str(), context.empty() ? "" : " -- ",
                     context.c_str());
    }
}

template <class T>
std::string text(const T& value) {
    std::ostringstream out;
    out.precision(17);
    out << value;
    return out.str();
}

template <class A, class B>
void check_equal(const char* file, int line, const char* what, const A& actual, const B& expected) {
    if (!(actual == expected)) {
        fail(file, line, std::string(what) + " is " + text(actual) + ", expected " + text(expected));
    }
}

// Also true of two NaN and of two equal infinities.
inline void check_near(const char* file, int line, const char* what, double actual, double expected, double bound) {
    const bool same = actual == expected || (std::isnan(actual) && std::isnan(expected));
    if (!same && !(std::fabs(actual - expected) <= bound)) {
        fail(file, line,
             std::string(what) + " is " + text(actual) + ", expected " + text(expected) + " within " + text(bound));
    }
}

inline int run(std::initializer_list<std::pair<const char*, std::function<void()>>> tests) {
    for (const auto& [name, test] : tests) {
        const auto start = std::chrono::steady_clock::now();
        const long before = failures;
        context.clear();
        test();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        std::printf("%-6s %s (%.2f s)\n", failures == before ? "ok" : "FAILED", name, seconds.count());
        std::fflush(stdout);
    }
    if (failures > 0) {
        std::fprintf(stderr, "%ld checks failed\n", failures);
    }
    return failures > 0 ? 1 : 0;
}

}  // namespace pixfold::tests

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            ::pixfold::tests::fail(__FILE__, __LINE__, #condition " is false"); \
        }                                                                       \
    } while (false)
#define CHECK_EQUAL(actual, expected) ::pixfold::tests::check_equal(__FILE__, __LINE__, #actual, actual, expected)
#define CHECK_NEAR(actual, expected, bound) \
    ::pixfold::tests::check_near(__FILE__, __LINE__, #actual, actual, expected, bound)
