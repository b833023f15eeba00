//@ mix: needs base
// Lanes of two vectors in another order; the type of the places is what GCC wants to know.
#ifdef __clang__
#define MG_MIX(places, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MG_MIX(places, a, b, ...) __builtin_shuffle(a, b, (places){__VA_ARGS__})
#endif

//@ vector: needs base
// One hardware register of lanes; mg_vu is the same at any address.
#if defined(__AVX512F__)
#define MG_BYTES 64
#elif defined(__AVX__)
#define MG_BYTES 32
#else
#define MG_BYTES 16
#endif
#define MG_LANES ((int)(MG_BYTES / sizeof(real)))
#ifndef L
#define L 16  // a program sets its own before
#endif
typedef real mg_v __attribute__((vector_size(MG_BYTES)));
typedef real mg_vu __attribute__((vector_size(MG_BYTES), aligned(sizeof(real)), may_alias));
#define MG_LOAD(p) ((mg_v) * (const mg_vu *)(p))
#define MG_STORE(p, v) (*(mg_vu *)(p) = (mg_vu)(v))
#ifndef MG_LINKAGE
#define MG_LINKAGE static
#endif
#ifdef __clang__
#define MG_APART MG_LINKAGE __attribute__((noinline, unused))
#else  // copies of a function for unit strides or constant arguments cost compile time and gain nothing
#define MG_APART \
  MG_LINKAGE __attribute__((noipa, unused, optimize("fp-contract=fast", "no-version-loops-for-strides", \
                                                    "no-unswitch-loops", "no-tree-vectorize")))
#endif

//@ fold: needs base mix vector
// All lanes joined into the first: in halves, always in the same order.
typedef mg_int mg_vi __attribute__((vector_size(MG_BYTES)));
#define MG_AROUND(v, ...) MG_MIX(mg_vi, v, v, __VA_ARGS__)
#if MG_BYTES / (MG_FLOAT ? 4 : 8) == 2
#define MG_FOLD(v, join) v = join(v, MG_AROUND(v, 1, 0));
#elif MG_BYTES / (MG_FLOAT ? 4 : 8) == 4
#define MG_FOLD(v, join) v = join(v, MG_AROUND(v, 2, 3, 0, 1)), v = join(v, MG_AROUND(v, 1, 0, 3, 2));
#elif MG_BYTES / (MG_FLOAT ? 4 : 8) == 8
#define MG_FOLD(v, join) \
  v = join(v, MG_AROUND(v, 4, 5, 6, 7, 0, 1, 2, 3)), v = join(v, MG_AROUND(v, 2, 3, 0, 1, 6, 7, 4, 5)); \
  v = join(v, MG_AROUND(v, 1, 0, 3, 2, 5, 4, 7, 6));
