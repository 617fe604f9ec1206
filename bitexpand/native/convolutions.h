// Convolutions of 3x3 for processors that multiply bfloat16 numbers: sums in float32, rounded once. Included by native.cpp
// inside a namespace, before kernels.h. Cells of a row lie side by side, and so do the channels of a cell.

// Adds to sums of so many cells, which lie `pitch` apart, what a group of outputs makes of their inputs.
template <int inputs, int vectors, int cells>
INLINE void add_products(const uint16_t *from, int pitch, const uint32_t *weights, __m512 (&sums)[vectors][cells]) {
    for (int pair = 0; pair < inputs / 2; pair++, weights += vectors * 16) {
        __m512bh weight[vectors];
        for (int v = 0; v < vectors; v++) weight[v] = (__m512bh)_mm512_loadu_si512(weights + v * 16);
        for (int cell = 0; cell < cells; cell++) {
            int32_t both;
            memcpy(&both, from + cell * pitch + 2 * pair, sizeof both);
            const __m512bh input = (__m512bh)_mm512_set1_epi32(both);
            for (int v = 0; v < vectors; v++) sums[v][cell] = _mm512_dpbf16_ps(sums[v][cell], weight[v], input);
        }
    }
}

// Cells of a layer of 1x1, or of 3x3 that takes each product by itself. `rows` are the rows around, from the first cell on;
// of 1x1 only the middle one is looked at. Weights: for each group of outputs, tap and pair of inputs, the pairs of a group's
// outputs, of which there are `vectors` times 16.
template <int inputs, int vectors, int cells, int taps>
INLINE void convolve_cells(const uint16_t *const *rows, const uint32_t *weights, const float *bias, int groups, float *to) {
    for (int group = 0; group < groups; group++) {
        __m512 sums[vectors][cells];
        for (int v = 0; v < vectors; v++)
            for (int cell = 0; cell < cells; cell++) sums[v][cell] = _mm512_loadu_ps(bias + (group * vectors + v) * 16);
        for (int tap = 0; tap < taps; tap++, weights += inputs / 2 * vectors * 16) {
            const uint16_t *from = taps == 1 ? rows[1] : rows[tap / 3] + (tap % 3 - 1) * inputs;
            add_products<inputs, vectors, cells>(from, inputs, weights, sums);
        }
        for (int cell = 0; cell < cells; cell++)
            for (int v = 0; v < vectors; v++)
                _mm512_storeu_ps(to + ((cell * groups + group) * vectors + v) * 16, sums[v][cell]);
    }
}

INLINE __m512 widened(const uint16_t *from) {
    return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from)), 16);
}
INLINE void narrowed(__m512 values, uint16_t *to) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(values));
}

// Layers of 3x3 take their products along a row in another way, with fewer of them: m outputs of three taps are the
// coefficients of a product of polynomials, which m + 2 of its values tell (Winograd 1980; Lavin & Gray 2016,
// arXiv:1509.09308). Those are its values at m + 1 points and its highest coefficient. `spread` gives what is multiplied by
// the weights that layers.py makes for each of them, `gather` the outputs.
template <int m>
struct Tile;

template <>
struct Tile<2> {  // at 0, 1, -1
    INLINE void spread(const __m512 *d, __m512 *v) {
        v[0] = d[2] - d[0], v[1] = d[2] + d[1], v[2] = d[2] - d[1], v[3] = d[3] - d[1];
    }
    INLINE void gather(const __m512 *p, __m512 *to) { to[0] = p[0] + p[1] + p[2], to[1] = p[1] - p[2] + p[3]; }
};

template <>
struct Tile<4> {  // at 0, and at these two and their negatives, which round less than 1 and 2 would
    static constexpr float A = 0.625f, B = 1.25f, AA = A * A, BB = B * B;
    INLINE void spread(const __m512 *d, __m512 *v) {
        const __m512 even_a = d[4] - BB * d[2], odd_a = A * (d[3] - BB * d[1]);
        const __m512 even_b = d[4] - AA * d[2], odd_b = B * (d[3] - AA * d[1]);
        v[0] = d[4] - (AA + BB) * d[2] + AA * BB * d[0];
        v[1] = even_a + odd_a, v[2] = even_a - odd_a;
        v[3] = even_b + odd_b, v[4] = even_b - odd_b;
        v[5] = d[5] - (AA + BB) * d[3] + AA * BB * d[1];
    }
    INLINE void gather(const __m512 *p, __m512 *to) {
        const __m512 even_a = p[1] + p[2], odd_a = A * (p[1] - p[2]), even_b = p[3] + p[4], odd_b = B * (p[3] - p[4]);
        to[0] = p[0] + even_a + even_b, to[1] = odd_a + odd_b;
        to[2] = AA * even_a + BB * even_b, to[3] = AA * odd_a + BB * odd_b + p[5];
    }
};

