// The steps of `pyramid` at full size, in one pass over each row. Included by native.cpp once for each instruction set,
// inside a namespace. bitexpand/models/pyramid.py says what they compute, and how with PyTorch alone.

constexpr int LANES = 16;
typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef float Unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE Vector load(const float *from) { return *reinterpret_cast<const Unaligned *>(from); }
INLINE void store(float *to, Vector value) { *reinterpret_cast<Unaligned *>(to) = value; }
INLINE Vector all(float value) { return value - Vector{}; }
INLINE Vector smaller(Vector a, Vector b) { return a < b ? a : b; }
INLINE Vector larger(Vector a, Vector b) { return a > b ? a : b; }
INLINE Vector limited(Vector value, float limit) { return larger(smaller(value, all(limit)), all(-limit)); }
INLINE Vector magnitude(Vector value) { return (Vector)((Words)value & 0x7fffffffu); }

// The Taylor series to the seventh power, of what is left of whole powers of two: right to 1e-7.
INLINE Vector exponential(Vector x) {
    x = larger(smaller(x, all(88)), all(-87));
    const float round = 12582912;  // 1.5 * 2^23: too large for a fraction
    Vector whole = (x * 1.44269504f + round) - round;
    Vector r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2, in two parts
    Vector sum = all(1.0f / 5040);
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    return (Vector)((Integers)sum + (__builtin_convertvector(whole, Integers) << 23));
}

// Of normal positive numbers: the exponent, and 2 atanh((m - 1) / (m + 1)) of the mantissa to the ninth power.
INLINE Vector logarithm(Vector x) {
    Integers bits = (Integers)x;
    Integers exponent = (bits - 0x3f3504f3) >> 23;  // mantissas from sqrt(1/2) to sqrt(2)
    Vector mantissa = (Vector)(bits - (exponent << 23));
    Vector s = (mantissa - 1) / (mantissa + 1), square = s * s;
    Vector sum = square * (1.0f / 9) + 1.0f / 7;
    sum = sum * square + 1.0f / 5;
    sum = sum * square + 1.0f / 3;
    sum = sum * square + 1.0f;
    return __builtin_convertvector(exponent, Vector) * 0.69314718f + 2 * s * sum;
}

INLINE Vector soft_limit(Vector difference, float limit) {
    return difference / (magnitude(difference) * (1 / limit) + 1);
}

// belief.posterior_mean
INLINE Vector posterior_mean(Vector mean, Vector scale, float half_width) {
    const float far_off = 10;  // belief.FAR
    Vector distance = smaller(magnitude(mean), half_width + far_off * scale), each = 1 / scale;
    Vector near = exponential((half_width - distance) * each);
    Vector far = exponential((-half_width - distance) * each);
    Vector both = (1 + near) * (1 + far), difference = near - far;
    Vector area = logarithm(1 + difference / (1 + far));
    Vector moment = half_width * (near + far + 2 * near * far) / both - scale * area;
    Vector result = moment * both / difference;
    Vector signed_result = (Vector)((Words)result ^ ((Words)mean & 0x80000000u));
    return mean == 0 ? Vector{} : signed_result;
}

// A channel of a plate, and what is added to its rows from `added_from` on, if anything.
struct Plane {
    const float *values;
    int height, width;
    const float *added = nullptr;
    int added_from = 0;
};

template <int count>
constexpr size_t lines_of(int width) { return (size_t)2 * count * (width + 2 * LANES); }

// A row of local quadratic fits: weights of the form centre + bend (x^2 + y^2), the border repeated. They reach `nearest`
// pixels, one more, and so on. `lines` has room for two rows of each, and LANES before and after them; the fits are written
// `stride` apart.
template <int nearest, int count, bool is_sum>
INLINE void fit_row(const Plane &plane, int y, const Fit (&fits)[count], float *lines, float *to, size_t stride) {
    constexpr int farthest = nearest + count - 1;
    const int width = plane.width, length = width + 2 * LANES;
    const float *rows[2 * farthest + 1], *added[2 * farthest + 1];
    for (int step = -farthest; step <= farthest; step++) {
        const int at = y + step < 0 ? 0 : y + step >= plane.height ? plane.height - 1 : y + step;
        rows[farthest + step] = plane.values + (size_t)at * width;
        if (is_sum) added[farthest + step] = plane.added + (size_t)(at - plane.added_from) * width;
    }
    auto value = [&](int step, int x) {
        const Vector own = load(rows[farthest + step] + x);
        return is_sum ? own + load(added[farthest + step] + x) : own;
    };
    lines += LANES;
    for (int x = 0; x < width; x += LANES) {
        Vector sum = value(0, x), moment = {};
        for (int step = 1; step <= farthest; step++) {
            const Vector pair = value(-step, x) + value(step, x);
            sum += pair;
            moment += pair * (float)(step * step);
            const int k = step - nearest;
            if (k < 0) continue;
            store(lines + 2 * k * length + x, sum * fits[k].centre + moment * fits[k].bend);
            store(lines + (2 * k + 1) * length + x, sum * fits[k].bend);
        }
    }
    for (int line = 0; line < 2 * count; line++)
        for (int step = 1; step <= farthest; step++) {
            float *row = lines + line * length;
            row[-step] = row[0], row[width - 1 + step] = row[width - 1];
        }
    for (int x = 0; x < width; x += LANES)
        for (int k = 0; k < count; k++) {
            const float *columns = lines + 2 * k * length + x, *bends = columns + length;
            Vector total = load(columns);
            for (int step = 1; step <= nearest + k; step++) {
                total += load(columns - step) + load(columns + step);
                total += (load(bends - step) + load(bends + step)) * (float)(step * step);
            }
            store(to + k * stride + x, total);
        }
}

