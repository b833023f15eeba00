//@ base: needs
// `real` is defined before this text. What a compiler may not choose, whether a * b + c is rounded once, is written mg_fma
// wherever numbers must be the same in every program; nothing below is wrong where there is no such instruction. Selections
// are conditional expressions of what was computed before, so that loops over lanes vectorise.
#include <stdint.h>
#include <string.h>
#define MG_IS_float 1
#define MG_IS_double 0
#define MG_PASTE_(a, b) a##b
#define MG_PASTE(a, b) MG_PASTE_(a, b)
#define MG_TEST(type) MG_PASTE(MG_IS_, type)
#define MG_FLOAT MG_TEST(real)
#define MG_INLINE static inline __attribute__((unused, always_inline))  // as loops with calls do not vectorise
#if MG_FLOAT
typedef int32_t mg_int;
typedef uint32_t mg_uint;
#define MG_LIBM(name) __builtin_##name##f  // of the C library, without the headers that take long to read
#define MG_NUMBER(c) c##f
#define MG_DIGITS 23    // bits of the stored significand
#define MG_BIAS 127     // of the exponent
#define MG_INFINITY __builtin_inff()
#define MG_NAN __builtin_nanf("")
#else
typedef int64_t mg_int;
typedef uint64_t mg_uint;
#define MG_LIBM(name) __builtin_##name
#define MG_NUMBER(c) c
#define MG_DIGITS 52
#define MG_BIAS 1023
#define MG_INFINITY __builtin_inf()
#define MG_NAN __builtin_nan("")
#endif

MG_INLINE mg_uint mg_bits(real x) {
  mg_uint u;
  memcpy(&u, &x, sizeof u);
  return u;
}
MG_INLINE real mg_real(mg_uint u) {
  real x;
  memcpy(&x, &u, sizeof x);
  return x;
}
MG_INLINE real mg_abs(real x) { return MG_LIBM(fabs)(x); }
MG_INLINE real mg_sqrt(real x) { return MG_LIBM(sqrt)(x); }
// a * b + c rounded once, where that is as fast.
#if defined(__FP_FAST_FMA) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define MG_FMA(a, b, c) __builtin_fma(a, b, c)
#else
#define MG_FMA(a, b, c) ((a) * (b) + (c))
#endif
#if MG_FLOAT && (defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA))
MG_INLINE real mg_fma(real a, real b, real c) { return __builtin_fmaf(a, b, c); }
#elif MG_FLOAT
MG_INLINE real mg_fma(real a, real b, real c) { return a * b + c; }
#else
MG_INLINE real mg_fma(real a, real b, real c) { return MG_FMA(a, b, c); }
#endif
#ifndef MG_EXACT
#define MG_KEPT(x)
#elif defined(__SSE2__)  // compilers make -(x * y + z) of a fused operation into -x * y - z, which may be the other zero
#define MG_KEPT(x) __asm__("" : "+x"(x));
#elif defined(__aarch64__)
#define MG_KEPT(x) __asm__("" : "+w"(x));
#else
#define MG_KEPT(x) { volatile real kept = x; x = kept; }
#endif
MG_INLINE real mg_kept(real x) {  // a fused sum that may be negated
  MG_KEPT(x)
  return x;
}
MG_INLINE real mg_sign_of(real x, real sign) { return MG_LIBM(copysign)(x, sign); }
MG_INLINE real mg_larger(real a, real b) { return a > b || a != a ? a : b; }
MG_INLINE real mg_root(real a) { return a == -MG_INFINITY ? MG_INFINITY : mg_sqrt(a) + 0; }