// Outputs are computed in groups of so many vectors, of so many tiles at once: 24 sums fill the registers.
constexpr int vectors_of(int outputs) { return outputs % 64 == 0 ? 4 : outputs % 48 == 0 ? 3 : 2; }
constexpr int tiles_of(int outputs) { return 24 / vectors_of(outputs); }

// Rows of cells for `count` rows of the plate, a cell of zeros before each, and as many after it as a tile may look at.
template <int channels, int count>
struct Rows {
    static constexpr int SPARE = 5;
    uint16_t *values;
    size_t length;

    Rows(Buffer &buffer, int width)
        : values(buffer.take_narrow(size_of(width))), length((size_t)channels * (width + 1 + SPARE)) {}
    static size_t size_of(int width) { return (size_t)count * channels * (width + 1 + SPARE); }
    uint16_t *row(int y) const { return values + (y + count) % count * length + channels; }
};

// Three rows around the one at hand of what a layer with these inputs multiplies, a tile of `m` cells after the other.
template <int inputs, int outputs, int m>
class Around {
  public:
    Around(Buffer &buffer, int width) : width(width), length(length_of(width)) {
        values = buffer.take_narrow(3 * length);
        block = buffer.take(BLOCK_SIZE);
    }
    static size_t size_of(int width) { return 3 * length_of(width) + 2 * BLOCK_SIZE; }  // narrow numbers
    void clear(int y) { memset(row(y), 0, length * sizeof *values); }

    // Takes a row out of Rows, narrow.
    void take(int y, const uint16_t *from) {
        uint16_t *to = row(y);
        for (int cell = 0; cell < width; cell += m, from += m * inputs, to += POINTS * inputs)
            for (int i = 0; i < inputs; i += 16) {
                const int at = i + 16 <= inputs ? i : inputs - 16;
                __m512 d[POINTS], v[POINTS];
                for (int k = 0; k < POINTS; k++) d[k] = widened(from + (k - 1) * inputs + at);
                Tile<m>::spread(d, v);
                for (int k = 0; k < POINTS; k++) narrowed(v[k], to + k * inputs + at);
            }
    }

    // Runs the layer on a row. `give` is given each cell and its outputs.
    template <typename Give>
    INLINED void convolve(int y, const uint32_t *weights, const float *bias, Give give) {
        const uint16_t *rows[3] = {row(y - 1), row(y), row(y + 1)};
        for (int cell = 0; cell < width; cell += TILES * m) {
            convolve_tiles(rows, weights, bias);
            for (int c = 0; c < TILES * m && cell + c < width; c++) give(cell + c, block + c * outputs);
            for (auto &from : rows) from += PITCH * TILES;
        }
    }

  private:
    static constexpr int POINTS = m + 2, PITCH = POINTS * inputs, VECTORS = vectors_of(outputs), TILES = tiles_of(outputs);
    static constexpr int GROUPS = outputs / (VECTORS * 16), BLOCK_SIZE = TILES * m * outputs + POINTS * TILES * VECTORS * 16;
    const int width;
    const size_t length;
    uint16_t *values;
    float *block;

    static size_t length_of(int width) { return (size_t)(width + TILES * m - 1) / (TILES * m) * TILES * PITCH; }
    uint16_t *row(int y) const { return values + (y + 3) % 3 * length; }