// Bilinear interpolation along a row, to `factor` times its length; `from` has a sample more at either end.
template <int factor, int... lane>
INLINE void widen_by(const float *from, int width, float *to, std::integer_sequence<int, lane...>) {
    const Vector share = {(lane % factor + 0.5f) / factor + (lane % factor < factor / 2 ? 0.5f : -0.5f)...};
    for (int x = 0; x < width; x += LANES) {
        Vector around = load(from + x / factor);
        Vector left = __builtin_shufflevector(around, around, (lane / factor + (lane % factor >= factor / 2))...);
        Vector right = __builtin_shufflevector(around, around, (lane / factor + (lane % factor >= factor / 2) + 1)...);
        store(to + x, left + (right - left) * share);
    }
}

INLINE void widen(const float *from, int factor, int width, float *to) {
    const auto lanes = std::make_integer_sequence<int, LANES>();
    if (factor == 2) return widen_by<2>(from, width, to, lanes);
    if (factor == 4) return widen_by<4>(from, width, to, lanes);
    if (factor == 8) return widen_by<8>(from, width, to, lanes);
    if (factor == 16) return widen_by<16>(from, width, to, lanes);
    Vector along = {};
    for (int lane = 0; lane < LANES; lane++) along[lane] = (lane + 0.5f) / factor;
    for (int x = 0; x < width; x += LANES) {
        int phase = x % factor, past = phase >= factor / 2;
        float left = from[x / factor + past], right = from[x / factor + past + 1];
        store(to + x, left + (right - left) * (along + (phase / (float)factor + (past ? -0.5f : 0.5f))));
    }
}

// A row of the plate out of a smooth estimate that has a sample for `factor` x `factor` pixels.
INLINE void smooth_row(const float *level, int y, int factor, int height, int width, float *line, float *to) {
    const int rows = height / factor, columns = width / factor;
    float place = larger_of((y + 0.5f) / factor - 0.5f, 0);
    int above = (int)place, below = above + 1 < rows ? above + 1 : above;
    float share = place - above;
    const float *first = level + (size_t)above * columns, *second = level + (size_t)below * columns;
    for (int x = 0; x < columns; x++) line[x + 1] = first[x] + (second[x] - first[x]) * share;
    line[0] = line[1], line[columns + 1] = line[columns];
    widen(line, factor, width, to);
}