//@ reduce: needs base
// x = k log 2 + r, |r| <= log(2)/2, by Cody and Waite's two-part constant; adding 1.5 * 2^digits rounds to the nearest
// integer and leaves it, plus `offset`, in the low bits of the sum. expm1(r) = r + r^2 q(r), q minimax (Chebyshev nodes, 40
// digits).
#if MG_FLOAT
#define MG_LN2_HIGH 0.693145752f
#define MG_LN2_LOW 1.42860677e-06f
#define MG_ROUND 12582912.0f
#else
#define MG_LN2_HIGH 0.6931471803691238
#define MG_LN2_LOW 1.9082149292705877e-10
#define MG_ROUND 6755399441055744.0
#endif
MG_INLINE mg_uint mg_reduce(real x, int offset, real *r, real *low) {  // r + low, rounded twice over
  real z = mg_fma(x, MG_NUMBER(1.4426950408889634), MG_ROUND + (real)offset);
  real n = z - (MG_ROUND + (real)offset);
  real high = mg_fma(-n, MG_LN2_HIGH, x);
  *r = mg_fma(-n, MG_LN2_LOW, high);
  *low = mg_fma(-n, MG_LN2_LOW, high - *r);
  return mg_bits(z);
}
MG_INLINE real mg_expm1_tail(real r) {  // q(r)
#if MG_FLOAT
  real s = r * r;
  return mg_fma(s, mg_fma(s, 0.0013926184f, mg_fma(0.00836317893f, r, 0.0416665561f)), mg_fma(0.166665763f, r, 0.5f));
#else
  real s = r * r, t = s * s;
  real a = mg_fma(0.16666666666666669, r, 0.5000000000000001), b = mg_fma(0.008333333333330062, r, 0.04166666666662413);
  real c = mg_fma(0.00019841269863053618, r, 0.0013888888917213717);
  real d = mg_fma(2.7557268459997064e-06, r, 2.4801521295954376e-05);
  real e = mg_fma(2.510038549551032e-08, r, 2.7620088445409746e-07);
  return mg_fma(t, mg_fma(t, e, mg_fma(s, d, c)), mg_fma(s, b, a));
#endif
}

//@ exp: needs base reduce
// exp(x) = 2^k exp(r); the power is applied as two factors, so that results overflow to inf and underflow gradually.
MG_INLINE real mg_exp(real x) {
  const real high = MG_FLOAT ? (real)100 : (real)720, low = MG_FLOAT ? (real)-110 : (real)-760;
  real r, lost, y = high < x ? high : x;
  y = low > y ? low : y;
  mg_uint u = mg_reduce(y, 2 * MG_BIAS, &r, &lost);
  mg_uint half = (u >> 1) << MG_DIGITS, rest = (u << MG_DIGITS) - half;
  real p = 1 + mg_fma(r * r, mg_expm1_tail(r), r);
  return p * mg_real(half) * mg_real(rest);
}

//@ expm1: needs base reduce
// expm1(x) = 2^k expm1(r) + (2^k - 1), with the power as two factors.
MG_INLINE real mg_expm1(real x) {
  const real high = MG_FLOAT ? (real)100 : (real)720;
  real r, lost, y = high < x ? high : x;
  y = -50 > y ? -50 : y;
  mg_uint u = mg_reduce(y, 2 * MG_BIAS, &r, &lost);
  mg_uint half = (u >> 1) << MG_DIGITS, rest = (u << MG_DIGITS) - half;
  real a = mg_real(half), b = mg_real(rest), c = mg_real(((mg_uint)(2 * MG_BIAS) << MG_DIGITS) - rest);  // c = 1/b
  real tail = mg_fma(r * r, mg_expm1_tail(r), lost);
  return mg_sign_of(mg_fma(a, tail, mg_fma(a, r, a - c)) * b, x);
}

//@ tanh: needs base reduce
// With e = expm1(2|x|): e / (e + 2), and where that is above 1/2, 1 - 2 / (e + 2). From 22 (10 in single precision) on it
// rounds to 1.
MG_INLINE real mg_tanh(real x) {
  const real high = MG_FLOAT ? (real)10 : (real)22;
  real r, lost, y = mg_abs(x);
  y = high < y ? high : y;
  mg_uint u = mg_reduce(y + y, MG_BIAS, &r, &lost);
  real a = mg_real(u << MG_DIGITS);
  real e = mg_fma(a, mg_fma(r * r, mg_expm1_tail(r), lost), mg_fma(a, r, a - 1));
  real whole = y > (real)0.55 ? 1 : 0, part = y > (real)0.55 ? -2 : e;
  return mg_sign_of(whole + part / (e + 2), x);
}