    // Weights: for each group of outputs, point, row and pair of inputs, the pairs of a group's outputs.
    INLINED void convolve_tiles(const uint16_t *const *rows, const uint32_t *weights, const float *bias) {
        float *products = block + TILES * m * outputs;
        for (int group = 0; group < GROUPS; group++) {
            for (int point = 0; point < POINTS; point++) {
                __m512 sums[VECTORS][TILES] = {};
                for (int y = 0; y < 3; y++, weights += inputs / 2 * VECTORS * 16)
                    add_products<inputs, VECTORS, TILES>(rows[y] + point * inputs, PITCH, weights, sums);
                for (int v = 0; v < VECTORS; v++)
                    for (int tile = 0; tile < TILES; tile++)
                        _mm512_storeu_ps(products + ((point * TILES + tile) * VECTORS + v) * 16, sums[v][tile]);
            }
            for (int tile = 0; tile < TILES; tile++)
                for (int v = 0; v < VECTORS; v++) {
                    const int output = (group * VECTORS + v) * 16;
                    const __m512 start = _mm512_loadu_ps(bias + output);
                    __m512 p[POINTS], sums[m];
                    for (int k = 0; k < POINTS; k++)
                        p[k] = _mm512_loadu_ps(products + ((k * TILES + tile) * VECTORS + v) * 16);
                    Tile<m>::gather(p, sums);
                    for (int k = 0; k < m; k++)
                        _mm512_storeu_ps(block + (tile * m + k) * outputs + output, sums[k] + start);
                }
        }
    }
};

// A row of twice the size, halfway between its cells, added to another row.
template <int channels>
INLINE void add_finer(const uint16_t *coarser, int y, int height, int width, const uint16_t *x, float *line, uint16_t *to) {
    const int row = y / 2, rows = height / 2, cells = width / 2;
    const int other = y % 2 ? (row + 1 < rows ? row + 1 : row) : (row ? row - 1 : 0);
    const uint16_t *near = coarser + (size_t)row * cells * channels, *far = coarser + (size_t)other * cells * channels;
    for (int i = 0; i < cells * channels; i += 16)
        _mm512_storeu_ps(line + i, widened(near + i) * 0.75f + widened(far + i) * 0.25f);
    for (int cell = 0; cell < cells; cell++) {
        const float *here = line + cell * channels;
        const float *left = cell ? here - channels : here, *right = cell + 1 < cells ? here + channels : here;
        for (int i = 0; i < channels; i += 16) {
            const __m512 most = _mm512_loadu_ps(here + i) * 0.75f;
            narrowed(widened(x + i) + most + _mm512_loadu_ps(left + i) * 0.25f, to + i);
            narrowed(widened(x + channels + i) + most + _mm512_loadu_ps(right + i) * 0.25f, to + channels + i);
        }
        x += 2 * channels, to += 2 * channels;
    }
}

template <int channels, int m>
static bool residual_block_of(const ResidualBlock &job, int top, int bottom) {
    typedef Around<channels, channels, m> Layer;
    const int width = job.width, height = job.height;
    const size_t row = (size_t)width * channels;
    Buffer buffer((2 * Layer::size_of(width) + Rows<channels, 3>::size_of(width) + Rows<channels, 1>::size_of(width) + row) / 2);
    if (!buffer.is_there()) return false;
    Layer seen(buffer, width), first(buffer, width);
    const Rows<channels, 3> xs(buffer, width);
    const Rows<channels, 1> between(buffer, width);
    float *line = buffer.take(row / 2);
    auto look_at = [&](int y) {
        if (y < 0 || y >= height) return seen.clear(y);
        uint16_t *to = xs.row(y);
        const uint16_t *narrow = static_cast<const uint16_t *>(job.x) + y * row;
        if (job.wide)
            for (size_t i = 0; i < row; i += 16)
                narrowed(_mm512_loadu_ps(static_cast<const float *>(job.x) + y * row + i), to + i);
        else if (job.coarser)
            add_finer<channels>(job.coarser, y, height, width, narrow, line, to);
        else
            memcpy(to, narrow, row * sizeof *to);
        seen.take(y, to);
    };
    auto convolve_first = [&](int y) {
        if (y < 0 || y >= height) return first.clear(y);
        uint16_t *to = between.row(y);
        seen.convolve(y, job.first, job.first_bias, [&](int cell, const float *sums) {
            for (int i = 0; i < channels; i += 16)
                narrowed(_mm512_max_ps(_mm512_loadu_ps(sums + i), _mm512_setzero_ps()), to + cell * channels + i);
        });
        first.take(y, to);
    };
    for (int y = top - 2; y < top + 1; y++) look_at(y);
    convolve_first(top - 1);
    look_at(top + 1);
    convolve_first(top);
    for (int y = top; y < bottom; y++) {
        look_at(y + 2);
        convolve_first(y + 1);
        const uint16_t *x = xs.row(y);
        const size_t at = y * row;
        first.convolve(y, job.second, job.second_bias, [&](int cell, const float *sums) {
            for (int i = 0; i < channels; i += 16) {
                const size_t n = cell * channels + i;
                const __m512 change = _mm512_loadu_ps(sums + i);
                if (job.wide)
                    _mm512_storeu_ps(static_cast<float *>(job.to) + at + n,
                                     _mm512_loadu_ps(static_cast<const float *>(job.x) + at + n) + change);
                else
                    narrowed(widened(x + n) + change, static_cast<uint16_t *>(job.to) + at + n);
            }
        });
    }
    return true;
}

