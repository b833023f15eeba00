//@ interpret: needs base
// Operations as numbers in t, five for each: which one, the place of its result, those of its operands. All places are in w.
#define MG_X w[t[2]]
#define MG_Y w[t[3]]
#define MG_Z w[t[4]]
#define MG_CASE(number, value) case number: w[t[1]] = (value); break;
void mg_run(const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, const int32_t *t,
            long examples, real *out) {
  (void)ix, (void)v, (void)s, (void)examples, (void)out;
  for (;; t += 5) switch (t[0]) {
    case 0: return;
    case 1: memcpy(w + t[1], in[t[2]], t[3] * sizeof(real)); break;
    case 2: memcpy(o + t[1], w + t[2], t[3] * sizeof(real)); break;
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