//@ hyperbolic: needs base reduce
// |x| = k log 2 + r: sinh = S cosh(r) + C sinh(r) and cosh = C cosh(r) + S sinh(r), where C and S = (2^k +- 2^-k) / 2 are
// exact to within their rounding; the even and odd parts of exp(r) are minimax in r^2.
MG_INLINE real mg_hyperbolic(real x, int odd) {
  const real high = MG_FLOAT ? (real)100 : (real)720;
  real r, lost, y = mg_abs(x);
  y = high < y ? high : y;
  mg_uint u = mg_reduce(y, 2 * MG_BIAS, &r, &lost), twice = (mg_uint)(2 * MG_BIAS) << MG_DIGITS;
  mg_uint half = (u >> 1) << MG_DIGITS, rest = (u << MG_DIGITS) - half;
  real m = mg_real(twice - half) * mg_real(twice - rest);
  m = m * m;  // 4^-k
  real c = odd ? 1 - m : 1 + m, s = odd ? 1 + m : 1 - m, z = r * r;
#if MG_FLOAT
  real even = z * mg_fma(z, mg_fma(z, 0.00139187195f, 0.0416666232f), 0.5f);
  real tail = mg_fma(r * z, mg_fma(z, mg_fma(z, 0.000198909911f, 0.00833331048f), 0.166666672f), lost);
#else
  real w = z * z;
  real a = mg_fma(z, 0.0013888888897950404, 0.041666666666663264), b = mg_fma(z, 2.760752631395231e-07, 2.4801549592617552e-05);
  real even = z * (0.5 + mg_fma(z, a, w * z * b));
  real d = mg_fma(z, 0.008333333333330062, 0.16666666666666669), e = mg_fma(z, 2.7557268459997064e-06, 0.00019841269863053618);
  real tail = mg_fma(r * z, mg_fma(w, mg_fma(w, 2.510038549551032e-08, e), d), lost);
#endif
  return ((mg_fma(s, r, c) + mg_fma(c, even, s * tail)) * (real)0.5 * mg_real(half)) * mg_real(rest);
}

//@ sinh: needs base reduce hyperbolic
MG_INLINE real mg_sinh(real x) { return mg_sign_of(mg_hyperbolic(x, 1), x); }

//@ cosh: needs base reduce hyperbolic
MG_INLINE real mg_cosh(real x) { return mg_hyperbolic(x, 0); }

