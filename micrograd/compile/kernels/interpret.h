//@ interpret: needs base
// Operations as numbers in v, five for each: which one, the place of its result, those of its operands. All places are in w.
#define MG_X w[n[2]]
#define MG_Y w[n[3]]
#define MG_Z w[n[4]]
#define MG_CASE(number, value) case number: w[n[1]] = (value); break;
void mg_run(const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, const int32_t *t,
            long examples, real *out) {
  (void)ix, (void)s, (void)t, (void)examples, (void)out;
  for (const int32_t *n = (const void *)v;; n += 5) switch (n[0]) {
    case 0: return;
    case 1: memcpy(w + n[1], in[n[2]], n[3] * sizeof(real)); break;
    case 2: memcpy(o + n[1], w + n[2], n[3] * sizeof(real)); break;
    MG_CASE(3, MG_X)
    MG_CASE(4, MG_X + MG_Y)
    MG_CASE(5, MG_X - MG_Y)
    MG_CASE(6, MG_X * MG_Y)
    MG_CASE(7, MG_X / MG_Y)
    MG_CASE(8, -MG_X)
    MG_CASE(9, mg_fma(MG_X, MG_Y, MG_Z))
    MG_CASE(10, mg_fma(MG_X, MG_Y, -MG_Z))
    MG_CASE(11, mg_fma(-MG_X, MG_Y, MG_Z))
    MG_CASE(12, mg_larger(MG_X, MG_Y))
    MG_CASE(13, mg_abs(MG_X))
    MG_CASE(14, mg_sqrt(MG_X))
    MG_CASE(15, MG_X < MG_Y)
    MG_CASE(16, MG_X <= MG_Y)
    MG_CASE(17, MG_X > MG_Y)
    MG_CASE(18, MG_X >= MG_Y)
    MG_CASE(19, MG_X != 0 ? MG_Y : MG_Z)
  }
}
#undef MG_CASE
