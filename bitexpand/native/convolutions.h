// Convolutions of 3x3 for processors that multiply bfloat16 numbers: sums in float32, rounded once. Included by native.cpp
// inside a namespace, before kernels.h. Cells of a row lie side by side, and so do the channels of a cell.

// Some cells' convolutions. `rows` are the rows around, from the cell on the left of the first. Weights: for each group
// of outputs, tap and pair of inputs, the pairs of a group's outputs, of which there are `vectors` times 16.
template <int inputs, int vectors, int cells, int taps>
INLINE void convolve(const uint16_t *const *rows, const uint32_t *weights, const float *bias, int groups, float *to) {
    for (int group = 0; group < groups; group++) {
        __m512 sums[vectors][cells];
        for (int v = 0; v < vectors; v++)
            for (int cell = 0; cell < cells; cell++) sums[v][cell] = _mm512_loadu_ps(bias + (group * vectors + v) * 16);
        for (int tap = 0; tap < taps; tap++) {
            const uint16_t *row = taps == 1 ? rows[1] + inputs : rows[tap / 3] + tap % 3 * inputs;
            for (int pair = 0; pair < inputs / 2; pair++, weights += vectors * 16) {
                __m512bh weight[vectors];
                for (int v = 0; v < vectors; v++) weight[v] = (__m512bh)_mm512_loadu_si512(weights + v * 16);
                for (int cell = 0; cell < cells; cell++) {
                    int32_t both;
                    memcpy(&both, row + cell * inputs + 2 * pair, sizeof both);
                    const __m512bh input = (__m512bh)_mm512_set1_epi32(both);
                    for (int v = 0; v < vectors; v++) sums[v][cell] = _mm512_dpbf16_ps(sums[v][cell], weight[v], input);
                }
            }
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

// The outputs of a layer go in groups of so many vectors, so many cells at once: 24 sums fill the registers.
constexpr int vectors_of(int outputs) { return outputs % 64 == 0 ? 4 : outputs % 48 == 0 ? 3 : 2; }
constexpr int cells_of(int outputs) { return 24 / vectors_of(outputs); }

// Three rows around the one at hand, a cell of zeros before each and some after.
struct Around {
    uint16_t *values;
    int channels, width, length;

    static size_t length_of(int channels, int width, int cells) { return (size_t)channels * (width + cells + 1); }
    uint16_t *row(int y) const { return values + (size_t)((y + 3) % 3) * length + channels; }
    void clear(int y) const { memset(row(y), 0, (size_t)width * channels * sizeof *values); }
};

// A row of a layer with 3x3 taps. `take` is given each cell and its outputs.
template <int inputs, int outputs, typename Take>
INLINE void convolve_row(const Around &around, int y, const uint32_t *weights, const float *bias, float *block, Take take) {
    constexpr int cells = cells_of(outputs), vectors = vectors_of(outputs);
    const uint16_t *rows[3] = {around.row(y - 1) - inputs, around.row(y) - inputs, around.row(y + 1) - inputs};
    for (int cell = 0; cell < around.width; cell += cells) {
        convolve<inputs, vectors, cells, 9>(rows, weights, bias, outputs / (vectors * 16), block);
        for (int c = 0; c < cells && cell + c < around.width; c++) take(cell + c, block + c * outputs);
        for (auto &row : rows) row += cells * inputs;
    }
}

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

template <int channels>
static bool residual_block_of(const ResidualBlock &job, int top, int bottom) {
    const int width = job.width, height = job.height;
    const size_t length = Around::length_of(channels, width, cells_of(channels)), row = (size_t)width * channels;
    Buffer buffer(3 * length + cells_of(channels) * channels + row / 2);
    if (!buffer.is_there()) return false;
    auto rows = [&] { return reinterpret_cast<uint16_t *>(buffer.take(3 * length / 2)); };
    const Around seen = {rows(), channels, width, (int)length}, first = {rows(), channels, width, (int)length};
    float *block = buffer.take(cells_of(channels) * channels), *line = buffer.take(row / 2);
    auto look_at = [&](int y) {
        uint16_t *to = seen.row(y);
        const uint16_t *narrow = static_cast<const uint16_t *>(job.x) + y * row;
        if (y < 0 || y >= height)
            seen.clear(y);
        else if (job.wide)
            for (size_t i = 0; i < row; i += 16)
                narrowed(_mm512_loadu_ps(static_cast<const float *>(job.x) + y * row + i), to + i);
        else if (job.coarser)
            add_finer<channels>(job.coarser, y, height, width, narrow, line, to);
        else
            memcpy(to, narrow, row * sizeof *to);
    };
    auto convolve_first = [&](int y) {
        if (y < 0 || y >= height) return first.clear(y);
        uint16_t *to = first.row(y);
        convolve_row<channels, channels>(seen, y, job.first, job.first_bias, block, [&](int cell, const float *sums) {
            for (int i = 0; i < channels; i += 16)
                narrowed(_mm512_max_ps(_mm512_loadu_ps(sums + i), _mm512_setzero_ps()), to + cell * channels + i);
        });
    };
    for (int y = top - 2; y < top + 1; y++) look_at(y);
    convolve_first(top - 1);
    look_at(top + 1);
    convolve_first(top);
    for (int y = top; y < bottom; y++) {
        look_at(y + 2);
        convolve_first(y + 1);
        const uint16_t *x = seen.row(y);
        const size_t at = y * row;
        convolve_row<channels, channels>(first, y, job.second, job.second_bias, block, [&](int cell, const float *sums) {
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
    case 32: return residual_block_of<32>(job, top, bottom);
    case 48: return residual_block_of<48>(job, top, bottom);
    case 64: return residual_block_of<64>(job, top, bottom);
    case 96: return residual_block_of<96>(job, top, bottom);
    }
    return false;
}
