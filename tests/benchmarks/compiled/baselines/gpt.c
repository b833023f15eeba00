/* microgpt by hand: forward, backward and Adam of a GPT of 1 layer, 16 wide, 4 heads, 27 tokens, in double precision.

   The yardstick of the compiler.  All positions of a name go through the layers together, as small matrix products with
   constant sizes: one function for each length.  Rows of activations lie in memory position by position, so every product is
   a broadcast times a row, and nothing is summed across lanes but the norms.  The forward pass reads weights transposed.
   Needs AVX-512.  gcc -O3 -march=native -ffast-math -shared -fPIC gpt.c -o gpt.so -lm

   Parameters lie as wte[27][16] wpe[16][16] lm_head[27][16] wq wk wv wo[16][16] fc1[64][16] fc2[16][64]. */

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

typedef double v8 __attribute__((vector_size(64)));
typedef double v4 __attribute__((vector_size(32)));
typedef double v8u __attribute__((vector_size(64), aligned(8)));
typedef double v4u __attribute__((vector_size(32), aligned(8)));
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { D = 16, F = 64, V = 27, VP = 32, H = 4, Q = 48 };
enum { WTE = 0, WPE = WTE + V * D, LM = WPE + 16 * D, QKV = LM + V * D, WO = QKV + Q * D, FC1 = WO + D * D, FC2 = FC1 + F * D,
       COUNT = FC2 + D * F };
enum { CHUNK = 4, ROWS = CHUNK * 12 + 16 };

/* What a name, or a chunk of names, leaves for the backward pass and for the products that give the weights' gradients. */
static struct {
    double e[ROWS * D], x1[ROWS * D], x2[ROWS * D], qkv[ROWS * Q], a[ROWS * D], x3[ROWS * D], x4[ROWS * D], r[ROWS * F],
        x5[ROWS * D], dlogits[ROWS * VP], dx5[ROWS * D], dh[ROWS * F], dx3[ROWS * D], dqkv[ROWS * Q], de[ROWS * D];
    double s0[ROWS], s1[ROWS], s3[ROWS];
} A __attribute__((aligned(64)));

/* The weights transposed, as [in][out]. */
static struct {
    double lm[D * VP], qkv[D * Q], wo[D * D], fc1[D * F], fc2[F * D];
} WT __attribute__((aligned(64)));

INLINE v8 load(const double *p) { return *(const v8u *)p; }
INLINE void store(double *p, v8 x) { *(v8u *)p = x; }
INLINE v8 all(double x) { return (v8)_mm512_set1_pd(x); }
INLINE v8 larger(v8 x, v8 y) { return (v8)_mm512_max_pd((__m512d)x, (__m512d)y); }
INLINE v8 where_positive(v8 x, v8 y) {
    return (v8)_mm512_maskz_mov_pd(_mm512_cmp_pd_mask((__m512d)x, _mm512_setzero_pd(), _CMP_GT_OQ), (__m512d)y);
}
INLINE double total(v8 x) { return _mm512_reduce_add_pd((__m512d)x); }

/* exp for -700 <= x; less counts as -700, so that no number is denormal, which would be slow. */
INLINE v8 exp8(v8 x) {
    x = larger(x, all(-700));
    v8 n = (v8)_mm512_roundscale_pd((__m512d)(x * all(1.4426950408889634)), 8);
    v8 r = (v8)_mm512_fnmadd_pd((__m512d)n, _mm512_set1_pd(6.93147180369123816490e-01), (__m512d)x);
    r = (v8)_mm512_fnmadd_pd((__m512d)n, _mm512_set1_pd(1.90821492927058770002e-10), (__m512d)r);
    v8 r2 = r * r, r4 = r2 * r2;
    v8 low = (all(1.0) + r) + r2 * (all(0.5) + r * all(1.0 / 6));
    v8 mid = (all(1.0 / 24) + r * all(1.0 / 120)) + r2 * (all(1.0 / 720) + r * all(1.0 / 5040));
    v8 high = (all(1.0 / 40320) + r * all(1.0 / 362880)) + r2 * (all(1.0 / 3628800) + r * all(1.0 / 39916800));
    v8 p = low + r4 * (mid + r4 * (high + r4 * all(1.0 / 479001600)));
    return (v8)_mm512_scalef_pd((__m512d)p, (__m512d)n);
}