//@ logparts: needs base reduce
// x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2); log(1 + f) = 2 atanh(s), s = f / (2 + f), which is
// f - (f^2/2 - s (f^2/2 + s^2 R(s^2))) with R minimax (the rearrangement of the FreeBSD libm's e_log.c).
#if MG_FLOAT
#define MG_SQRT_HALF 0x3f3504f3u
#define MG_FRACTION 0x007fffffu
#define MG_TWO_DIGITS 8388608.0f
#define MG_TINY 1.17549435e-38f
MG_INLINE real mg_log_r(real z) {
  return mg_fma(z, mg_fma(z, mg_fma(z, 0.233316138f, 0.285507798f), 0.400001228f), 0.666666687f);
}
#else
#define MG_SQRT_HALF 0x3fe6a09e667f3bcdu
#define MG_FRACTION 0x000fffffffffffffu
#define MG_TWO_DIGITS 4503599627370496.0
#define MG_TINY 2.2250738585072014e-308
MG_INLINE real mg_log_r(real z) {
  real w = z * z;
  real a = mg_fma(z, 0.3999999999989889, 0.666666666666667), b = mg_fma(z, 0.22222211089379496, 0.28571428626253836);
  real c = mg_fma(z, 0.15331611722055008, 0.1818289243253687);
  return mg_fma(w, mg_fma(w, mg_fma(w, 0.14617807153417325, c), b), a);
}
#endif
#define MG_ONE ((mg_uint)MG_BIAS << MG_DIGITS)
MG_INLINE void mg_log_split(real x, real *k, real *f) {
  real scaled = x < MG_TINY ? x * (4 * MG_TWO_DIGITS) : x;
  real shift = x < MG_TINY ? (real)(MG_BIAS + MG_DIGITS + 2) : (real)MG_BIAS;
  mg_uint u = mg_bits(scaled) + (MG_ONE - MG_SQRT_HALF);
  *k = (mg_real((u >> MG_DIGITS) | mg_bits(MG_TWO_DIGITS)) - MG_TWO_DIGITS) - shift;
  *f = mg_real((u & MG_FRACTION) + MG_SQRT_HALF) - 1;
}
// log of 2^k (1 + f): k times log 2 in two parts.
MG_INLINE real mg_log_joined(real k, real f) {
  real s = f / (2 + f), z = s * s, h = (real)0.5 * f * f;
  return mg_fma(k, MG_LN2_HIGH, -((h - mg_fma(s, mg_fma(z, mg_log_r(z), h), k * MG_LN2_LOW)) - f));
}
MG_INLINE real mg_log_ends(real x, real y) {  // y, except at the ends of the domain and outside it
  y = x > 0 ? y : (x == 0 ? -MG_INFINITY : MG_NAN);
  return x < MG_INFINITY ? y : x;
}

//@ log: needs base reduce logparts
MG_INLINE real mg_log(real x) {
  real k, f;
  mg_log_split(x, &k, &f);
  return mg_log_ends(x, mg_log_joined(k, f));
}

//@ log1p: needs base reduce logparts
// log(1 + x) with what the rounding of u = 1 + x lost added to the fraction: f + (x - (u - 1)) / 2^k.
MG_INLINE real mg_log1p(real x) {
  real k, f, u = 1 + x;
  mg_log_split(u, &k, &f);
  real lost = x < 1 ? x - (u - 1) : 1 - (u - x);
  real scale = mg_real((mg_uint)MG_ONE - (mg_bits(k + (MG_ROUND)) << MG_DIGITS));
  real whole = mg_fma(lost, scale, f);
  f = x < 2 * MG_TWO_DIGITS ? whole : f;
  real y = mg_log_ends(u, mg_log_joined(k, f));
  return x == 0 ? x : y;
}

//@ logbase: needs base reduce logparts
// log(1 + f) as two parts, the first short enough to be multiplied by a short constant without rounding (FreeBSD's
// e_log2.c): k `unit` + log(1 + f) `inverse`, where both constants are split in two.
#if MG_FLOAT
#define MG_LOG2E_HIGH 1.4423828125f
#define MG_LOG2E_LOW 0.00031222838896340733f
#define MG_LOG10E_HIGH 0.4342041015625f
#define MG_LOG10E_LOW 9.038034075182765e-05f
#define MG_LOG10_2_HIGH 0.301025390625f
#define MG_LOG10_2_LOW 4.605038981195214e-06f
#define MG_SHORT 0xfffff000u
#else
#define MG_LOG2E_HIGH 1.4426950407214463
#define MG_LOG2E_LOW 1.6751713164886512e-10
#define MG_LOG10E_HIGH 0.4342944818781689
#define MG_LOG10E_LOW 2.5082946711645275e-11
#define MG_LOG10_2_HIGH 0.3010299955494702
#define MG_LOG10_2_LOW 1.1451100898021838e-10
#define MG_SHORT 0xffffffff00000000u
#endif
MG_INLINE real mg_log_base(real x, real unit, real unit_low, real inverse, real inverse_low) {
  real k, f;
  mg_log_split(x, &k, &f);
  real s = f / (2 + f), z = s * s, h = (real)0.5 * f * f;
  real high = mg_real(mg_bits(f - h) & MG_SHORT), low = mg_fma(s, mg_fma(z, mg_log_r(z), h), (f - high) - h);
  real whole = k * unit, part = high * inverse, sum = whole + part;
  real rest = mg_fma(low + high, inverse_low, low * inverse) + mg_fma(k, unit_low, (whole - sum) + part);
  return mg_log_ends(x, sum + rest);
}