#else
#define MG_FOLD(v, join) \
  v = join(v, MG_AROUND(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)); \
  v = join(v, MG_AROUND(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)); \
  v = join(v, MG_AROUND(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)); \
  v = join(v, MG_AROUND(v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#endif

//@ sum: needs base vector fold
// Four vectors of partial sums; the lanes are then added in halves.
#define MG_PLUS(a, b) ((a) + (b))
MG_INLINE real mg_lanes_sum(mg_v v) {
  MG_FOLD(v, MG_PLUS)
  return v[0];
}
MG_APART real mg_sum(int n, const real *x) {
  mg_v a = {0}, b = a, c = a, d = a;
  int i = 0;
  for (; i + 4 * MG_LANES <= n; i += 4 * MG_LANES) {
    a += MG_LOAD(x + i);
    b += MG_LOAD(x + i + MG_LANES);
    c += MG_LOAD(x + i + 2 * MG_LANES);
    d += MG_LOAD(x + i + 3 * MG_LANES);
  }
  for (; i + MG_LANES <= n; i += MG_LANES) a += MG_LOAD(x + i);
  real sum = mg_lanes_sum((a + b) + (c + d));
  for (; i < n; i++) sum += x[i];
  return sum;
}

//@ largest: needs base vector fold
// The largest of at least as many numbers as lanes; one that is none is larger than all. Of zeros it is the last, as where
// numbers are compared one after another.
MG_INLINE mg_v mg_larger_lanes(mg_v a, mg_v b) {
  const mg_vi first = (a > b) | (a != a);
  return (mg_v)((first & (mg_vi)a) | (~first & (mg_vi)b));
}
MG_APART real mg_largest(int n, const real *x) {
  mg_v v = MG_LOAD(x);
  for (int i = MG_LANES; i < n; i += MG_LANES) v = mg_larger_lanes(v, MG_LOAD(x + (i + MG_LANES < n ? i : n - MG_LANES)));
  MG_FOLD(v, mg_larger_lanes)
  real largest = v[0];
  for (int i = 0; largest == 0 && i < n; i++)
    if (x[i] == 0) largest = x[i];
  return largest;
}

//@ dot: needs base vector sum
MG_APART real mg_dot(int n, const real *a, long sa, const real *b, long sb) {
  int i = 0;
  real sum = 0;
  if (sa == 1 && sb == 1) {
    mg_v p = {0}, q = p, r = p, s = p;
    for (; i + 4 * MG_LANES <= n; i += 4 * MG_LANES) {
      p += MG_LOAD(a + i) * MG_LOAD(b + i);
      q += MG_LOAD(a + i + MG_LANES) * MG_LOAD(b + i + MG_LANES);
      r += MG_LOAD(a + i + 2 * MG_LANES) * MG_LOAD(b + i + 2 * MG_LANES);
      s += MG_LOAD(a + i + 3 * MG_LANES) * MG_LOAD(b + i + 3 * MG_LANES);
    }
    for (; i + MG_LANES <= n; i += MG_LANES) p += MG_LOAD(a + i) * MG_LOAD(b + i);
    sum = mg_lanes_sum((p + q) + (r + s));
  } else {
    real p = 0, q = 0, r = 0;
    for (; i + 4 <= n; i += 4) {
      sum += a[i * sa] * b[i * sb];
      p += a[(i + 1) * sa] * b[(i + 1) * sb];
      q += a[(i + 2) * sa] * b[(i + 2) * sb];
      r += a[(i + 3) * sa] * b[(i + 3) * sb];
    }
    sum = (sum + p) + (q + r);
  }
  for (; i < n; i++) sum += a[i * sa] * b[i * sb];
  return sum;
}

//@ gather: needs base
// out[i] = from[places[i]].
#ifdef __clang__
#define MG_ALONE static __attribute__((noinline, unused))
#else
#define MG_ALONE static __attribute__((noipa, unused))
#endif
MG_ALONE void mg_gather(int n, const real *restrict from, const int32_t *places, real *restrict out) {
  for (int i = 0; i < n; i++) out[i] = from[places[i]];
}

//@ mv: needs base vector sum dot
// C[r cr] (+)= sum over k of A[r ar + k] x[k]: four rows at once, which share x and come from memory side by side. Where all
// rows begin at one place of a cache line, registers are loaded from the first whole line on: none of them from two. The
// products of each lane are added up in one order, and the lanes as if the first had k = 0, wherever A lies.
#define MG_BESIDE 4
#if defined(__AVX512F__) && defined(__has_builtin)  // what immintrin.h has by other names: reading that takes a compiler long
#define MG_MASKED __has_builtin(__builtin_ia32_loadupd512_mask)
#else
#define MG_MASKED 0
#endif
MG_INLINE mg_v mg_some(const real *p, int from, int to) {  // the lanes from..to of a register at p, zeros in the others
#if MG_MASKED && MG_FLOAT
  return __builtin_ia32_loadups512_mask(p, (mg_v){0}, (uint16_t)((1u << to) - (1u << from)));
#elif MG_MASKED
  return __builtin_ia32_loadupd512_mask(p, (mg_v){0}, (uint8_t)((1u << to) - (1u << from)));
#else
  real some[MG_LANES] = {0};
  for (int l = from; l < to; l++) some[l] = p[l];
  return MG_LOAD(some);
#endif
}
MG_APART void mg_mv(int R, int K, const real *A, long ar, const real *x, real *C, long cr, int acc) {
  const int alike = ar % MG_LANES == 0 && (uintptr_t)A % sizeof(real) == 0 && K >= 2 * MG_LANES;
  const int head = alike ? (int)(-((uintptr_t)A / sizeof(real)) % MG_LANES) : 0, tail = (K - head) % MG_LANES;
  int r = 0;
  for (; K >= MG_LANES && r + MG_BESIDE <= R; r += MG_BESIDE) {
    const real *a = A + r * ar;
    mg_v sums[MG_BESIDE] = {{0}};
    int k = head - MG_LANES;
    if (head)
      for (int j = 0; j < MG_BESIDE; j++)
        sums[j] += mg_some(a + j * ar + k, MG_LANES - head, MG_LANES) * mg_some(x + k, MG_LANES - head, MG_LANES);
    for (k = head; k + MG_LANES <= K; k += MG_LANES)
#pragma GCC unroll 4
      for (int j = 0; j < MG_BESIDE; j++) sums[j] += MG_LOAD(a + j * ar + k) * MG_LOAD(x + k);
    if (tail)
      for (int j = 0; j < MG_BESIDE; j++) sums[j] += mg_some(a + j * ar + k, 0, tail) * mg_some(x + k, 0, tail);
    for (int j = 0; j < MG_BESIDE; j++) {
      if (head) {
        real twice[2 * MG_LANES];
        MG_STORE(twice, sums[j]), MG_STORE(twice + MG_LANES, sums[j]);
        sums[j] = MG_LOAD(twice + MG_LANES - head);
      }
      const real sum = mg_lanes_sum(sums[j]);
      C[(r + j) * cr] = acc ? C[(r + j) * cr] + sum : sum;
    }
  }
  for (; r < R; r++) {
    const real sum = mg_dot(K, A + r * ar, 1, x, 1);
    C[r * cr] = acc ? C[r * cr] + sum : sum;
  }
}

//@ mg: needs base vector sum dot
// C[r cr + s cs] (+)= sum over k of A[r ar + k ak] B[s bs + k bk], any strides.
MG_APART void mg_mg(int R, int S, int K, const real *A, long ar, long ak, const real *B, long bs, long bk, real *C, long cr,
                    long cs, int acc) {
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) {
      real sum = mg_dot(K, A + r * ar, ak, B + s * bs, bk), *c = C + r * cr + s * cs;
      *c = acc ? *c + sum : sum;
    }
}

//@ tiles: needs base vector
// A tile of C, a few rows by a few registers, stays in registers over the whole contraction (t outer, k inner). The last
// register of a tile starts at column `last`: where the width is no multiple of the lanes it overlaps its neighbour, and
// both store the same numbers. Registers are named, not indexed: the compiler takes half the time.
typedef struct {
  int T, K, acc;
  long ar, at, ak, bt, bk, cr;
} mg_shape;
#define MG_VECS1(f, r) f(r, 0, 0)
#define MG_VECS2(f, r) f(r, 0, 0) f(r, 1, last)
#define MG_VECS3(f, r) f(r, 0, 0) f(r, 1, middle) f(r, 2, last)
#define MG_VECS6(f, r) \
  f(r, 0, 0) f(r, 1, MG_LANES) f(r, 2, 2 * MG_LANES) f(r, 3, 3 * MG_LANES) f(r, 4, 4 * MG_LANES) f(r, 5, last)
#define MG_ROWS1(each, f) each(f, 0)
#define MG_ROWS2(each, f) MG_ROWS1(each, f) each(f, 1)
#define MG_ROWS3(each, f) MG_ROWS2(each, f) each(f, 2)
#define MG_ROWS4(each, f) MG_ROWS3(each, f) each(f, 3)
#define MG_ROWS5(each, f) MG_ROWS4(each, f) each(f, 4)
#define MG_ROWS6(each, f) MG_ROWS5(each, f) each(f, 5)
#define MG_ROWS7(each, f) MG_ROWS6(each, f) each(f, 6)
#define MG_ROWS8(each, f) MG_ROWS7(each, f) each(f, 7)
#define MG_ROWS9(each, f) MG_ROWS8(each, f) each(f, 8)
#define MG_ROWS10(each, f) MG_ROWS9(each, f) each(f, 9)
#define MG_ROWS11(each, f) MG_ROWS10(each, f) each(f, 10)
#define MG_ROWS12(each, f) MG_ROWS11(each, f) each(f, 11)
#define MG_CLEAR(r, v, at) mg_v c##r##v = {0};
#define MG_FETCH(r, v, at) mg_v x##v = MG_LOAD(b + at);
#define MG_MADD(r, v, at) c##r##v += a[r * ar] * x##v;
#define MG_ADD(r, v, at) c##r##v += MG_LOAD(C + r * cr + at);
#define MG_KEEP(r, v, at) MG_STORE(C + r * cr + at, c##r##v);
#define MG_TILE(rows, vecs) \
  MG_APART void mg_tile_##rows##_##vecs(const mg_shape *m, const real *A, const real *B, long last, real *C, int tiles) { \
    const long ar = m->ar, ak = m->ak, bk = m->bk, cr = m->cr; \
    const long middle = last < MG_LANES ? last : MG_LANES; \
    const int T = m->T, K = m->K; \
    for (; tiles > 0; tiles--, A += rows * ar, C += rows * cr) { \
      MG_ROWS##rows(MG_VECS##vecs, MG_CLEAR) \
      for (int t = 0; t < T; t++) { \
        const real *a = A + t * m->at, *b = B + t * m->bt; \
        for (int k = 0; k < K; k++, a += ak, b += bk) { \
          MG_VECS##vecs(MG_FETCH, 0) \
          MG_ROWS##rows(MG_VECS##vecs, MG_MADD) \
        } \
      } \
      if (m->acc) { \
        MG_ROWS##rows(MG_VECS##vecs, MG_ADD) \
      } \
      MG_ROWS##rows(MG_VECS##vecs, MG_KEEP) \
    } \
    (void)middle, (void)last; \
  }