INLINE void transpose8(const double *in, int stride, double *out, int out_stride) {
    __m512d r[8], s[8], t[8];
    UNROLL for (int i = 0; i < 8; i++) r[i] = (__m512d)load(in + i * stride);
    UNROLL for (int i = 0; i < 4; i++) {
        s[2 * i] = _mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]);
        s[2 * i + 1] = _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        t[i] = _mm512_shuffle_f64x2(s[i], s[i + 2], 0x88);
        t[i + 2] = _mm512_shuffle_f64x2(s[i], s[i + 2], 0xdd);
        t[i + 4] = _mm512_shuffle_f64x2(s[i + 4], s[i + 6], 0x88);
        t[i + 6] = _mm512_shuffle_f64x2(s[i + 4], s[i + 6], 0xdd);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        int column = (i & 1) + 2 * (i >> 1);
        store(out + column * out_stride, (v8)_mm512_shuffle_f64x2(t[i], t[i + 4], 0x88));
        store(out + (column + 4) * out_stride, (v8)_mm512_shuffle_f64x2(t[i], t[i + 4], 0xdd));
    }
}

INLINE void transpose(const double *in, int rows, int columns, double *out, int out_stride) {
    for (int i = 0; i < rows; i += 8)
        for (int j = 0; j < columns; j += 8) transpose8(in + i * columns + j, columns, out + j * out_stride + i, out_stride);
}

/* Rows 27 to 31 of lm_head are the next weights: finite numbers, whose logits are masked. */
static void transpose_weights(const double *p) {
    transpose(p + LM, VP, D, WT.lm, VP);
    transpose(p + QKV, Q, D, WT.qkv, Q);
    transpose(p + WO, D, D, WT.wo, D);
    transpose(p + FC1, F, D, WT.fc1, F);
    transpose(p + FC2, D, F, WT.fc2, D);
}

/* y[T][N] = x[T][K] w[K][N] (+ add), 16 columns at a time. */
INLINE void product(int T, int K, int N, const double *x, int ldx, const double *w, double *y, const double *add) {
    for (int n = 0; n < N; n += 16) {
        v8 y0[12], y1[12];
        UNROLL for (int t = 0; t < T; t++) {
            y0[t] = add ? load(add + t * N + n) : all(0);
            y1[t] = add ? load(add + t * N + n + 8) : all(0);
        }
        for (int k = 0; k < K; k++) {
            v8 w0 = load(w + k * N + n), w1 = load(w + k * N + n + 8);
            UNROLL for (int t = 0; t < T; t++) {
                v8 b = all(x[t * ldx + k]);
                y0[t] += b * w0;
                y1[t] += b * w1;
            }
        }
        UNROLL for (int t = 0; t < T; t++) store(y + t * N + n, y0[t]), store(y + t * N + n + 8, y1[t]);
    }
}

/* g[N][K] (+)= dy[rows][N]^T x[rows][K], in tiles of U rows by 16 columns. */
INLINE void outer_tile(int U, int K, int rows, const double *dy, int ldy, const double *x, double *g, int add) {
    v8 g0[12], g1[12];
    UNROLL for (int u = 0; u < U; u++) {
        g0[u] = add ? load(g + u * K) : all(0);
        g1[u] = add ? load(g + u * K + 8) : all(0);
    }
    for (int t = 0; t < rows; t++) {
        v8 x0 = load(x + t * K), x1 = load(x + t * K + 8);
        UNROLL for (int u = 0; u < U; u++) {
            v8 b = all(dy[t * ldy + u]);
            g0[u] += b * x0;
            g1[u] += b * x1;
        }
    }
    UNROLL for (int u = 0; u < U; u++) store(g + u * K, g0[u]), store(g + u * K + 8, g1[u]);
}

