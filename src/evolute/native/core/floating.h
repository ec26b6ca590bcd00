// How the processor computes with floats while a job is moved.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace evolute {

// Rounds to nearest, flushes no denormal number to zero and traps nothing for as long as it lives,
// whatever the caller's thread has chosen, on x86 and AArch64; helpers begin with what the thread
// that makes them has.
class AsIeee {
   public:
#if defined(__SSE2__)
    AsIeee() : before_(_mm_getcsr()) {
        if (chosen_otherwise()) _mm_setcsr(usual);
    }
    ~AsIeee() {
        if (chosen_otherwise()) _mm_setcsr(before_);
    }
#elif defined(__aarch64__)
    AsIeee() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        if (chosen_otherwise()) asm volatile("msr fpcr, %0" ::"r"(usual) : "memory");
    }
    ~AsIeee() {
        if (chosen_otherwise()) asm volatile("msr fpcr, %0" ::"r"(before_) : "memory");
    }
#else
    AsIeee() {}  // other machines are left as they are
#endif
    AsIeee(const AsIeee&) = delete;

   private:
#if defined(__SSE2__)
    static constexpr std::uint32_t usual = 0x1f80, seen = 0x3f;  // what has happened, not a choice
    bool chosen_otherwise() const { return (before_ & ~seen) != usual; }
    std::uint32_t before_;
#elif defined(__aarch64__)
    static constexpr std::uint64_t usual = 0;
    bool chosen_otherwise() const { return before_ != usual; }
    std::uint64_t before_;
#endif
};

}  // namespace evolute