MG_TILE(4, 3)
MG_TILE(4, 2)
MG_TILE(3, 3)
MG_TILE(3, 2)
MG_TILE(1, 6)
MG_TILE(1, 3)
MG_TILE(8, 1)
MG_TILE(8, 2)
MG_TILE(4, 1)
MG_APART void mg_rows(int rows, int tiles, int S, const mg_shape *m, const real *A, const real *B, real *C) {
  for (int s = 0, vecs, left = (S + MG_LANES - 1) / MG_LANES; left > 0; left -= vecs, s += vecs * MG_LANES) {
    vecs = left == 4 ? 2 : left < 3 ? left : 3;  // one register alone only where the whole width fits it
    if (rows == 1 && left > 5 && left != 7) vecs = 6;
    const long last = left > vecs ? (vecs - 1) * MG_LANES : S - s - MG_LANES;
    if (rows == 1 && vecs == 6) mg_tile_1_6(m, A, B + s, last, C + s, tiles);
    else if (rows == 1) mg_tile_1_3(m, A, B + s, last, C + s, tiles);
    else if (rows == 3 && vecs == 3) mg_tile_3_3(m, A, B + s, last, C + s, tiles);
    else if (rows == 3) mg_tile_3_2(m, A, B + s, last, C + s, tiles);
    else if (rows == 8 && vecs == 2) mg_tile_8_2(m, A, B + s, last, C + s, tiles);
    else if (rows == 8) mg_tile_8_1(m, A, B + s, last, C + s, tiles);
    else if (S == MG_LANES) mg_tile_4_1(m, A, B + s, last, C + s, tiles);
    else if (vecs == 3) mg_tile_4_3(m, A, B + s, last, C + s, tiles);
    else mg_tile_4_2(m, A, B + s, last, C + s, tiles);
  }
}
MG_APART void mg_tiles(int R, int S, const mg_shape *m, const real *A, const real *B, real *C) {  // S >= MG_LANES
  static const int threes[4] = {0, 3, 2, 1};  // R = 4 fours + 3 threes + ones, with ones only in 1, 2 and 5
  const int wide = MG_BYTES == 64 && S <= 2 * MG_LANES && (R % 8 == 0 || R % 8 > 2);  // there are 32 registers
  const int eight = S == MG_LANES || wide ? R / 8 : 0;
  if (eight) mg_rows(8, eight, S, m, A, B, C);
  R -= 8 * eight, A += 8 * eight * m->ar, C += 8 * eight * m->cr;
  const int three = R < 9 && R % 4 < 2 ? 0 : R == 2 ? 0 : threes[R % 4];
  const int four = (R - 3 * three) / 4, ones = R - 3 * three - 4 * four;
  const int each = m->T * m->K < 4 && S > 4 * MG_LANES ? 1 : four;  // a short contraction writes C in its own order
  for (int i = 0; i < four; i += each, A += 4 * each * m->ar, C += 4 * each * m->cr) mg_rows(4, each, S, m, A, B, C);
  if (three) mg_rows(3, three, S, m, A, B, C);
  if (ones) mg_rows(1, ones, S, m, A + 3 * three * m->ar, B, C + 3 * three * m->cr);
}