INLINE void outer(int N, int K, int rows, const double *dy, int ldy, const double *x, double *g, int add) {
    for (int k = 0; k < K; k += 16) {
        if (N == V) {
            for (int n = 0; n < V; n += 9) outer_tile(9, K, rows, dy + n, ldy, x + k, g + n * K + k, add);
        } else {
            for (int n = 0; n < N; n += 8) outer_tile(8, K, rows, dy + n, ldy, x + k, g + n * K + k, add);
        }
    }
}

INLINE void rmsnorm(int T, const double *x, double *scale, double *y) {
    double s[16];
    UNROLL for (int t = 0; t < T; t++) {
        v8 a = load(x + t * D), b = load(x + t * D + 8);
        s[t] = total(a * a + b * b);
    }
    for (int t = 0; t < T; t++) s[t] = scale[t] = 1 / sqrt(s[t] * (1.0 / D) + 1e-5);
    UNROLL for (int t = 0; t < T; t++) {
        store(y + t * D, load(x + t * D) * all(s[t]));
        store(y + t * D + 8, load(x + t * D + 8) * all(s[t]));
    }
}

/* dx = (add) + s dy - x s^3 (dy.x)/16 */
INLINE void rmsnorm_back(int T, const double *x, const double *scale, const double *dy, const double *add, double *dx) {
    UNROLL for (int t = 0; t < T; t++) {
        v8 x0 = load(x + t * D), x1 = load(x + t * D + 8), d0 = load(dy + t * D), d1 = load(dy + t * D + 8);
        double s = scale[t], c = total(x0 * d0 + x1 * d1) * s * s * s * (1.0 / D);
        v8 r0 = d0 * all(s) - x0 * all(c), r1 = d1 * all(s) - x1 * all(c);
        store(dx + t * D, add ? load(add + t * D) + r0 : r0);
        store(dx + t * D + 8, add ? load(add + t * D + 8) + r1 : r1);
    }
}

/* Attention runs with a lane for each query; w[h][s] holds the weights that all queries give to key s. */
typedef double Weights[H][12][16];

INLINE void attention(int T, const double *qkv, Weights w, double *a) {
    double qt[D * 16] __attribute__((aligned(64)));
    for (int b = 0; b < T; b += 8)
        for (int d = 0; d < D; d += 8) transpose8(qkv + b * Q + d, Q, qt + d * 16 + b, 16);
    UNROLL for (int b = 0; b < T; b += 8) {
        const int S = T < b + 8 ? T : b + 8;
        for (int h = 0; h < H; h++) {
            v8 q0 = load(qt + h * 64 + b), q1 = load(qt + h * 64 + 16 + b), q2 = load(qt + h * 64 + 32 + b),
               q3 = load(qt + h * 64 + 48 + b), z[12], highest = all(-1e300), sum = all(0);
            UNROLL for (int s = 0; s < S; s++) {
                const double *k = qkv + s * Q + D + 4 * h;
                z[s] = (q0 * all(k[0]) + q1 * all(k[1]) + q2 * all(k[2]) + q3 * all(k[3])) * all(0.5);
                if (s > b) z[s] = (v8)_mm512_mask_mov_pd(_mm512_set1_pd(-1e300), (__mmask8)(0xff << (s - b)), (__m512d)z[s]);
                highest = larger(highest, z[s]);
            }
            UNROLL for (int s = 0; s < S; s++) {
                z[s] = exp8(z[s] - highest);
                if (s > b) z[s] = (v8)_mm512_maskz_mov_pd((__mmask8)(0xff << (s - b)), (__m512d)z[s]);
                sum += z[s];
            }
            sum = all(1) / sum;
            UNROLL for (int s = 0; s < S; s++) store(&w[h][s][b], z[s] * sum);
        }
    }
    UNROLL for (int t = 0; t < T; t++) {
        v4 o[H] = {0};
        UNROLL for (int s = 0; s <= t; s++)
            UNROLL for (int h = 0; h < H; h++) o[h] += *(const v4u *)(qkv + s * Q + 2 * D + 4 * h) * w[h][s][t];
        UNROLL for (int h = 0; h < H; h++) *(v4u *)(a + t * D + 4 * h) = o[h];
    }
}

