// Calls functions of a library for a process of another machine: memory and calls over two pipes.
//
// Each request on the standard input is a letter and numbers of eight bytes; the answer goes to the
// standard output.
//   A size               memory, zero at first -> its address
//   W address size data  writes it
//   R address size       -> data
//   C size name x n a1…  calls a function by its name with n ≤ 16 whole numbers or addresses and at
//                        most one double -> what it returns
// Conventions of calling on 64-bit Linux let a function ignore arguments that it does not take, and
// give a double a register of its own, wherever it stands among the others.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

using Word = std::int64_t;
using Function = Word (*)(double, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word,
                          Word, Word, Word, Word, Word);

void take(void* to, std::size_t size) {
    if (std::fread(to, 1, size, stdin) != size) std::exit(0);
}

template <class T>
T next() {
    T value;
    take(&value, sizeof value);
    return value;
}

void answer(const void* from, std::size_t size) {
    std::fwrite(from, 1, size, stdout);
    std::fflush(stdout);
}

void answer(Word value) { answer(&value, sizeof value); }

void* address() { return reinterpret_cast<void*>(next<Word>()); }

void call(void* library) {
    std::string name(static_cast<std::size_t>(next<Word>()), ' ');
    take(&name[0], name.size());
    const double x = next<double>();
    Word a[16] = {};
    const Word count = next<Word>();
    for (Word i = 0; i < count; ++i) a[i] = next<Word>();
    void* found = dlsym(library, name.c_str());
    if (found == nullptr) {
        std::fprintf(stderr, "no function %s\n", name.c_str());
        std::exit(2);
    }
    answer(reinterpret_cast<Function>(found)(x, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8],
                                             a[9], a[10], a[11], a[12], a[13], a[14], a[15]));
}

}  // namespace

int main(int count, char** arguments) {
    void* library = count == 2 ? dlopen(arguments[1], RTLD_NOW) : nullptr;
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", count == 2 ? dlerror() : "one library is wanted");
        return 2;
    }
    for (;;) {
        switch (next<char>()) {
            case 'A': answer(reinterpret_cast<Word>(std::calloc(1, next<Word>()))); break;
            case 'W': {
                void* to = address();
                take(to, static_cast<std::size_t>(next<Word>()));
                break;
            }
            case 'R': {
                const void* from = address();
                answer(from, static_cast<std::size_t>(next<Word>()));
                break;
            }
            case 'C': call(library); break;
            default: return 2;
        }
    }
}