static bool residual_block(const ResidualBlock &job, int top, int bottom) {
    switch (job.channels) {
    case 32: return residual_block_of<32, 2>(job, top, bottom);
    case 48: return residual_block_of<48, 4>(job, top, bottom);
    case 64: return residual_block_of<64, 4>(job, top, bottom);
    case 96: return residual_block_of<96, 4>(job, top, bottom);
    }
    return false;
}

template <int finer, int channels>
static bool down_of(const Down &job, int top, int bottom) {
    constexpr int inputs = (finer + 3 + 1) / 2 * 2;  // pairs of them
    typedef Around<inputs, channels, 2> Layer;
    typedef Rows<inputs, 1> Row;
    const int width = job.width, height = job.height;
    Buffer buffer((Layer::size_of(width) + Row::size_of(width)) / 2 + 1);
    if (!buffer.is_there()) return false;
    Layer seen(buffer, width);
    const Row joined(buffer, width);
    const size_t pitch = (size_t)2 * width * finer, cells = (size_t)height * width;
    auto sum_of_two = [&](size_t at) {
        if (!job.from_wide) {
            const uint16_t *x = static_cast<const uint16_t *>(job.x) + at;
            return widened(x) + widened(x + finer);
        }
        const float *x = static_cast<const float *>(job.x) + at;
        return _mm512_loadu_ps(x) + _mm512_loadu_ps(x + finer);
    };
    auto look_at = [&](int y) {
        if (y < 0 || y >= height) return seen.clear(y);
        uint16_t *to = joined.row(y);
        for (int cell = 0; cell < width; cell++, to += inputs) {
            for (int i = 0; i < finer; i += 16) {
                const size_t at = 2 * y * pitch + (size_t)2 * cell * finer + i;
                narrowed((sum_of_two(at) + sum_of_two(at + pitch)) * 0.25f, to + i);
            }
            const float *band = job.band + (size_t)y * width + cell;
            uint16_t bands[16];
            narrowed(_mm512_setr_ps(band[0], band[cells], band[2 * cells], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), bands);
            memcpy(to + finer, bands, 3 * sizeof *to);
        }
        seen.take(y, joined.row(y));
    };
    look_at(top - 1);
    look_at(top);
    for (int y = top; y < bottom; y++) {
        look_at(y + 1);
        const size_t at = (size_t)y * width * channels;
        seen.convolve(y, job.weights, job.bias, [&](int cell, const float *sums) {
            for (int i = 0; i < channels; i += 16) {
                const size_t n = at + cell * channels + i;
                const __m512 value = _mm512_max_ps(_mm512_loadu_ps(sums + i), _mm512_setzero_ps());
                if (job.to_wide)
                    _mm512_storeu_ps(static_cast<float *>(job.to) + n, value);
                else
                    narrowed(value, static_cast<uint16_t *>(job.to) + n);
            }
        });
    }
    return true;
}

static bool down(const Down &job, int top, int bottom) {
    switch (job.finer) {
    case 32: return job.channels == 48 && down_of<32, 48>(job, top, bottom);
    case 48: return job.channels == 64 && down_of<48, 64>(job, top, bottom);
    case 64: return job.channels == 96 && down_of<64, 96>(job, top, bottom);
    case 96: return job.channels == 96 && down_of<96, 96>(job, top, bottom);
    }
    return false;
}