INLINE void attention_back(int T, const double *qkv, Weights w, const double *da, double *dqkv) {
    double dt[D * 16] __attribute__((aligned(64)));
    Weights dz __attribute__((aligned(64)));
    for (int b = 0; b < T; b += 8)
        for (int d = 0; d < D; d += 8) transpose8(da + b * D + d, D, dt + d * 16 + b, 16);
    UNROLL for (int b = 0; b < T; b += 8) {
        const int S = T < b + 8 ? T : b + 8;
        for (int h = 0; h < H; h++) {
            v8 d0 = load(dt + h * 64 + b), d1 = load(dt + h * 64 + 16 + b), d2 = load(dt + h * 64 + 32 + b),
               d3 = load(dt + h * 64 + 48 + b), dw[12], mean = all(0);
            UNROLL for (int s = 0; s < S; s++) {
                const double *v = qkv + s * Q + 2 * D + 4 * h;
                dw[s] = d0 * all(v[0]) + d1 * all(v[1]) + d2 * all(v[2]) + d3 * all(v[3]);
                mean += dw[s] * load(&w[h][s][b]);
            }
            UNROLL for (int s = 0; s < S; s++) store(&dz[h][s][b], (dw[s] - mean) * load(&w[h][s][b]) * all(0.5));
        }
    }
    UNROLL for (int i = 0; i < T; i++) {
        v4 dq[H] = {0}, dk[H] = {0}, dv[H] = {0};
        UNROLL for (int s = 0; s <= i; s++)
            UNROLL for (int h = 0; h < H; h++) dq[h] += *(const v4u *)(qkv + s * Q + D + 4 * h) * dz[h][s][i];
        UNROLL for (int t = i; t < T; t++)
            UNROLL for (int h = 0; h < H; h++) {
                dk[h] += *(const v4u *)(qkv + t * Q + 4 * h) * dz[h][i][t];
                dv[h] += *(const v4u *)(da + t * D + 4 * h) * w[h][i][t];
            }
        UNROLL for (int h = 0; h < H; h++) {
            *(v4u *)(dqkv + i * Q + 4 * h) = dq[h];
            *(v4u *)(dqkv + i * Q + D + 4 * h) = dk[h];
            *(v4u *)(dqkv + i * Q + 2 * D + 4 * h) = dv[h];
        }
    }
}

/* dlogits (in place of the logits) and the loss, times T. */
INLINE double cross_entropy(int T, double scale, double *z, const int *target) {
    double sum[16], at[16], loss = 0;
    UNROLL for (int t = 0; t < T; t++) {
        double *row = z + t * VP;
        v8 a = load(row), b = load(row + 8), c = load(row + 16),
           d = (v8)_mm512_mask_loadu_pd(_mm512_set1_pd(-1e300), 7, row + 24);
        double highest = _mm512_reduce_max_pd((__m512d)larger(larger(a, b), larger(c, d)));
        v8 h = all(highest);
        a = exp8(a - h), b = exp8(b - h), c = exp8(c - h);
        d = (v8)_mm512_maskz_mov_pd(7, (__m512d)exp8(d - h));
        sum[t] = total((a + b) + (c + d));
        at[t] = highest - row[target[t]];
        v8 f = all(scale / sum[t]);
        store(row, a * f), store(row + 8, b * f), store(row + 16, c * f), store(row + 24, d * f);
        row[target[t]] -= scale;
    }
    for (int t = 0; t < T; t++) loss += log(sum[t]) + at[t];
    return loss;
}

