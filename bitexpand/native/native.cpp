// Compiled by hatch_build.py; called by bitexpand/native/__init__.py, which says what the arguments are.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <utility>

#include "threads.h"

#define INLINED inline __attribute__((always_inline))  // members
#define INLINE static INLINED

namespace {

// The shipped shape of `pyramid`; bitexpand/native/__init__.py asks for it, bitexpand/models/pyramid.py has the others.
constexpr int LEVELS = 6, FITS = 3, REFITS = 2, LOOKS = 2 + REFITS;
constexpr int NEAREST_FIT = 1, NEAREST_REFIT = 2;  // how far the first ones reach, in pixels; each other one pixel farther
constexpr int SEEN = 12 * (1 + FITS) + 4;  // what the network sees of a cell
constexpr int CHANNELS = 32;  // of the finest level
constexpr int TAPS = 32;  // of 3x3 with three outputs, which are 27, and some room
constexpr int FAR_CELL = 4;  // pixels of a plate that become one of a plate seen from afar
constexpr int GROUP = 48, BLOCK = 8;  // outputs and cells of the head that are computed at once
constexpr float FINE_RANGE = 4, BAND_RANGE = 8, FIT_GAIN = 2, LOG_SCALE_LOW = -5, LOG_SCALE_HIGH = 1;

struct Fit {
    float centre, bend;
};

// What the network sees, or, with packed weights, what its first layer makes of that in bfloat16.
struct Look {
    const float *plate, *mean, *band;
    void *to;
    const uint32_t *weights;
    const float *bias;
    int32_t height, width, narrow;
    float octaves;
    Fit fits[FITS];
};

// What the head tells is given, or it is computed here from `cells` in bfloat16, with packed weights: of the outputs of its
// 3x3 in whole groups, and of what a cell says to those around it for the other ones.
struct Believe {
    const float *plate, *smooth[LEVELS], *told, *beliefs;
    const uint16_t *cells;
    const uint32_t *told_weights, *said_weights, *belief_weights;
    const float *told_bias, *belief_bias;
    float *to;
    int32_t height, width, told_from, kept_from, kept;
    float half_width;
    Fit fits[FITS];
};

// Two convolutions beside an identity. `x` and `to` are bfloat16, or float32 if `wide`. `coarser` is bfloat16 and half as
// large, or there is none; it is added to a narrow `x` first.
struct ResidualBlock {
    const void *x;
    const uint16_t *coarser;
    void *to;
    const uint32_t *first, *second;
    const float *first_bias, *second_bias;
    int32_t height, width, channels, wide;
};

// Half of `x`, with three bands beside its channels, and a convolution of those. `x` and `to` are bfloat16, or float32 if
// wide; height, width and channels are those of the result.
struct Down {
    const void *x;
    const float *band;
    void *to;
    const uint32_t *weights;
    const float *bias;
    int32_t height, width, finer, channels, from_wide, to_wide;
};

struct LookAgain {
    const float *plate, *beliefs;
    float *to;
    int32_t height, width, kept_from, kept;
    float half_width;
    Fit fits[REFITS];
};

// `x` and its weights are bfloat16 if `narrow`, else float32.
struct Correct {
    const void *x, *weights;
    const float *bias;
    float *to;
    int32_t height, width, channels, narrow;
};

// The tile begins `top` and `left` pixels inside of the view's frame. Strides are of channels, pitches of rows, in samples.
struct Blend {
    const float *plate;
    float *estimate;
    const float *share, *moves;
    int64_t plate_stride, plate_pitch, estimate_stride, estimate_pitch;
    int32_t channels, width, rows, columns, top, left;
    float end;
};

struct Halve {
    const float *from;
    float *to;
    int32_t width;
};

struct Band {
    const float *mean, *coarser;
    float *to;
    int32_t height, width;
};

struct PartChannels {
    const uint16_t *codes;
    float *to;
    int32_t height, width, channels;
};

// The estimate's samples lie `pitch` apart from row to row, `step` within a row, `stride` from channel to channel.
struct Clamp {
    const uint16_t *codes;
    const float *estimate, *lower, *upper;
    float *to;
    int32_t *outside, *not_finite;
    int64_t pitch, step, stride;
    int32_t width, channels;
};

// `largest` and `sums` are of each row.
struct Measure {
    const uint16_t *codes;
    const float *values;
    float *largest;
    double *sums;
    int32_t width, channels;
    float middle, peak;
};

struct Extremes {
    const float *plate;
    float *largest, *smallest;
    int32_t height, width;
};

struct Stepless {
    const float *largest, *smallest;
    float *to;
    int32_t height, width;
};

struct Convert {
    const void *from;
    void *to;
    int32_t width;
};

// Memory for a few rows.
class Buffer {
  public:
    explicit Buffer(size_t count) : values(new (std::nothrow) float[count]()) {}
    bool is_there() const { return values != nullptr; }
    float *take(size_t count) {
        used += count;
        return values.get() + used - count;
    }
    uint16_t *take_narrow(size_t count) { return reinterpret_cast<uint16_t *>(take((count + 1) / 2)); }