//@ log2: needs base reduce logparts logbase
MG_INLINE real mg_log2(real x) { return mg_log_base(x, 1, 0, MG_LOG2E_HIGH, MG_LOG2E_LOW); }

//@ log10: needs base reduce logparts logbase
MG_INLINE real mg_log10(real x) { return mg_log_base(x, MG_LOG10_2_HIGH, MG_LOG10_2_LOW, MG_LOG10E_HIGH, MG_LOG10E_LOW); }

//@ asinh: needs base reduce logparts log1p
// log1p(y + y^2 / (1 + sqrt(1 + y^2))), y = |x|; where 1 no longer counts, log(y) + log(2).
MG_INLINE real mg_asinh(real x) {
  const real far = MG_FLOAT ? (real)1e9 : (real)1e17;
  real y = mg_abs(x), z = y < far ? y * y : 1;
  real t = y < far ? y + z / (1 + mg_sqrt(1 + z)) : y;
  return mg_sign_of(mg_log1p(t) + (y < far ? 0 : MG_NUMBER(0.6931471805599453)), x);
}

//@ acosh: needs base reduce logparts log1p
// log1p(t + sqrt(t^2 + 2 t)), t = x - 1; where 1 no longer counts, log(x) + log(2).
MG_INLINE real mg_acosh(real x) {
  const real far = MG_FLOAT ? (real)1e9 : (real)1e17;
  real t = x < far ? x - 1 : 1;
  real root = mg_sqrt(mg_fma(t, t, 2 * t));
  t = x < far ? t + root : x;
  real y = mg_log1p(t) + (x < far ? 0 : MG_NUMBER(0.6931471805599453));
  return x < 1 ? MG_NAN : y;
}

//@ atanh: needs base reduce logparts log1p
// log1p(2 y + 2 y^2 / (1 - y)) / 2, y = |x|.
MG_INLINE real mg_atanh(real x) {
  real y = mg_abs(x), twice = y + y;
  real found = mg_sign_of((real)0.5 * mg_log1p(twice + twice * y / (1 - y)), x);
  return y > 1 ? MG_NAN : found;
}

//@ atan: needs base
// |x| above tan(3 pi/8), between, or below tan(pi/8): atan(x) = pi/2 - atan(1/x), pi/4 + atan((x - 1) / (x + 1)), or itself;
// then atan(t) = t + t^3 P(t^2), P minimax.
MG_INLINE real mg_atan(real x) {
  real y = mg_abs(x);
  real top = y > MG_NUMBER(2.414213562373095) ? -1 : (y > MG_NUMBER(0.41421356237309503) ? y - 1 : y);
  real bottom = y > MG_NUMBER(2.414213562373095) ? y : (y > MG_NUMBER(0.41421356237309503) ? y + 1 : 1);
#if MG_FLOAT
  real base = y > 2.41421356f ? 1.57079637f : (y > 0.414213568f ? 0.785398185f : 0);
  real low = y > 2.41421356f ? -4.37113883e-08f : (y > 0.414213568f ? -2.18556941e-08f : 0);
  real t = top / bottom, z = t * t;
  real p = mg_fma(z, mg_fma(z, -0.0645171851f, 0.107436687f), -0.142639503f);
  p = mg_fma(z, mg_fma(z, p, 0.199995399f), -0.333333313f);
#else
  real base = y > 2.414213562373095 ? 1.5707963267948966 : (y > 0.41421356237309503 ? 0.7853981633974483 : 0);
  real low = y > 2.414213562373095 ? 6.123233995736766e-17 : (y > 0.41421356237309503 ? 3.061616997868383e-17 : 0);
  real t = top / bottom, z = t * t, w = z * z, v = w * w;
  real a = mg_fma(w, mg_fma(z, 0.11111111015187018, -0.14285714284665682), mg_fma(z, 0.19999999999995516, -0.3333333333333333));
  real b = mg_fma(w, mg_fma(z, 0.05858140904866328, -0.06664510525508936), mg_fma(z, 0.07692183125376892, -0.0909090457530649));
  real c = mg_fma(w, -0.019175404711104935, mg_fma(z, 0.03923044778479309, -0.050854078345894844));
  real p = mg_fma(v, mg_fma(v, c, b), a);
#endif
  return mg_sign_of(base + (t + mg_fma(t * z, p, low)), x);
}