/* Everything but the gradients of the weights, for the name whose rows begin at row o.  Gives the loss. */
INLINE double name(int T, const double *p, const int *tokens, int o, double scale) {
    Weights w __attribute__((aligned(64)));
    double *e = A.e + o * D, *x1 = A.x1 + o * D, *x2 = A.x2 + o * D, *qkv = A.qkv + o * Q, *a = A.a + o * D, *x3 = A.x3 + o * D,
           *x4 = A.x4 + o * D, *r = A.r + o * F, *x5 = A.x5 + o * D, *dz = A.dlogits + o * VP, *dx5 = A.dx5 + o * D,
           *dh = A.dh + o * F, *dx3 = A.dx3 + o * D, *dqkv = A.dqkv + o * Q, dx4[12 * D], da[16 * D], dx2[12 * D], dx1[12 * D];
    UNROLL for (int t = 0; t < T; t++)
        UNROLL for (int i = 0; i < D; i += 8)
            store(e + t * D + i, load(p + WTE + tokens[t] * D + i) + load(p + WPE + t * D + i));
    rmsnorm(T, e, A.s0 + o, x1);
    rmsnorm(T, x1, A.s1 + o, x2);
    product(T, D, Q, x2, D, WT.qkv, qkv, 0);
    attention(T, qkv, w, a);
    product(T, D, D, a, D, WT.wo, x3, x1);
    rmsnorm(T, x3, A.s3 + o, x4);
    product(T, D, F, x4, D, WT.fc1, r, 0);
    UNROLL for (int i = 0; i < T * F; i += 8) store(r + i, larger(load(r + i), all(0)));
    product(T, F, D, r, F, WT.fc2, x5, x3);
    product(T, D, VP, x5, D, WT.lm, dz, 0);
    double loss = cross_entropy(T, scale, dz, tokens + 1);

    product(T, V, D, dz, VP, p + LM, dx5, 0);
    product(T, D, F, dx5, D, p + FC2, dh, 0);
    UNROLL for (int i = 0; i < T * F; i += 8) store(dh + i, where_positive(load(r + i), load(dh + i)));
    product(T, F, D, dh, F, p + FC1, dx4, 0);
    rmsnorm_back(T, x3, A.s3 + o, dx4, dx5, dx3);
    product(T, D, D, dx3, D, p + WO, da, 0);
    memset(da + T * D, 0, (16 - T) * D * sizeof *da); /* lanes without a query hold zeros */
    attention_back(T, qkv, w, da, dqkv);
    product(T, Q, D, dqkv, Q, p + QKV, dx2, 0);
    rmsnorm_back(T, x1, A.s1 + o, dx2, dx3, dx1);
    rmsnorm_back(T, e, A.s0 + o, dx1, 0, A.de + o * D);
    return loss;
}

INLINE void gradients(int rows, double *g, int add) {
    outer(V, D, rows, A.dlogits, VP, A.x5, g + LM, add);
    outer(Q, D, rows, A.dqkv, Q, A.x2, g + QKV, add);
    outer(D, D, rows, A.dx3, D, A.a, g + WO, add);
    outer(F, D, rows, A.dh, F, A.x4, g + FC1, add);
    outer(D, F, rows, A.dx5, D, A.r, g + FC2, add);
}

INLINE void embeddings(int T, const int *tokens, int o, double *g) {
    for (int t = 0; t < T; t++)
        for (int i = 0; i < D; i += 8) {
            v8 de = load(A.de + (o + t) * D + i);
            store(g + WTE + tokens[t] * D + i, load(g + WTE + tokens[t] * D + i) + de);
            store(g + WPE + t * D + i, load(g + WPE + t * D + i) + de);
        }
}

#define LENGTHS(X) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)