//@ mm: needs base vector tiles
// C[r cr + s] (+)= sum over k of A[r ar + k ak] B[k bk + s]. Where C is narrower than a register, B and C go through padded
// copies.
#define MG_DEPTH 64
MG_APART void mg_narrow(int R, int S, int K, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr,
                        int acc) {
  real b[MG_DEPTH * MG_LANES], c[4 * MG_LANES];
  for (int k = 0; k < K || k == 0; k += MG_DEPTH) {
    const int depth = K - k < MG_DEPTH ? K - k : MG_DEPTH;
    for (int i = 0; i < depth; i++) {
      MG_STORE(b + i * MG_LANES, (mg_v){0});
      for (int s = 0; s < S; s++) b[i * MG_LANES + s] = B[(k + i) * bk + s];
    }
    const mg_shape m = {1, depth, 0, ar, 0, ak, 0, MG_LANES, MG_LANES};
    for (int r = 0; r < R; r += 4) {
      const int rows = R - r < 4 ? R - r : 4;
      mg_tiles(rows, MG_LANES, &m, A + r * ar + k * ak, b, c);
      for (int i = 0; i < rows; i++)
        for (int s = 0; s < S; s++) {
          real *p = C + (r + i) * cr + s;
          *p = acc || k ? *p + c[i * MG_LANES + s] : c[i * MG_LANES + s];
        }
    }
  }
}
MG_INLINE void mg_mm(int R, int S, int K, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr,
                     int acc) {
  const mg_shape m = {1, K, acc, ar, 0, ak, 0, bk, cr};
  if (S < MG_LANES) mg_narrow(R, S, K, A, ar, ak, B, bk, C, cr, acc);
  else mg_tiles(R, S, &m, A, B, C);
}

//@ exact: needs base vector tiles mm
// The same with just so many rows, in tiles of all of them by two registers where those fit.
#define MG_EXACT_OF(rows) \
  void mg_exact_##rows(int S, int K, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr, int acc)