//@ asinparts: needs base
// asin(r) = r + r z P(z) with z = r^2 up to 1/4, P minimax; beyond |x| = 1/2, asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)).
#if MG_FLOAT
#define MG_HALF_PI 1.57079637f
#define MG_HALF_PI_LOW -4.37113883e-08f
#else
#define MG_HALF_PI 1.5707963267948966
#define MG_HALF_PI_LOW 6.123233995736766e-17
#endif
MG_INLINE real mg_asin_parts(real y, real *cube, real *ratio) {  // r, and r z and P(z)
  real z = y > (real)0.5 ? (1 - y) * (real)0.5 : y * y, r = y > (real)0.5 ? mg_sqrt(z) : y;
#if MG_FLOAT
  real p = mg_fma(z, mg_fma(z, 0.0380939618f, 0.0265506636f), 0.0450018942f);
  p = mg_fma(z, mg_fma(z, p, 0.0749885291f), 0.166666731f);
#else
  real w = z * z, v = w * w;
  real a = mg_fma(w, mg_fma(z, 0.030381947379559158, 0.04464285710323956), mg_fma(z, 0.07500000000020869, 0.1666666666666665));
  real b = mg_fma(z, 0.01735526856395352, 0.022372047201808885);
  b = mg_fma(w, mg_fma(z, 0.011876344296279416, 0.013929545950485803), b);
  real c = mg_fma(z, 0.01604912458494932, 0.0077986264075622334);
  c = mg_fma(w, mg_fma(z, 0.028187667142318098, -0.010773195325585556), c);
  real p = mg_fma(v, mg_fma(v, c, b), a);
#endif
  *cube = r * z, *ratio = p;
  return r;
}

//@ asin: needs base asinparts
MG_INLINE real mg_asin(real x) {
  real y = mg_abs(x), cube, p, r = mg_asin_parts(y, &cube, &p);
  real near = mg_fma(cube, p, r), far = mg_fma(-2, r, MG_HALF_PI) - mg_fma(2, cube * p, -MG_HALF_PI_LOW);
  return mg_sign_of(y > (real)0.5 ? far : near, x);
}

//@ acos: needs base asinparts
MG_INLINE real mg_acos(real x) {
  real y = mg_abs(x), cube, p, r = mg_asin_parts(y, &cube, &p), tail = cube * p;
  real far = x > 0 ? 2 * (r + tail) : 2 * ((MG_HALF_PI - r) - (tail - MG_HALF_PI_LOW));
  real s = mg_sign_of(r, x), near = MG_HALF_PI - (s - (MG_HALF_PI_LOW - mg_sign_of(tail, x)));
  return y > (real)0.5 ? far : near;
}

