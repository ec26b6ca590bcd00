// A function for the widest vectors that the machine has: body_any(work) calls body<16>, <8> or <4>.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define EVOLUTE_DISPATCH(body, Work)                                                               \
    __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))) void body##_16(         \
        const Work& work) {                                                                        \
        body<16>(work);                                                                            \
    }                                                                                              \
    __attribute__((target("avx2,fma"))) void body##_8(const Work& work) { body<8>(work); }         \
    void body##_any(const Work& work) {                                                            \
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&             \
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {            \
            return body##_16(work);                                                                \
        }                                                                                          \
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {                     \
            return body##_8(work);                                                                 \
        }                                                                                          \
        body<4>(work);                                                                             \
    }
#else
#define EVOLUTE_DISPATCH(body, Work) \
    void body##_any(const Work& work) { body<4>(work); }
#endif