#if MG_BYTES == 64
#define MG_EXACT(rows) \
  MG_TILE(rows, 2) \
  MG_APART MG_EXACT_OF(rows) { \
    const int left = S % (2 * MG_LANES); \
    if (left && left < MG_LANES) mg_mm(rows, S, K, A, ar, ak, B, bk, C, cr, acc); \
    else { \
      const mg_shape m = {1, K, acc, ar, 0, ak, 0, bk, cr}; \
      for (; S > 0; S -= 2 * MG_LANES, B += 2 * MG_LANES, C += 2 * MG_LANES) \
        mg_tile_##rows##_2(&m, A, B, S < 2 * MG_LANES ? S - MG_LANES : MG_LANES, C, 1); \
    } \
  }
#else
#define MG_EXACT(rows) \
  MG_APART MG_EXACT_OF(rows) { mg_mm(rows, S, K, A, ar, ak, B, bk, C, cr, acc); }
#endif

//@ few: needs base vector tiles mm
// The same with just so many products a number: what they take of B stays in registers, two of columns at a time, while all
// rows of A go by.
#define MG_FEW_OF(count) \
  void mg_few_##count(int R, int S, const real *A, long ar, long ak, const real *B, long bk, real *C, long cr, int acc)
#if MG_BYTES == 64
#define MG_FEW_FETCH(k, v, at) const mg_v x##k = MG_LOAD(B + k * bk), y##k = MG_LOAD(B + k * bk + last);
#define MG_FEW_MADD(k, v, at) p += a[k * ak] * x##k, q += a[k * ak] * y##k;
#define MG_FEW_TWICE(k, v, at) p += a[k * ak] * x##k, q += a[k * ak] * y##k, s += a[k * ak + ar] * x##k, t += a[k * ak + ar] * y##k;
#define MG_FEW_KEEP(c, p, q) \
  if (acc) p += MG_LOAD(c), q += MG_LOAD(c + last); \
  MG_STORE(c, p), MG_STORE(c + last, q);
#define MG_FEW(count) \
  MG_APART MG_FEW_OF(count) { \
    const int left = S % (2 * MG_LANES); \
    if (left && left < MG_LANES) { \
      mg_mm(R, S, count, A, ar, ak, B, bk, C, cr, acc); \
      return; \
    } \
    for (; S > 0; S -= 2 * MG_LANES, B += 2 * MG_LANES, C += 2 * MG_LANES) { \
      const int last = S < 2 * MG_LANES ? S - MG_LANES : MG_LANES; \
      MG_ROWS##count(MG_VECS1, MG_FEW_FETCH) \
      const real *a = A; \
      real *c = C; \
      int r = R; \
      for (; r > 1; r -= 2, a += 2 * ar, c += 2 * cr) { \
        mg_v p = {0}, q = p, s = p, t = p; \
        MG_ROWS##count(MG_VECS1, MG_FEW_TWICE) \
        MG_FEW_KEEP(c, p, q) \
        MG_FEW_KEEP((c + cr), s, t) \
      } \
      if (r) { \
        mg_v p = {0}, q = p; \
        MG_ROWS##count(MG_VECS1, MG_FEW_MADD) \
        MG_FEW_KEEP(c, p, q) \
      } \
    } \
  }
#else
#define MG_FEW(count) \
  MG_APART MG_FEW_OF(count) { mg_mm(R, S, count, A, ar, ak, B, bk, C, cr, acc); }
#endif

//@ transpose: needs base mix vector fold
// out[k to + s] = B[s br + k], in squares of registers, the last of which overlap.
#if MG_BYTES / (MG_FLOAT ? 4 : 8) == 2
#define MG_ZIP_LOW 0, 2
#define MG_ZIP_HIGH 1, 3
#elif MG_BYTES / (MG_FLOAT ? 4 : 8) == 4
#define MG_ZIP_LOW 0, 4, 1, 5
#define MG_ZIP_HIGH 2, 6, 3, 7
#elif MG_BYTES / (MG_FLOAT ? 4 : 8) == 8
#define MG_ZIP_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define MG_ZIP_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define MG_ZIP_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define MG_ZIP_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif
#define MG_ZIP(a, b, order) MG_MIX(mg_vi, a, b, order)
MG_APART void mg_flip(const real *B, long br, real *out, long to) {  // one square of MG_LANES by MG_LANES
  mg_v v[MG_LANES], w[MG_LANES];
#pragma GCC unroll 16
  for (int i = 0; i < MG_LANES; i++) v[i] = MG_LOAD(B + i * br);
#pragma GCC unroll 4
  for (int size = 1; size < MG_LANES; size *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < MG_LANES / 2; i++) {
      w[2 * i] = MG_ZIP(v[i], v[i + MG_LANES / 2], MG_ZIP_LOW);
      w[2 * i + 1] = MG_ZIP(v[i], v[i + MG_LANES / 2], MG_ZIP_HIGH);
    }
#pragma GCC unroll 16
    for (int i = 0; i < MG_LANES; i++) v[i] = w[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < MG_LANES; i++) MG_STORE(out + i * to, v[i]);
}
MG_APART void mg_transpose(int S, int K, const real *B, long br, real *out, long to) {
  for (int s = 0; s < S; s += MG_LANES) {
    int i = s + MG_LANES <= S ? s : S - MG_LANES;
    if (K < MG_LANES)
      for (int k = 0; k < K; k++)
        for (int j = i; j < i + MG_LANES; j++) out[k * to + j] = B[j * br + k];
    else
      for (int k = 0; k < K; k += MG_LANES) {
        int l = k + MG_LANES <= K ? k : K - MG_LANES;
        mg_flip(B + i * br + l, br, out + l * to + i, to);
      }
  }
}

