//@ train: needs base
// Many steps of training.  A step adds up the gradients of its jobs, each one call of a compiled program, and takes their
// mean.
typedef void mg_run(const double *const *in, const int64_t *const *ix, double *w, double *o, double *v, double *s,
                    const int32_t *t, long examples, double *out);
typedef struct {
  mg_run *run;
  double *w, *o, *v, *s;
  const int32_t *t;
  const double *loss, *gradient;
} mg_program;
typedef struct {
  const mg_program *program;
  const void *const *inputs;
  long examples;
} mg_job;
static void mg_add_up(double *restrict sum, const double *restrict more, long count, int first) {
  if (first)
    for (long i = 0; i < count; i++) sum[i] = 0 + more[i];
  else
    for (long i = 0; i < count; i++) sum[i] += more[i];
}
static const double *mg_gradient(const mg_job *job, long jobs, long count, double *sum, double *loss) {
  const double *gradient = sum;
  *loss = 0;
  for (long j = 0; j < jobs; j++) {
    const mg_program *p = job[j].program;
    const void *const *in = job[j].inputs;
    p->run((const double *const *)in, (const int64_t *const *)in, p->w, p->o, p->v, p->s, p->t, job[j].examples, 0);
    *loss += *p->loss;
    if (jobs == 1) gradient = p->gradient;
    else mg_add_up(sum, p->gradient, count, j == 0);
  }
  if (jobs > 1)
    for (long i = 0; i < count; i++) sum[i] *= 1.0 / (double)jobs;
  return gradient;
}

//@ roots: needs base
// Square roots of eight numbers at once, rounded as by the hardware's instruction, which takes twice as long: an estimate of
// 14 bits, two steps of Goldschmidt's and one that looks at what is left (Markstein, 2000).  The few numbers for which a
// product on the way would leave the range of normal numbers are left to the instruction.
#if defined(__AVX512F__)
#include <immintrin.h>
typedef double mg_v8 __attribute__((vector_size(64)));
typedef double mg_v8u __attribute__((vector_size(64), aligned(8), may_alias));
MG_INLINE mg_v8 mg_roots(mg_v8 x) {
  const __m512d a = (__m512d)x, none = _mm512_setzero_pd(), half = _mm512_set1_pd(0.5);
  const __mmask8 some = _mm512_cmp_pd_mask(a, none, _CMP_NEQ_UQ);
  const __m512d y = _mm512_maskz_rsqrt14_pd(some, a);
  __m512d root = _mm512_mul_pd(a, y), h = _mm512_mul_pd(half, y);
  for (int i = 0; i < 2; i++) {
    const __m512d rest = _mm512_fnmadd_pd(root, h, half);
    root = _mm512_fmadd_pd(root, rest, root), h = _mm512_fmadd_pd(h, rest, h);
  }
  root = _mm512_fmadd_pd(_mm512_fnmadd_pd(root, root, a), h, root);
  const __mmask8 small = some & _mm512_cmp_pd_mask(a, _mm512_set1_pd(0x1p-960), _CMP_NGE_UQ);
  const __mmask8 odd = small | _mm512_cmp_pd_mask(a, _mm512_set1_pd(0x1p960), _CMP_NLE_UQ);
  if (__builtin_expect(odd, 0)) root = _mm512_mask_sqrt_pd(root, odd, a);
  return (mg_v8)root;
}
#define mg_sqrt(x) _Generic((x), mg_v8: mg_roots, default: mg_sqrt)(x)
#define MG_EIGHT 8
#else
#define MG_EIGHT 0
#endif