//@ circular: needs base
// x = k pi/2 + r + low by Cody and Waite's three-part constant (33, 33 and 53 bits), good for |x| up to MG_NEAR; beyond it
// only a reduction with as many bits as x has is right, and libm has that. In double precision for both types of `real`.
// mg_sin_near, mg_cos_near and mg_tan_near have no branch, for loops; mg_far(n, x) tells whether an array has anything
// beyond MG_NEAR; mg_sin, mg_cos and mg_tan are right for every x but do not vectorise.
#define MG_NEAR 100000
// The quadrant, and the sine and cosine of r in two parts each.
MG_INLINE uint64_t mg_circle(double x, double *s, double *s_low, double *c, double *c_low) {
  double shifted = MG_FMA(x, 0.6366197723675814, 6755399441055744.0), k = shifted - 6755399441055744.0;
  double a = MG_FMA(-k, 1.5707963267341256, x), b = MG_FMA(-k, 6.077100506303966e-11, a);
  double lost = MG_FMA(-k, 2.0222662487959506e-21, MG_FMA(-k, 6.077100506303966e-11, a - b));
  double r = b + lost, low = (b - r) + lost, z = r * r, w = z * z;
  double p1 = MG_FMA(z, 2.755731610068303e-06, -0.0001984126983675497);
  double p2 = MG_FMA(z, 1.591810123027412e-10, -2.5051131455427946e-08);
  double p = MG_FMA(w, MG_FMA(w, p2, p1), MG_FMA(z, 0.008333333333330946, -0.16666666666666666));
  double q1 = MG_FMA(z, -2.7557317270560326e-07, 2.4801587298763433e-05);
  double q2 = MG_FMA(z, -1.1382614868556325e-11, 2.0876146024689747e-09);
  double q = MG_FMA(w, MG_FMA(w, q2, q1), MG_FMA(z, -0.0013888888888887395, 0.041666666666666664));
  double h = 0.5 * z, tail = MG_FMA(r * z, p, MG_FMA(-low, h, low));
  double one = MG_FMA(-0.5, z, 1), rest = MG_FMA(-0.5, z, 1 - one) + MG_FMA(w, q, -(r * low));
  *s = r + tail;
  *s_low = (r - *s) + tail;
  *c = one + rest;
  *c_low = (one - *c) + rest;
  uint64_t quadrant;
  memcpy(&quadrant, &shifted, sizeof quadrant);
  return quadrant;
}
MG_INLINE double mg_circle_pick(double s, double c, uint64_t quadrant) {
  double y = quadrant & 1 ? c : s;
  return quadrant & 2 ? -y : y;
}
MG_INLINE int mg_far(int n, const real *x) {
  int far = 0;
  for (int i = 0; i < n; i++) far |= mg_abs(x[i]) > MG_NEAR;
  return far;
}

//@ sin: needs base circular
MG_INLINE real mg_sin_near(real x) {
  double s, c, s_low, c_low;
  uint64_t quadrant = mg_circle(x, &s, &s_low, &c, &c_low);
  real y = (real)mg_circle_pick(s, c, quadrant);
  return x == 0 ? x : y;
}
MG_INLINE real mg_sin(real x) { return mg_abs(x) > MG_NEAR ? MG_LIBM(sin)(x) : mg_sin_near(x); }

//@ cos: needs base circular
MG_INLINE real mg_cos_near(real x) {
  double s, c, s_low, c_low;
  uint64_t quadrant = mg_circle(x, &s, &s_low, &c, &c_low);
  return (real)mg_circle_pick(s, c, quadrant + 1);
}
MG_INLINE real mg_cos(real x) { return mg_abs(x) > MG_NEAR ? MG_LIBM(cos)(x) : mg_cos_near(x); }

//@ tan: needs base circular
// The quotient with what the roundings of its two parts lost.
MG_INLINE real mg_tan_near(real x) {
  double s, c, s_low, c_low;
  uint64_t quadrant = mg_circle(x, &s, &s_low, &c, &c_low);
  double top = quadrant & 1 ? -c : s, top_low = quadrant & 1 ? -c_low : s_low;
  double bottom = quadrant & 1 ? s : c, bottom_low = quadrant & 1 ? s_low : c_low, t = top / bottom;
  real y = (real)(t + MG_FMA(-t, bottom_low, top_low) / bottom);
  return x == 0 ? x : y;
}
MG_INLINE real mg_tan(real x) { return mg_abs(x) > MG_NEAR ? MG_LIBM(tan)(x) : mg_tan_near(x); }