//@ mt: needs base vector sum dot tiles mm transpose
// C[r cr + s cs] (+)= sum over t, k of A[r ar + t at + k] B[s br + t bt + k]. Panels of B are transposed into a buffer on
// the stack and go through the tiles; where C is too narrow for that, its elements are dot products.
#define MG_PANEL (3 * MG_LANES)
MG_APART void mg_mt(int R, int S, int K, const real *A, long ar, const real *B, long br, int T, long at, long bt, real *C,
                    long cr, long cs, int acc) {
  if (cs != 1 && cr == 1) {
    const real *P = A;
    long p = ar, q = at;
    int n = R;
    A = B, B = P, ar = br, br = p, at = bt, bt = q, R = S, S = n, cr = cs, cs = 1;
  }
  if (cs == 1 && S < MG_LANES && S > 2 && R > 3 && K < MG_DEPTH && T > 0) {
    real flipped[MG_DEPTH * MG_LANES];
    for (int t = 0; t < T; t++) {
      for (int s = 0; s < S; s++)
        for (int k = 0; k < K; k++) flipped[k * S + s] = B[s * br + t * bt + k];
      mg_mm(R, S, K, A + t * at, ar, 1, flipped, S, C, cr, acc || t);
    }
    return;
  }
  if (cs != 1 || S < MG_LANES || (R < 3 && K >= MG_DEPTH)) {
    for (int r = 0; r < R; r++)
      for (int s = 0; s < S; s++) {
        real sum = 0, *c = C + r * cr + s * cs;
        for (int t = 0; t < T; t++) sum += mg_dot(K, A + r * ar + t * at, 1, B + s * br + t * bt, 1);
        *c = acc ? *c + sum : sum;
      }
    return;
  }
  real panel[MG_DEPTH * MG_PANEL] __attribute__((aligned(MG_BYTES)));
  const int deep = K < MG_DEPTH ? (K > 0 ? MG_DEPTH / K : 1) : 1;  // how many t share a panel
  for (int s = 0; s < S;) {
    int n = S - s <= MG_PANEL ? S - s : S - s < MG_PANEL + MG_LANES ? 2 * MG_LANES : MG_PANEL;
    int add = acc;
    for (int t = 0; t < T; t += deep)
      for (int k = 0; k < K || (k == 0 && t == 0); k += MG_DEPTH) {
        int d = K - k < MG_DEPTH ? K - k : MG_DEPTH, e = T - t < deep ? T - t : deep;
        for (int i = 0; i < e; i++)
          mg_transpose(n, d, B + s * br + (t + i) * bt + k, br, panel + i * d * MG_PANEL, MG_PANEL);
        mg_shape m = {e, d, add, ar, at, 1, d * MG_PANEL, MG_PANEL, cr};
        mg_tiles(R, n, &m, A + t * at + k, panel, C + s);
        add = 1;
      }
    s += n;
  }
}

//@ at: needs base
// Where number k of a row lies: at row[k] + first, or at first + step k without a table.
MG_INLINE long mg_at(const int32_t *row, long first, long step, int k) { return (row ? row[k] : step * k) + first; }

//@ across: needs base vector at
// sums[i] = sum over k of x[i] y[i step], of n rows side by side: x and y are number k of a row of u and of v.
MG_APART void mg_across(int n, int m, const real *u, const int32_t *a, long a0, long sa, const real *v, const int32_t *b,
                        long b0, long sb, int step, real *sums) {
  int i = 0;
  for (; n >= MG_LANES && i < n; i += 2 * MG_LANES) {
    const int last = n - MG_LANES, f = i < last ? i : last, g = i + MG_LANES < last ? i + MG_LANES : last;
    mg_v p = {0}, q = p;
    for (int k = 0; k < m; k++) {
      const real *x = u + mg_at(a, a0, sa, k), *y = v + mg_at(b, b0, sb, k);
      p += MG_LOAD(x + f) * (step ? MG_LOAD(y + f) : *y - (mg_v){0});
      q += MG_LOAD(x + g) * (step ? MG_LOAD(y + g) : *y - (mg_v){0});
    }
    MG_STORE(sums + f, p), MG_STORE(sums + g, q);
  }
  for (; i < n; i++) {
    real sum = 0;
    for (int k = 0; k < m; k++) sum += u[mg_at(a, a0, sa, k) + i] * v[mg_at(b, b0, sb, k) + i * step];
    sums[i] = sum;
  }
}