#define ONE(T) \
    static __attribute__((noinline)) double name_##T(const double *p, const int *tokens, int o, double scale) { \
        return name(T, p, tokens, o, scale); \
    } \
    static double one_##T(const double *p, const int *tokens, double *g) { \
        double loss = name_##T(p, tokens, 0, 1.0 / T) / T; \
        memset(g, 0, LM * sizeof *g); \
        gradients(T, g, 0); \
        embeddings(T, tokens, 0, g); \
        return loss; \
    } \
    static double many_##T(const double *p, const int *tokens, int names, double *g) { \
        double loss = 0; \
        memset(g, 0, COUNT * sizeof *g); \
        for (int i = 0; i < names; i += CHUNK) { \
            int n = names - i < CHUNK ? names - i : CHUNK; \
            for (int j = 0; j < n; j++) loss += name_##T(p, tokens + (i + j) * (T + 1), j * T, 1.0 / T / names); \
            gradients(n * T, g, 1); \
            for (int j = 0; j < n; j++) embeddings(T, tokens + (i + j) * (T + 1), j * T, g); \
        } \
        return loss / T / names; \
    }
LENGTHS(ONE)

/* One step of Adam for all parameters.  Roots come from their 14-bit estimates and the first terms of the series of what is
   left, since the divider is busy with the quotients; tiny keeps the root of 0 from being 0 * infinity. */
static void adam(double *restrict p, const double *restrict g, double *restrict m, double *restrict v, double lr, double b1,
                 double b2, double eps, double power1, double power2) {
    const v8 rate = all(lr / (1 - power1)), scale = all(1 / sqrt(1 - power2)), tiny = all(1e-200);
    for (int i = 0; i < COUNT; i += 8) {
        v8 gi = load(g + i), mi = load(m + i), vi = load(v + i);
        mi += all(1 - b1) * (gi - mi);
        vi = all(b2) * vi + (all(1 - b2) * gi * gi + tiny);
        store(m + i, mi), store(v + i, vi);
        v8 y = (v8)_mm512_rsqrt14_pd((__m512d)vi), r = vi * y, e = all(1) - r * y;
        r += (r * e) * (all(0.5) + e * (all(0.375) + e * all(0.3125)));
        store(p + i, load(p + i) - rate * mi / (r * scale + all(eps)));
    }
}

typedef struct { double lr, b1, b2, eps, power1, power2; } Adam;

static double grad(const double *p, const int *tokens, int T, double *g) {
    switch (T) {
#define CASE(T) case T: return one_##T(p, tokens, g);
        LENGTHS(CASE)
    }
    return NAN;
}

static double grad_many(const double *p, const int *tokens, int T, int names, double *g) {
    switch (T) {
#define MANY(T) case T: return many_##T(p, tokens, names, g);
        LENGTHS(MANY)
    }
    return NAN;
}

static double g[COUNT + 80] __attribute__((aligned(64)));

/* The mean loss and gradient of ``names`` names of T + 1 tokens. */
double gpt_grad(const double *p, const int *tokens, int T, int names, double *out) {
    transpose_weights(p);
    double loss = names == 1 ? grad(p, tokens, T, g) : grad_many(p, tokens, T, names, g);
    memcpy(out, g, COUNT * sizeof *g);
    return loss;
}

/* Trains on one batch after another; batch i holds ``names`` names of T[i] + 1 tokens.  Gives the last loss. */
double gpt_train(double *p, double *m, double *v, const int *tokens, const int *T, int batches, int names, Adam *s) {
    double loss = 0;
    for (int i = 0; i < batches; i++) {
        s->power1 *= s->b1, s->power2 *= s->b2;
        transpose_weights(p);
        loss = names == 1 ? grad(p, tokens, T[i], g) : grad_many(p, tokens, T[i], names, g);
        adam(p, g, m, v, s->lr, s->b1, s->b2, s->eps, s->power1, s->power2);
        tokens += names * (T[i] + 1);
    }
    return loss;
}

/* The parts alone, to see where the time goes. */
void gpt_part(int part, double *p, double *m, double *v, const int *tokens, int T, int times) {
    for (int i = 0; i < times; i++) {
        if (part == 0) transpose_weights(p);
        if (part == 1) adam(p, g, m, v, 1e-9, 0.85, 0.99, 1e-8, 0.5, 0.5);
        if (part == 2) grad(p, tokens, T, g);
        if (part == 3) gradients(T, g, 0);
    }
}