  private:
    std::unique_ptr<float[]> values;
    size_t used = 0;
};

INLINE float larger_of(float a, float b) { return a > b ? a : b; }

namespace plain {
#include "kernels.h"
}

// The same, compiled for newer processors.
#if defined(__x86_64__)
#define SEVERAL
#define TEXT(words) #words
#ifdef __clang__
#define BEGIN_FOR(set) _Pragma(TEXT(clang attribute push(__attribute__((target(set))), apply_to = function)))
#define END_FOR _Pragma("clang attribute pop")
#else
#define BEGIN_FOR(set) _Pragma("GCC push_options") _Pragma(TEXT(GCC target(set ",prefer-vector-width=512")))
#define END_FOR _Pragma("GCC pop_options")
#endif

#define HAS_HALF
BEGIN_FOR("avx2,fma,f16c")
namespace avx2 {
#include "kernels.h"
}
END_FOR

BEGIN_FOR("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
namespace avx512 {
#include "kernels.h"
}
END_FOR

#define HAS_BFLOAT16
BEGIN_FOR("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace avx512_bf16 {
#include "convolutions.h"
#include "kernels.h"
}
END_FOR
#endif

#ifdef SEVERAL
#define STEPS(step) {plain::step, avx2::step, avx512::step, avx512_bf16::step}
#else
#define STEPS(step) {plain::step}
#endif

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default"))) int

// How many of the instruction sets this processor has; each has those before it.
EXPORT bitexpand_instruction_sets() {
#ifdef SEVERAL
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;  // F16C is older than AVX2
    bool has_avx512 = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
    return !has_avx512 ? 2 : __builtin_cpu_supports("avx512bf16") ? 4 : 3;
#else
    return 1;
#endif
}

// The steps, on rows from `top` on, before `bottom`. They return 0, or 1 where memory ran out; without a job, how many
// bytes one takes.
#define STEP(name, Job, step)                                            \
    EXPORT name(const Job *job, int top, int bottom, int instructions) { \
        bool (*const steps[])(const Job &, int, int) = STEPS(step);      \
        if (!job) return sizeof(Job);                                    \
        return steps[instructions](*job, top, bottom) ? 0 : 1;           \
    }
STEP(bitexpand_look, Look, look)
STEP(bitexpand_believe, Believe, believe)
STEP(bitexpand_look_again, LookAgain, look_again)
STEP(bitexpand_correct, Correct, correct)
STEP(bitexpand_blend, Blend, blend)
STEP(bitexpand_halve, Halve, halve)
STEP(bitexpand_band, Band, band)
STEP(bitexpand_part_channels, PartChannels, part_channels)
STEP(bitexpand_clamp, Clamp, clamp)
STEP(bitexpand_measure, Measure, measure)
STEP(bitexpand_extremes, Extremes, extremes)
STEP(bitexpand_stepless, Stepless, stepless)
STEP(bitexpand_to_half, Convert, to_half)
STEP(bitexpand_from_half, Convert, from_half)
#ifdef SEVERAL
#undef STEPS
#define STEPS(step) {nullptr, nullptr, nullptr, avx512_bf16::step}
STEP(bitexpand_residual_block, ResidualBlock, residual_block)
STEP(bitexpand_down, Down, down)
#else
EXPORT bitexpand_residual_block(const ResidualBlock *job, int, int, int) { return job ? 1 : sizeof(ResidualBlock); }
EXPORT bitexpand_down(const Down *job, int, int, int) { return job ? 1 : sizeof(Down); }
#endif

// Shares a step's rows among threads, at least one; see threads.h.
EXPORT bitexpand_run(Step step, const void *job, int top, int bottom, int instructions, int threads) {
    static Threads &shared = *new Threads;  // its threads wait for work until the process ends
    return shared.run(step, job, top, bottom, instructions, threads);
}