//@ atan2: needs base
MG_INLINE real mg_atan2(real y, real x) { return MG_LIBM(atan2)(y, x); }

//@ erf: needs base reduce exp
// Below 1, y + y P(y^2); from 1 on, 1 - exp(-y^2) Q(v) with v linear in 1 / (y + 3), or 1 / (y + 2) in single precision,
// which makes exp(y^2) erfc(y) nearly a polynomial. P and Q are minimax. From 6 (4 in single precision) on it rounds to 1.
MG_INLINE real mg_erf(real x) {
  const real high = MG_FLOAT ? 4 : 6;
  real y = mg_abs(x);
  y = high < y ? high : y;
  real z = y * y;
#if MG_FLOAT
  real tail = mg_fma(z, mg_fma(z, mg_fma(z, 7.87587487e-05f, -0.00080168643f), 0.00518908724f), -0.0268542115f);
  real near = mg_fma(z, mg_fma(z, mg_fma(z, tail, 0.112835944f), -0.37612626f), 0.128379166f);
  real v = 12 / (y + 2) - 3, v2 = v * v;
  real d = mg_fma(v, 0.142395303f, 0.255395651f), e = mg_fma(v, 0.00292488723f, 0.0268515591f);
  real far = mg_fma(v2, mg_fma(v2, mg_fma(v, -2.81373123e-05f, 4.43539575e-05f), e), d);
#else
  real w = z * z, u = w * w;
  real a = mg_fma(z, -0.37612638903183543, 0.12837916709551256);
  a = mg_fma(w, mg_fma(z, -0.02686617064323777, 0.11283791670945006), a);
  real b = mg_fma(z, -0.0008548325975389692, 0.0052239776071164225);
  b = mg_fma(w, mg_fma(z, -1.492473690741966e-05, 0.00012055294904839707), b);
  real c = mg_fma(z, -1.6208483801871705e-07, 1.6447424703317362e-06);
  c = mg_fma(w, mg_fma(z, -7.795898827002142e-10, 1.3720064546777686e-08), c);
  real near = mg_fma(u, mg_fma(u, c, b), a);
  real v = 14.4 / (y + 3) - 2.6, v2 = v * v, v4 = v2 * v2;
  real d = mg_fma(v, 0.15436117429436919, 0.20798329133342885);
  d = mg_fma(v2, mg_fma(v, 0.012713147695692198, 0.04969844540339464), d);
  real e = mg_fma(v, 0.0003316029605764125, 0.002479314697078186);
  e = mg_fma(v2, mg_fma(v, -2.4255574719050315e-06, 1.9563583246137112e-05), e);
  real f = mg_fma(v, 4.526700764248741e-09, -5.541274478467714e-07);
  f = mg_fma(v2, mg_fma(v, 2.6381508985080735e-10, 1.1339538061744706e-08), f);
  real g = mg_fma(v2, 6.0857915906870915e-12, mg_fma(v, -6.047405945991704e-12, -2.571511429603255e-10));
  real far = mg_fma(v4 * v4, mg_fma(v4, g, f), mg_fma(v4, e, d));
#endif
  near = mg_fma(y, near, y), far = mg_fma(-mg_exp(-z), far, 1);
  return mg_sign_of(y < 1 ? near : far, x);
}

//@ erfc: needs base
MG_INLINE real mg_erfc(real x) { return MG_LIBM(erfc)(x); }

//@ hypot: needs base
MG_INLINE real mg_hypot(real x, real y) { return MG_LIBM(hypot)(x, y); }

//@ pow: needs base
MG_INLINE real mg_pow(real x, real y) { return MG_LIBM(pow)(x, y); }