//@ four: needs base
typedef real mg_q __attribute__((vector_size(4 * sizeof(real))));
typedef real mg_qu __attribute__((vector_size(4 * sizeof(real)), aligned(sizeof(real)), may_alias));
#define MG_FOUR(x) ((mg_q) * (const mg_qu *)(x))

//@ short: needs base mix at four
// The dot products of short rows, four at once: out[i] = sum over k of x[k] y[k], whose rows begin at number i of two lists.
// Each has four partial sums, which are then added crosswise.
typedef mg_int mg_qi __attribute__((vector_size(4 * sizeof(real))));
#define MG_CROSS(a, b, ...) MG_MIX(mg_qi, a, b, __VA_ARGS__)
#define MG_ROW(p, i) \
  { \
    const real *x = u + mg_at(a, a0, sa, i), *y = v + mg_at(b, b0, sb, i); \
    p = MG_FOUR(x) * MG_FOUR(y); \
    int k = 4; \
    for (; k + 4 <= n; k += 4) p += MG_FOUR(x + k) * MG_FOUR(y + k); \
    for (; k < n; k++) p[0] += x[k] * y[k]; \
  }
MG_INLINE __attribute__((always_inline)) void mg_short(int count, int n, const real *u, const int32_t *a, long a0, long sa,
                                                       const real *v, const int32_t *b, long b0, long sb, real *w,
                                                       const int32_t *c, long c0, long sc) {
  int i = 0;
  for (; i + 4 <= count; i += 4) {
    mg_q p, q, r, s;
    MG_ROW(p, i) MG_ROW(q, i + 1) MG_ROW(r, i + 2) MG_ROW(s, i + 3)
    const mg_q low = MG_CROSS(p, q, 0, 4, 2, 6) + MG_CROSS(p, q, 1, 5, 3, 7);
    const mg_q high = MG_CROSS(r, s, 0, 4, 2, 6) + MG_CROSS(r, s, 1, 5, 3, 7);
    const mg_q sums = MG_CROSS(low, high, 0, 1, 4, 5) + MG_CROSS(low, high, 2, 3, 6, 7);
    for (int j = 0; j < 4; j++) w[mg_at(c, c0, sc, i + j)] = sums[j];
  }
  for (; i < count; i++) {
    mg_q p;
    MG_ROW(p, i)
    w[mg_at(c, c0, sc, i)] = (p[0] + p[1]) + (p[2] + p[3]);
  }
}

//@ lanes: needs base vector at
// sums[l] = sum over k of the products of two rows of v: the dot products of all examples.
MG_APART void mg_lanes(int n, const real *v, const int32_t *a, long a0, long sa, const int32_t *b, long b0, long sb,
                       real *sums) {
  int l = 0;
  for (; l + 2 * MG_LANES <= L; l += 2 * MG_LANES) {
    mg_v p = {0}, q = p;
    for (int k = 0; k < n; k++) {
      const real *x = v + mg_at(a, a0, sa, k) * L + l, *y = v + mg_at(b, b0, sb, k) * L + l;
      p += MG_LOAD(x) * MG_LOAD(y), q += MG_LOAD(x + MG_LANES) * MG_LOAD(y + MG_LANES);
    }
    MG_STORE(sums + l, p), MG_STORE(sums + l + MG_LANES, q);
  }
  for (; l < L; l += MG_LANES) {
    mg_v p = {0};
    for (int k = 0; k < n; k++) p += MG_LOAD(v + mg_at(a, a0, sa, k) * L + l) * MG_LOAD(v + mg_at(b, b0, sb, k) * L + l);
    MG_STORE(sums + l, p);
  }
}

//@ beside: needs base vector at
// The same for four numbers side by side that share their second factors: x is the first of four neighbours in v.
#define MG_BESIDE_SUMS(each) each(0) each(1) each(2) each(3)
#define MG_BESIDE_CLEAR(i) mg_v p##i = {0}, q##i = p##i;
#define MG_BESIDE_MADD(i) p##i += MG_LOAD(x + i * L) * y, q##i += MG_LOAD(x + i * L + next) * z;
#define MG_BESIDE_KEEP(i) MG_STORE(sums + i * L + l, p##i), MG_STORE(sums + i * L + l + next, q##i);
MG_APART void mg_beside(int n, const real *v, const int32_t *a, long a0, long sa, const int32_t *b, long b0, long sb,
                        real *sums) {
  const int next = L > MG_LANES ? MG_LANES : 0;
  for (int l = 0; l < L; l += MG_LANES + next) {
    MG_BESIDE_SUMS(MG_BESIDE_CLEAR)
    for (int k = 0; k < n; k++) {
      const real *x = v + mg_at(a, a0, sa, k) * L + l, *from = v + mg_at(b, b0, sb, k) * L + l;
      const mg_v y = MG_LOAD(from), z = MG_LOAD(from + next);
      MG_BESIDE_SUMS(MG_BESIDE_MADD)
    }
    MG_BESIDE_SUMS(MG_BESIDE_KEEP)
  }
}