// Every second sample of a row, from the first or the second on.
INLINE void part(const float *row, Vector &even, Vector &odd) {
    Vector first = load(row), second = load(row + LANES);
    even = __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    odd = __builtin_shufflevector(first, second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}

INLINE Words to_bfloat16(Vector value) {  // to the nearest, ties to even
    Words bits = (Words)value;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

typedef double Pairs __attribute__((vector_size(4 * LANES)));  // of samples

// Pair k of vector i to pair i of vector k.
INLINE void transpose(Pairs (&v)[8]) {
    for (int i = 0; i < 8; i += 2) {
        const Pairs a = v[i], b = v[i + 1];
        v[i] = __builtin_shufflevector(a, b, 0, 8, 2, 10, 4, 12, 6, 14);
        v[i + 1] = __builtin_shufflevector(a, b, 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += i % 4 == 1 ? 3 : 1) {
        const Pairs a = v[i], b = v[i + 2];
        v[i] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
        v[i + 2] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    for (int i = 0; i < 4; i++) {
        const Pairs a = v[i], b = v[i + 4];
        v[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
        v[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

// The planar rows of all channels to cells whose channels lie side by side: LANES of them at a time, LANES words of each.
INLINE void write_cells(const float *planar, int channels, int cells, void *to, bool narrow) {
    uint32_t *words = static_cast<uint32_t *>(to);
    const int words_a_cell = narrow ? channels / 2 : channels;
    for (int cell = 0; cell < cells; cell += LANES)
        for (int first = 0; first < words_a_cell; first += LANES) {
            const int count = words_a_cell - first < LANES ? words_a_cell - first : LANES;
            Pairs sides[2][8] = {};  // the first eight cells, and the others
            for (int pair = 0; 2 * pair < count; pair++) {
                Words column[2];
                for (int k = 0; k < 2; k++) {
                    const int word = first + 2 * pair + k;
                    if (narrow) {
                        const float *low = planar + (size_t)(2 * word) * cells + cell;
                        column[k] = to_bfloat16(load(low)) | to_bfloat16(load(low + cells)) << 16;
                    } else
                        column[k] = (Words)load(planar + (size_t)word * cells + cell);
                }
                sides[0][pair] = (Pairs)__builtin_shufflevector(column[0], column[1], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                                                6, 22, 7, 23);
                sides[1][pair] = (Pairs)__builtin_shufflevector(column[0], column[1], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                                29, 14, 30, 15, 31);
            }
            for (int side = 0; side < 2; side++) {
                transpose(sides[side]);
                for (int c = 0; c < 8; c++) {
                    uint32_t *place = words + (size_t)(cell + 8 * side + c) * words_a_cell + first;
                    if (count == LANES)
                        store(reinterpret_cast<float *>(place), (Vector)sides[side][c]);
                    else
                        memcpy(place, &sides[side][c], count * sizeof *place);
                }
            }
        }
}

// A row of cells of what the network sees. The buffers have room for all channels, and for a row of pixels of each fit.
INLINE void look_at(const Look &job, int row, float *planar, float *fitted, float *lines, void *to) {
    const int width = job.width, cells = width / 2;
    const size_t pixels = (size_t)job.height * width, at = (size_t)row * cells;
    for (int channel = 0; channel < 3; channel++) {
        const Plane plane = {job.plate + channel * pixels, job.height, width};
        const float *mean = job.mean + channel * (pixels / 4) + at, *band = job.band + channel * (pixels / 4) + at;
        for (int x = 0; x < cells; x += LANES) store(planar + (12 + channel) * cells + x, load(band + x));
        for (int y = 2 * row; y < 2 * row + 2; y++) {
            const float *own = plane.values + (size_t)y * width;
            float *to = planar + (4 * channel + 2 * (y % 2)) * cells;
            Vector even, odd;
            for (int x = 0; x < cells; x += LANES) {
                part(own + 2 * x, even, odd);
                store(to + x, soft_limit(even - load(mean + x), FINE_RANGE));
                store(to + cells + x, soft_limit(odd - load(mean + x), FINE_RANGE));
            }
            to += 15 * cells;
            fit_row<NEAREST_FIT, FITS, false>(plane, y, job.fits, lines, fitted, width);
            for (int k = 0; k < FITS; k++, to += 12 * cells) {
                for (int x = 0; x < cells; x += LANES) {
                    Vector own_even, own_odd;
                    part(own + 2 * x, own_even, own_odd);
                    part(fitted + k * width + 2 * x, even, odd);
                    store(to + x, FIT_GAIN * soft_limit(even - own_even, FINE_RANGE));
                    store(to + cells + x, FIT_GAIN * soft_limit(odd - own_odd, FINE_RANGE));
                }
            }
        }
    }
    for (int x = 0; x < cells; x += LANES) store(planar + (SEEN - 1) * cells + x, all(job.octaves));
    write_cells(planar, SEEN, cells, to, job.narrow);
}

static bool look(const Look &job, int top, int bottom) {
    const int width = job.width, cells = width / 2;
#ifdef HAS_BFLOAT16
    typedef Around<SEEN, CHANNELS, 2> Layer;
    const size_t layer_size = (Layer::size_of(cells) + Rows<SEEN, 1>::size_of(cells)) / 2 + 1;
#else
    const size_t layer_size = 0;
#endif
    Buffer buffer((size_t)SEEN * cells + FITS * width + lines_of<FITS>(width) + layer_size);
    if (!buffer.is_there()) return false;
    float *planar = buffer.take((size_t)SEEN * cells), *fitted = buffer.take((size_t)FITS * width);
    float *lines = buffer.take(lines_of<FITS>(width));
    if (!job.weights) {
        const size_t row_size = (size_t)SEEN * cells * (job.narrow ? 2 : 4);
        for (int row = top / 2; row < bottom / 2; row++)
            look_at(job, row, planar, fitted, lines, static_cast<char *>(job.to) + row * row_size);
        return true;
    }
#ifdef HAS_BFLOAT16
    Layer around(buffer, cells);
    const Rows<SEEN, 1> seen(buffer, cells);
    auto see = [&](int row) {
        if (row < 0 || row >= job.height / 2) return around.clear(row);
        look_at(job, row, planar, fitted, lines, seen.row(row));
        around.take(row, seen.row(row));
    };
    see(top / 2 - 1);
    see(top / 2);
    for (int row = top / 2; row < bottom / 2; row++) {
        see(row + 1);
        uint16_t *to = static_cast<uint16_t *>(job.to) + (size_t)row * cells * CHANNELS;
        around.convolve(row, job.weights, job.bias, [&](int cell, const float *sums) {
            for (int i = 0; i < CHANNELS; i += LANES)
                narrowed(larger(load(sums + i), Vector{}), to + cell * CHANNELS + i);
        });
    }
    return true;
#else
    return false;
#endif
}

// What the head tells of cells, a multiple of eight, `each` numbers of each, to two planar rows of pixels.
INLINE void spread(const float *told, int channels, int each, int cells, float *rows, size_t stride) {
    const int columns = 2 * channels, whole = each / LANES * 8;  // pairs of pixels; those in whole vectors
    for (int cell = 0; cell < cells; cell += 8, told += 8 * each) {
        for (int column = 0; column < columns && column < whole; column += 8) {
            Pairs pairs[8];
            for (int c = 0; c < 8; c++) pairs[c] = (Pairs)load(told + c * each + 2 * column);
            transpose(pairs);
            for (int k = 0; k < 8 && column + k < columns; k++)
                store(rows + (column + k) * stride + 2 * cell, (Vector)pairs[k]);
        }
        for (int column = whole; column < columns; column++)
            for (int c = 0; c < 8; c++)
                memcpy(rows + column * stride + 2 * (cell + c), told + c * each + 2 * column, 2 * sizeof(float));
    }
}

#ifdef HAS_BFLOAT16
// What the head tells of rows of cells, one after the other: to two planar rows of pixels each. Its layer of 3x3 takes
// each product by itself: tiles would round what decides between the candidates by half as much again. Outputs beyond a
// whole group are what each cell says to the nine around it, as in `correct`.
template <int told, int beliefs>
class Head {
  public:
    Head(const Believe &job, Buffer &buffer, int row) : job(job), cells(job.width / 2), around(buffer, cells) {
        block = buffer.take(BLOCK_SIZE);
        sums = buffer.take(3 * sums_length(cells));
        see(row - 1);
        see(row);
    }
    static size_t size_of(int cells) { return Rows<CHANNELS, 3>::size_of(cells) / 2 + 1 + BLOCK_SIZE + 3 * sums_length(cells); }
    void tell(int row, float *told_rows, float *belief_rows) {
        see(row + 1);
        for (int cell = 0; cell < cells; cell += BLOCK) {
            const uint16_t *rows[3];
            for (int y = 0; y < 3; y++) rows[y] = around.row(row + y - 1) + cell * CHANNELS;
            convolve_cells<CHANNELS, VECTORS, BLOCK, 9>(rows, job.told_weights, job.told_bias, TOLD / GROUP, block);
            spread(block, TOLD / 4, TOLD, BLOCK, told_rows + 2 * cell, job.width);
            spread(sums_of(row, cell), REST / 4, REST, BLOCK, told_rows + (size_t)TOLD / 2 * job.width + 2 * cell, job.width);
            convolve_cells<CHANNELS, VECTORS, BLOCK, 1>(rows, job.belief_weights, job.belief_bias, BELIEFS / GROUP, block);
            spread(block, beliefs, BELIEFS, BLOCK, belief_rows + 2 * cell, job.width);
        }
    }

  private:
    static constexpr int TOLD = 4 * told / GROUP * GROUP, REST = 4 * told - TOLD, SAID = (9 * REST + GROUP - 1) / GROUP * GROUP;
    static constexpr int BELIEFS = (4 * beliefs + GROUP - 1) / GROUP * GROUP, VECTORS = GROUP / LANES;
    static constexpr int BLOCK_SIZE = std::max({TOLD, BELIEFS, SAID}) * BLOCK;
    static_assert(REST == 4, "a register of four numbers");
    const Believe &job;
    const int cells;
    const Rows<CHANNELS, 3> around;
    float *block, *sums;

    static size_t sums_length(int cells) { return (size_t)REST * (cells + 2); }
    float *sums_of(int row, int cell) const { return sums + (row + 3) % 3 * sums_length(cells) + REST * (cell + 1); }

    void see(int row) {
        for (int cell = 0; cell < cells; cell++)
            memcpy(sums_of(row + 1, cell), job.told_bias + TOLD, REST * sizeof(float));
        const size_t size = (size_t)cells * CHANNELS * sizeof *job.cells;
        if (row < 0 || row >= job.height / 2) {
            memset(around.row(row), 0, size);
            return;
        }
        memcpy(around.row(row), job.cells + (size_t)row * cells * CHANNELS, size);
        const float none[SAID] = {};
        for (int cell = 0; cell < cells; cell += BLOCK) {
            const uint16_t *const rows[] = {nullptr, around.row(row) + cell * CHANNELS};
            convolve_cells<CHANNELS, VECTORS, BLOCK, 1>(rows, job.said_weights, none, SAID / GROUP, block);
            for (int c = 0; c < BLOCK; c++)
                for (int tap = 0; tap < 9; tap++) {
                    float *sum = sums_of(row + 1 - tap / 3, cell + c + 1 - tap % 3);
                    _mm_storeu_ps(sum, _mm_add_ps(_mm_loadu_ps(sum), _mm_loadu_ps(block + c * SAID + REST * tap)));
                }
        }
    }
};
#endif

// A candidate's mean of the channels, and what they differ by, each with a weight of its own.
INLINE void mix(const Vector *offset, Vector weight, Vector luma_weight, float limit, Vector *chroma, Vector &luma) {
    Vector mean = (offset[0] + offset[1] + offset[2]) * (1.0f / 3);
    luma += luma_weight * limited(mean, limit);
    for (int channel = 0; channel < 3; channel++) chroma[channel] += weight * limited(offset[channel] - mean, limit);
}

static bool believe(const Believe &job, int top, int bottom) {
    constexpr int CANDIDATES = 1 + LEVELS + FITS, TOLD = 3 + CANDIDATES;
    constexpr int BELIEFS = 3 + CANDIDATES + 1 + LOOKS;
    const int width = job.width, cells = width / 2;
    const size_t pixels = (size_t)job.height * width, kept = (size_t)job.kept * width;
    const float half = job.half_width;
#ifdef HAS_BFLOAT16
    const size_t head_size = Head<TOLD, BELIEFS>::size_of(cells);
#else
    const size_t head_size = 0;
#endif
    Buffer buffer((size_t)(2 * (TOLD + BELIEFS) + 3 * (LEVELS + FITS)) * width + lines_of<FITS>(width) + head_size);
    if (!buffer.is_there()) return false;
    float *told = buffer.take((size_t)2 * TOLD * width), *beliefs = buffer.take((size_t)2 * BELIEFS * width);
    float *others = buffer.take((size_t)3 * (LEVELS + FITS) * width), *lines = buffer.take(lines_of<FITS>(width));
#ifdef HAS_BFLOAT16
    std::optional<Head<TOLD, BELIEFS>> head;
    if (job.cells) head.emplace(job, buffer, top / 2);
#endif
    for (int y = top; y < bottom; y++) {
        if (y % 2 == 0) {
            const size_t cell = (size_t)(y / 2 - job.told_from / 2) * cells;
#ifdef HAS_BFLOAT16
            if (head) {
                head->tell(y / 2, told, beliefs);
            } else
#endif
            {
                spread(job.told + cell * 4 * TOLD, TOLD, 4 * TOLD, cells, told, width);
                spread(job.beliefs + cell * 4 * BELIEFS, BELIEFS, 4 * BELIEFS, cells, beliefs, width);
            }
        }
        for (int channel = 0; channel < 3; channel++) {
            for (int k = 0; k < LEVELS; k++) {
                const int factor = 2 << k;
                const size_t samples = pixels / ((size_t)factor * factor);
                float *to = others + (size_t)(3 * k + channel) * width;
                smooth_row(job.smooth[k] + channel * samples, y, factor, job.height, width, lines, to);
            }
            const Plane plane = {job.plate + channel * pixels, job.height, width};
            float *fitted = others + (size_t)(3 * LEVELS + channel) * width;
            fit_row<NEAREST_FIT, FITS, false>(plane, y, job.fits, lines, fitted, 3 * width);
        }
        const float *own_row = job.plate + (size_t)y * width;
        const float *told_row = told + (size_t)(y % 2) * width, *belief_row = beliefs + (size_t)(y % 2) * width;
        float *to = job.to + (size_t)(y - job.kept_from) * width;
        for (int x = 0; x < width; x += LANES) {
            auto tell = [&](int channel) { return load(told_row + (size_t)2 * channel * width + x); };
            auto believed = [&](int channel) { return load(belief_row + (size_t)2 * channel * width + x); };
            Vector own[3], offset[3], chroma[3] = {}, luma = {}, weight[CANDIDATES], luma_weight[CANDIDATES];
            Vector top_logit = tell(3), total = {};
            for (int i = 1; i < CANDIDATES; i++) top_logit = larger(top_logit, tell(3 + i));
            for (int i = 0; i < CANDIDATES; i++) total += weight[i] = exponential(tell(3 + i) - top_logit);
            Vector leave = believed(3 + CANDIDATES) + logarithm(total), top_luma = leave;
            for (int i = 0; i < CANDIDATES; i++) {
                luma_weight[i] = tell(3 + i) - top_logit + believed(3 + i);
                top_luma = larger(top_luma, luma_weight[i]);
            }
            Vector luma_total = exponential(leave - top_luma);
            for (int i = 0; i < CANDIDATES; i++) luma_total += luma_weight[i] = exponential(luma_weight[i] - top_luma);
            Vector share = 1 / total, luma_share = 1 / luma_total;
            for (int channel = 0; channel < 3; channel++) {
                own[channel] = load(own_row + channel * pixels + x);
                offset[channel] = tell(channel);
            }
            mix(offset, weight[0] * share, luma_weight[0] * luma_share, 2 * half, chroma, luma);
            for (int i = 1; i < CANDIDATES; i++) {
                for (int channel = 0; channel < 3; channel++)
                    offset[channel] = load(others + (size_t)(3 * (i - 1) + channel) * width + x) - own[channel];
                mix(offset, weight[i] * share, luma_weight[i] * luma_share, 2 * half, chroma, luma);
            }
            for (int channel = 0; channel < 3; channel++) {
                Vector log_scale = larger(smaller(believed(channel), all(LOG_SCALE_HIGH)), all(LOG_SCALE_LOW));
                Vector belief = chroma[channel] + luma, scale = exponential(log_scale) * (2 * half);
                store(to + channel * kept + x, belief);
                store(to + (3 + channel) * kept + x, scale);
                store(to + (6 + channel) * kept + x, posterior_mean(belief, scale, half));
            }
            Vector looks[LOOKS], top_look = believed(4 + CANDIDATES), look_total = {};
            for (int i = 1; i < LOOKS; i++) top_look = larger(top_look, believed(4 + CANDIDATES + i));
            for (int i = 0; i < LOOKS; i++)
                look_total += looks[i] = exponential(believed(4 + CANDIDATES + i) - top_look);
            for (int i = 0; i < LOOKS; i++) store(to + (9 + i) * kept + x, looks[i] / look_total);
        }
    }
    return true;
}

static bool look_again(const LookAgain &job, int top, int bottom) {
    const int width = job.width;
    const size_t pixels = (size_t)job.height * width, kept = (size_t)job.kept * width;
    const float half = job.half_width;
    Buffer buffer((size_t)3 * REFITS * width + lines_of<REFITS>(width));
    if (!buffer.is_there()) return false;
    float *fitted = buffer.take((size_t)3 * REFITS * width), *lines = buffer.take(lines_of<REFITS>(width));
    for (int y = top; y < bottom; y++) {
        for (int channel = 0; channel < 3; channel++) {
            const Plane plane = {job.plate + channel * pixels, job.height, width,
                                 job.beliefs + (6 + channel) * kept, job.kept_from};
            fit_row<NEAREST_REFIT, REFITS, true>(plane, y, job.fits, lines, fitted + (size_t)channel * width, 3 * width);
        }
        const size_t at = (size_t)y * width;
        for (int x = 0; x < width; x += LANES) {
            const float *here = job.beliefs + (size_t)(y - job.kept_from) * width + x;
            Vector residual[3], lowest = all(-INFINITY), highest = all(INFINITY);
            for (int channel = 0; channel < 3; channel++) {
                residual[channel] = load(here + (6 + channel) * kept);
                lowest = larger(lowest, -half - residual[channel]);
                highest = smaller(highest, half - residual[channel]);
            }
            Vector middle = (lowest + highest) * 0.5f;
            for (int channel = 0; channel < 3; channel++) {
                Vector own = load(job.plate + channel * pixels + at + x);
                Vector belief = load(here + 9 * kept) * load(here + channel * kept);
                belief += load(here + 10 * kept) * limited(residual[channel] + middle, 2 * half);
                for (int k = 0; k < REFITS; k++) {
                    const float share = job.fits[k].centre;  // the pixel's own
                    Vector fit = load(fitted + (size_t)(3 * k + channel) * width + x);
                    fit = (fit - share * (own + residual[channel])) * (1 / (1 - share)) - own;
                    belief += load(here + (11 + k) * kept) * limited(fit, 2 * half);
                }
                Vector scale = load(here + (3 + channel) * kept);
                store(job.to + channel * pixels + at + x, own + posterior_mean(belief, scale, half));
            }
        }
    }
    return true;
}

// Where a view from afar counts, its moves are taken; or, if there are none, samples whose code value is `end` go back to it.
// Rows of a tile, whose samples in a row lie side by side.
static bool blend(const Blend &job, int top, int bottom) {
    const int columns = FAR_CELL * job.columns, rows = FAR_CELL * job.rows;
    Buffer buffer(2 * ((size_t)columns + LANES) + job.columns + 2 * LANES);
    if (!buffer.is_there()) return false;
    float *shares = buffer.take(columns + LANES), *moves = buffer.take(columns + LANES), *line = buffer.take(0);
    const size_t cells = (size_t)job.rows * job.columns;
    for (int y = top; y < bottom; y++)
        for (int channel = 0; channel < job.channels; channel++) {
            smooth_row(job.share + channel * cells, y + job.top, FAR_CELL, rows, columns, line, shares);
            bool counts = false;
            for (int x = 0; x < job.columns; x++) counts |= line[x + 1] > 0;
            if (!counts) continue;
            const float *plate = job.plate + channel * job.plate_stride + (size_t)y * job.plate_pitch;
            float *estimate = job.estimate + channel * job.estimate_stride + (size_t)y * job.estimate_pitch;
            const float *share = shares + job.left, *move = moves + job.left;
            if (!job.moves) {
                for (int x = 0; x < job.width; x++) {
                    const float settled = job.end - (job.end - estimate[x]) * (1 - share[x]);
                    estimate[x] = plate[x] == job.end && share[x] > 0 ? settled : estimate[x];
                }
                continue;
            }
            smooth_row(job.moves + channel * cells, y + job.top, FAR_CELL, rows, columns, line, moves);
            int x = 0;
            for (; x + LANES <= job.width; x += LANES) {
                Vector value = load(estimate + x);
                store(estimate + x, value + load(share + x) * (load(plate + x) + load(move + x) - value));
            }
            for (; x < job.width; x++) estimate[x] += share[x] * (plate[x] + move[x] - estimate[x]);
        }
    return true;
}

// Means of 2x2 samples. Rows are of the plate, of all its channels.
static bool halve(const Halve &job, int top, int bottom) {
    for (int y = top; y < bottom; y += 2) {
        const float *first = job.from + (size_t)y * job.width, *second = first + job.width;
        float *to = job.to + (size_t)(y / 2) * (job.width / 2);
        Vector even, odd;
        for (int x = 0; x < job.width; x += 2 * LANES) {
            part(first + x, even, odd);
            Vector sum = even + odd;
            part(second + x, even, odd);
            store(to + x / 2, (sum + even + odd) * 0.25f);
        }
    }
    return true;
}

// What cells differ by from those of the next level, halfway between them. Rows are of all channels.
static bool band(const Band &job, int top, int bottom) {
    const int width = job.width, height = job.height;
    Buffer buffer((size_t)width + width / 2 + 2 * LANES);
    if (!buffer.is_there()) return false;
    float *wide = buffer.take(width), *line = buffer.take(width / 2 + 2 * LANES);
    for (int row = top; row < bottom; row++) {
        const float *coarser = job.coarser + (size_t)(row / height) * (height / 2) * (width / 2);
        const size_t at = (size_t)row * width;
        smooth_row(coarser, row % height, 2, height, width, line, wide);
        for (int x = 0; x < width; x += LANES)
            store(job.to + at + x, soft_limit(load(job.mean + at + x) - load(wide + x), BAND_RANGE));
    }
    return true;
}

// A layer of 3x3 with three outputs: what each cell says to each of the nine around it, 27 outputs of a layer of 1x1,
// and then the sums of what was said to a cell. `said` has TAPS outputs of each cell.
INLINE void say(const Correct &job, int row, float *said) {
    const int channels = job.channels;
    const float *x = static_cast<const float *>(job.x) + (size_t)row * job.width * channels;
    const float *weights = static_cast<const float *>(job.weights);
    for (int cell = 0; cell < job.width; cell += BLOCK) {
        Vector low[BLOCK] = {}, high[BLOCK] = {};
        const int cells = job.width - cell < BLOCK ? job.width - cell : BLOCK;
        const float *from[BLOCK];
        for (int c = 0; c < BLOCK; c++) from[c] = x + (size_t)(cell + (c < cells ? c : 0)) * channels;
        for (int channel = 0; channel < channels; channel++) {
            const Vector first = load(weights + channel * TAPS), second = load(weights + channel * TAPS + LANES);
            for (int c = 0; c < BLOCK; c++) low[c] += first * from[c][channel], high[c] += second * from[c][channel];
        }
        for (int c = 0; c < cells; c++) {
            store(said + (cell + c) * TAPS, low[c]);
            store(said + (cell + c) * TAPS + LANES, high[c]);
        }
    }
}

static bool correct(const Correct &job, int top, int bottom) {
    typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
    const int width = job.width;
    const size_t length = (size_t)(width + 14) * TAPS, cells = (size_t)job.height * width;
    Buffer buffer(3 * length + (size_t)(width + 14) * job.channels);
    if (!buffer.is_there()) return false;
    float *rows = buffer.take(3 * length);  // a cell of zeros before and after each
#ifdef HAS_BFLOAT16
    uint16_t *seen = buffer.take_narrow((size_t)(width + 14) * job.channels);
    const uint32_t *weights = static_cast<const uint32_t *>(job.weights);
    const float none[TAPS] = {};
#endif
    auto said = [&](int row) { return rows + (row + 3) % 3 * length + TAPS; };
    auto say_row = [&](int row) {
        if (row < 0 || row >= job.height) {
            memset(said(row), 0, (size_t)width * TAPS * sizeof(float));
            return;
        }
#ifdef HAS_BFLOAT16
        if (job.narrow) {
            const size_t count = (size_t)width * job.channels;
            memcpy(seen, static_cast<const uint16_t *>(job.x) + row * count, count * sizeof *seen);
            for (int cell = 0; cell < width; cell += 12) {
                const uint16_t *const from[] = {nullptr, seen + cell * job.channels};
                float *to = said(row) + cell * TAPS;
                if (job.channels == 32)
                    convolve_cells<32, TAPS / LANES, 12, 1>(from, weights, none, 1, to);
                else
                    convolve_cells<48, TAPS / LANES, 12, 1>(from, weights, none, 1, to);
            }
            memset(said(row) + width * TAPS, 0, TAPS * sizeof(float));
            return;
        }
#endif
        say(job, row, said(row));
    };
    say_row(top - 1);
    say_row(top);
    for (int row = top; row < bottom; row++) {
        say_row(row + 1);
        const float *around[3] = {said(row - 1) - TAPS, said(row) - TAPS, said(row + 1) - TAPS};
        float *to = job.to + (size_t)row * width;
        for (int cell = 0; cell < width; cell++) {
            Four sum = {job.bias[0], job.bias[1], job.bias[2]};
            for (int tap = 0; tap < 9; tap++)
                sum += *reinterpret_cast<const Four *>(around[tap / 3] + (cell + tap % 3) * TAPS + 3 * tap);
            for (int channel = 0; channel < 3; channel++) to[channel * cells + cell] = sum[channel];
        }
    }
    return true;
}

// Codes whose channels lie side by side to a plane of floats for each channel.
static bool part_channels(const PartChannels &job, int top, int bottom) {
    const size_t pixels = (size_t)job.height * job.width;
    for (int channel = 0; channel < job.channels; channel++)
        for (int y = top; y < bottom; y++) {
            const uint16_t *codes = job.codes + (size_t)y * job.width * job.channels + channel;
            float *to = job.to + channel * pixels + (size_t)y * job.width;
            if (job.channels == 3)
                for (int x = 0; x < job.width; x++) to[x] = (float)codes[3 * x];
            else
                for (int x = 0; x < job.width; x++) to[x] = (float)codes[(size_t)job.channels * x];
        }
    return true;
}

// guard.Guard: estimates into their bins, and how many of each row lay outside or are no numbers.
static bool clamp(const Clamp &job, int top, int bottom) {
    for (int y = top; y < bottom; y++) {
        int outside = 0, not_finite = 0;
        for (int channel = 0; channel < job.channels; channel++) {
            const size_t at = (size_t)y * job.width * job.channels + channel;
            const float *estimate = job.estimate + y * job.pitch + channel * job.stride;
            for (int x = 0; x < job.width; x++) {
                const size_t n = at + (size_t)x * job.channels;
                const float value = estimate[x * job.step];
                const float lower = job.lower[job.codes[n]], upper = job.upper[job.codes[n]];
                outside += (value < lower) | (value > upper);
                not_finite += !(value - value == 0);
                const float above = value > lower ? value : lower;
                job.to[n] = above < upper ? above : upper;
            }
        }
        job.outside[y] = outside, job.not_finite[y] = not_finite;
    }
    return true;
}

// How far samples lie from the middles of their bins: the largest distance of each row, and the sum.
static bool measure(const Measure &job, int top, int bottom) {
    typedef uint16_t Shorts __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
    const int count = job.width * job.channels;
    for (int y = top; y < bottom; y++) {
        const uint16_t *codes = job.codes + (size_t)y * count;
        const float *values = job.values + (size_t)y * count;
        Vector most = {}, sum = {};
        float largest = 0;
        double total = 0;
        int x = 0;
        for (; x + LANES <= count; x += LANES) {
            const Vector code = __builtin_convertvector(*reinterpret_cast<const Shorts *>(codes + x), Vector);
            const Vector move = magnitude(load(values + x) - smaller(code + job.middle, all(job.peak)));
            most = larger(most, move), sum += move;
        }
        for (; x < count; x++) {
            const float middle = codes[x] + job.middle, move = fabsf(values[x] - (middle < job.peak ? middle : job.peak));
            largest = larger_of(largest, move), total += move;
        }
        for (int lane = 0; lane < LANES; lane++) largest = larger_of(largest, most[lane]), total += sum[lane];
        job.largest[y] = largest, job.sums[y] = total;
    }
    return true;
}

// The largest and the smallest sample of each cell of FAR_CELL pixels, what is beyond the border left out.
static bool extremes(const Extremes &job, int top, int bottom) {
    const int columns = (job.width + FAR_CELL - 1) / FAR_CELL;
    Buffer buffer(2 * (size_t)job.width);
    if (!buffer.is_there()) return false;
    float *largest = buffer.take(job.width), *smallest = buffer.take(job.width);
    for (int row = top; row < bottom; row++) {
        const int rows = (job.height + FAR_CELL - 1) / FAR_CELL, plane = row / rows, y = row % rows * FAR_CELL;
        const float *from = job.plate + ((size_t)plane * job.height + y) * job.width;
        const int count = job.height - y < FAR_CELL ? job.height - y : FAR_CELL;
        for (int x = 0; x < job.width; x++) {
            float high = from[x], low = from[x];
            for (int k = 1; k < count; k++) {
                const float value = from[(size_t)k * job.width + x];
                high = value > high ? value : high;
                low = value < low ? value : low;
            }
            largest[x] = high, smallest[x] = low;
        }
        for (int cell = 0; cell < columns; cell++) {
            float high = largest[FAR_CELL * cell], low = smallest[FAR_CELL * cell];
            for (int x = FAR_CELL * cell + 1; x < FAR_CELL * (cell + 1) && x < job.width; x++) {
                high = larger_of(high, largest[x]);
                low = -larger_of(-low, -smallest[x]);
            }
            job.largest[(size_t)row * columns + cell] = high;
            job.smallest[(size_t)row * columns + cell] = low;
        }
    }
    return true;
}

// 1 for cells with no step of their channel within two cells of the eight around them, 0 for those with one within one.
static bool stepless(const Stepless &job, int top, int bottom) {
    constexpr int REACH = 2, LINES = 2 * REACH + 1;
    const int width = job.width, height = job.height, padded = width + 2 * REACH;
    Buffer buffer((size_t)(LINES + 4) * padded);
    if (!buffer.is_there()) return false;
    float *high = buffer.take(padded) + REACH, *low = buffer.take(padded) + REACH;
    float *near = buffer.take(padded) + REACH, *far = buffer.take(padded) + REACH;
    float *const lines = buffer.take((size_t)LINES * width);
    int held[LINES];  // the row whose steps a line holds
    for (int &row : held) row = -1;
    for (int row = top; row < bottom; row++) {
        const int first = row / height * height, last = first + height - 1;  // of this channel
        const auto inside = [&](int y) { return y < first ? first : y > last ? last : y; };
        const auto steps = [&](int y) {
            y = inside(y);
            float *line = lines + (size_t)(y % LINES) * width;
            if (held[y % LINES] == y) return line;
            held[y % LINES] = y;
            const size_t above = (size_t)inside(y - 1) * width, at = (size_t)y * width, below = (size_t)inside(y + 1) * width;
            for (int x = 0; x < width; x++) {
                high[x] = larger_of(job.largest[at + x], larger_of(job.largest[above + x], job.largest[below + x]));
                low[x] = -larger_of(-job.smallest[at + x], larger_of(-job.smallest[above + x], -job.smallest[below + x]));
            }
            high[-1] = high[0], high[width] = high[width - 1], low[-1] = low[0], low[width] = low[width - 1];
            for (int x = 0; x < width; x++) {
                const float highest = larger_of(high[x], larger_of(high[x - 1], high[x + 1]));
                const float lowest = -larger_of(-low[x], larger_of(-low[x - 1], -low[x + 1]));
                line[x] = highest > lowest ? 1 : 0;
            }
            return line;
        };
        const float *line[LINES];
        for (int k = 0; k < LINES; k++) line[k] = steps(row + k - REACH);
        for (int x = 0; x < width; x++) {
            near[x] = line[1][x] + line[2][x] + line[3][x];
            far[x] = near[x] + line[0][x] + line[4][x];
        }
        for (int x = 0; x < width; x++) {  // there are no steps beyond the border
            const float within_one = near[x - 1] + near[x] + near[x + 1];
            const float within_two = far[x - 2] + far[x - 1] + far[x] + far[x + 1] + far[x + 2];
            job.to[(size_t)row * width + x] = 1 - ((within_one > 0 ? 0.5f : 0) + (within_two > 0 ? 0.5f : 0));
        }
    }
    return true;
}

// Rows of float32 to half and back, to the nearest, ties to even; by processors that have instructions for it.
static bool to_half(const Convert &job, int top, int bottom) {
#ifdef HAS_HALF
    const float *from = static_cast<const float *>(job.from);
    uint16_t *to = static_cast<uint16_t *>(job.to);
    const size_t end = (size_t)bottom * job.width;
    size_t i = (size_t)top * job.width;
    for (; i + 8 <= end; i += 8)
        _mm_storeu_si128((__m128i *)(to + i), _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < end; i++) to[i] = _cvtss_sh(from[i], _MM_FROUND_TO_NEAREST_INT);
    return true;
#else
    return false;
#endif
}

static bool from_half(const Convert &job, int top, int bottom) {
#ifdef HAS_HALF
    const uint16_t *from = static_cast<const uint16_t *>(job.from);
    float *to = static_cast<float *>(job.to);
    const size_t end = (size_t)bottom * job.width;
    size_t i = (size_t)top * job.width;
    for (; i + 8 <= end; i += 8) _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
    for (; i < end; i++) to[i] = _cvtsh_ss(from[i]);
    return true;
#else
    return false;
#endif
}
