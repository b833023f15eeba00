/* The arithmetic Asian call by hand: forward and adjoint over blocks of paths, a lane for each path.
   Normals lie as z[path][step]; they are turned in registers, eight by eight.  With LIBMVEC exp is glibc's vector
   function; without, the polynomial below, in line. */

#include <immintrin.h>
#include <math.h>

typedef double v8 __attribute__((vector_size(64)));
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#ifndef BLOCK
#define BLOCK 1 /* vectors of 8 paths */
#endif
enum { MOST = 1024 };

INLINE v8 all(double x) { return (v8)_mm512_set1_pd(x); }

#ifdef LIBMVEC
__m512d _ZGVeN8v_exp(__m512d);
INLINE v8 exp8(v8 x) { return (v8)_ZGVeN8v_exp((__m512d)x); }
#else
/* exp by eighths of a power of two: exp(x) = 2^(n/8) exp(r), |r| <= log(2)/16; scalef takes the floor of n/8 itself. */
INLINE v8 exp8(v8 x) {
    const v8 shift = all(0x1.8p52);
    const __m512d eighths = _mm512_set_pd(0x1.d5818dcfba487p+0, 0x1.ae89f995ad3adp+0, 0x1.8ace5422aa0dbp+0, 0x1.6a09e667f3bcdp+0,
                                          0x1.4bfdad5362a27p+0, 0x1.306fe0a31b715p+0, 0x1.172b83c7d517bp+0, 1.0);
    __m512d k = _mm512_fmadd_pd((__m512d)x, _mm512_set1_pd(8 * 1.4426950408889634), (__m512d)shift);
    __m512d n = _mm512_sub_pd(k, (__m512d)shift);
    v8 r = (v8)_mm512_fnmadd_pd(n, _mm512_set1_pd(6.93147180369123816490e-01 / 8), (__m512d)x);
    r = (v8)_mm512_fnmadd_pd(n, _mm512_set1_pd(1.90821492927058770002e-10 / 8), (__m512d)r);
    v8 r2 = r * r;
    v8 p = (all(1.0) + r) + r2 * ((all(0.5) + r * all(1.0 / 6)) +
                                  r2 * ((all(1.0 / 24) + r * all(1.0 / 120)) + r2 * (all(1.0 / 720) + r * all(1.0 / 5040))));
    p *= (v8)_mm512_permutexvar_pd((__m512i)k, eighths);
    return (v8)_mm512_scalef_pd((__m512d)p, _mm512_mul_pd(n, _mm512_set1_pd(0.125)));
}
#endif

/* Columns t to t+7 of eight rows, as eight vectors of one column each. */
INLINE void turn(const double *z, int steps, __mmask8 columns, v8 *out) {
    __m512d r[8], s[8], t[8];
    UNROLL for (int i = 0; i < 8; i++) r[i] = _mm512_maskz_loadu_pd(columns, z + (long)i * steps);
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
        out[i] = (v8)_mm512_shuffle_f64x2(t[i], t[i + 4], 0x88);
        out[i + 4] = (v8)_mm512_shuffle_f64x2(t[i], t[i + 4], 0xdd);
    }
}

/* The sums over 8 * BLOCK paths of the payoff and its derivatives by spot, volatility and rate are added to out.
   The adjoint of a step's exponent is its price times the weight of prices, plus the adjoint of the next exponent. */
static void block(const double *market, const double *z, int steps, v8 out[4]) {
    static v8 turned[MOST][BLOCK], price[MOST][BLOCK];
    const double spot = market[0], sigma = market[1], r = market[2], dt = 1.0 / steps, root = sqrt(dt);
    const v8 drift = all((r - 0.5 * sigma * sigma) * dt), noise = all(sigma * root), discount = all(exp(-r)), none = {0};
    v8 s[BLOCK], total[BLOCK], bar[BLOCK], a[BLOCK], by_a[BLOCK], by_az[BLOCK];
    UNROLL for (int b = 0; b < BLOCK; b++) s[b] = all(spot), total[b] = none;
    for (int t = 0; t < steps; t += 8) {
        const int n = steps - t < 8 ? steps - t : 8;
        UNROLL for (int b = 0; b < BLOCK; b++) {
            v8 column[8];
            turn(z + (long)b * 8 * steps + t, steps, (__mmask8)((1 << n) - 1), column);
            UNROLL for (int i = 0; i < 8; i++) {
                turned[t + i][b] = column[i];
                price[t + i][b] = s[b] *= exp8(drift + noise * column[i]);
                if (i < n) total[b] += s[b];
            }
        }
    }
    UNROLL for (int b = 0; b < BLOCK; b++) {
        v8 gain = total[b] * all(1.0 / steps) - all(100.0);
        __mmask8 in = _mm512_cmp_pd_mask((__m512d)gain, _mm512_setzero_pd(), _CMP_GT_OQ);
        gain = (v8)_mm512_maskz_mov_pd(in, (__m512d)(gain * discount));
        out[0] += gain, out[3] -= gain;
        bar[b] = (v8)_mm512_maskz_mov_pd(in, (__m512d)(discount * all(1.0 / steps)));
        a[b] = by_a[b] = by_az[b] = none;
    }
    const char *next = (const char *)(z + (long)BLOCK * 8 * steps);
    for (int t = steps - 1; t >= 0; t--)
        UNROLL for (int b = 0; b < BLOCK; b++) {
            _mm_prefetch(next, _MM_HINT_T0), next += 64;
            a[b] += bar[b] * price[t][b];
            by_a[b] += a[b];
            by_az[b] += a[b] * turned[t][b];
        }
    UNROLL for (int b = 0; b < BLOCK; b++) {
        out[1] += a[b] * all(1 / spot);
        out[2] += by_az[b] * all(root) - by_a[b] * all(sigma * dt);
        out[3] += by_a[b] * all(dt);
    }
}

/* The means over paths; their count is a multiple of 8 * BLOCK. */
void asian(const double *market, const double *z, long paths, int steps, double *out) {
    v8 sums[4] = {{0}};
    for (long i = 0; i < paths; i += 8 * BLOCK) block(market, z + i * steps, steps, sums);
    for (int i = 0; i < 4; i++) out[i] = _mm512_reduce_add_pd((__m512d)sums[i]) / paths;
}