//@ turn: needs base mix vector
// Eight registers of eight lanes transposed: in each of three rounds single lanes, pairs and fours of two registers change
// places.
#if defined(__AVX512F__) && !MG_FLOAT
#define MG_SQUARE 8
typedef int64_t mg_places __attribute__((vector_size(64)));
#define MG_CHANGE(a, b, low, high) \
  { \
    const mg_v kept = a; \
    a = MG_MIX(mg_places, kept, b, low), b = MG_MIX(mg_places, kept, b, high); \
  }
#define MG_LOW1 0, 8, 2, 10, 4, 12, 6, 14
#define MG_HIGH1 1, 9, 3, 11, 5, 13, 7, 15
#define MG_LOW2 0, 1, 8, 9, 4, 5, 12, 13
#define MG_HIGH2 2, 3, 10, 11, 6, 7, 14, 15
#define MG_LOW4 0, 1, 2, 3, 8, 9, 10, 11
#define MG_HIGH4 4, 5, 6, 7, 12, 13, 14, 15
MG_INLINE void mg_turn(mg_v *r) {
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) MG_CHANGE(r[i], r[i + 1], MG_LOW1, MG_HIGH1)
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) MG_CHANGE(r[i + i / 2 * 2], r[i + i / 2 * 2 + 2], MG_LOW2, MG_HIGH2)
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) MG_CHANGE(r[i], r[i + 4], MG_LOW4, MG_HIGH4)
}
#else
#define MG_SQUARE 0
#endif

//@ turned: needs base vector turn tiles mt
// C[r cr + s] (+)= sum over k of A[r ar + k] B[s br + k] for so many rows, S >= 8 and K whole squares: a square of B is turned
// in registers, where all rows meet it.  The last squares may overlap, but not where C is added to.
#define MG_TURNED_OF(rows) \
  void mg_turned_##rows(int S, int K, const real *A, long ar, const real *B, long br, real *C, long cr, int acc)
#define MG_MEET(r, v, at) \
  c##r##v += a[r * ar] * b[0], c##r##v += a[r * ar + 1] * b[1], c##r##v += a[r * ar + 2] * b[2]; \
  c##r##v += a[r * ar + 3] * b[3], c##r##v += a[r * ar + 4] * b[4], c##r##v += a[r * ar + 5] * b[5]; \
  c##r##v += a[r * ar + 6] * b[6], c##r##v += a[r * ar + 7] * b[7];
#if MG_SQUARE
#define MG_TURNED(rows) \
  MG_APART MG_TURNED_OF(rows) { \
    for (int s = 0; s < S; s += 8) { \
      if (s + 8 > S) B -= (s + 8 - S) * br, C -= s + 8 - S; \
      MG_ROWS##rows(MG_VECS1, MG_CLEAR) \
      for (int k = 0; k < K; k += 8) { \
        const real *a = A + k; \
        mg_v b[8]; \
        _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) b[i] = MG_LOAD(B + i * br + k); \
        mg_turn(b); \
        MG_ROWS##rows(MG_VECS1, MG_MEET) \
      } \
      if (acc) { \
        MG_ROWS##rows(MG_VECS1, MG_ADD) \
      } \
      MG_ROWS##rows(MG_VECS1, MG_KEEP) \
      B += 8 * br, C += 8; \
    } \
  }
#else
#define MG_TURNED(rows) \
  MG_APART MG_TURNED_OF(rows) { mg_mt(rows, S, K, A, ar, B, br, 1, 0, 0, C, cr, 1, acc); }
#endif

//@ pack: needs base vector turn
// The numbers from..to of L examples side by side: v[i * L + l] = number i of example first + l, the last example standing in
// beyond the end.
MG_APART void mg_pack(const real *x, long size, long from, long to, long first, long last, real *v) {
  long i = from;
#if MG_SQUARE
  if (first + L - 1 <= last)
    for (; i + 8 <= to; i += 8)
      for (int l = 0; l < L; l += 8) {
        mg_v r[8];
        for (int k = 0; k < 8; k++) r[k] = MG_LOAD(x + (first + l + k) * size + i);
        mg_turn(r);
        for (int k = 0; k < 8; k++) MG_STORE(v + (i + k) * L + l, r[k]);
      }
#endif
  for (int l = 0; l < L; l++) {
    const real *const row = x + size * (first + l < last ? first + l : last);
    for (long k = i; k < to; k++) v[k * L + l] = row[k];
  }
}
