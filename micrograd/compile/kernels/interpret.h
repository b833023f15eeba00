//@ interpret: needs base exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc pow atan2 hypot sum dot largest
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
    MG_CASE(20, MG_X != 0 && MG_Y != 0)
    MG_CASE(21, MG_X != 0 || MG_Y != 0)
    MG_CASE(22, mg_root(MG_X))
    MG_CASE(23, mg_exp(MG_X))
    MG_CASE(24, mg_expm1(MG_X))
    MG_CASE(25, mg_log(MG_X))
    MG_CASE(26, mg_log1p(MG_X))
    MG_CASE(27, mg_log2(MG_X))
    MG_CASE(28, mg_log10(MG_X))
    MG_CASE(29, mg_sin(MG_X))
    MG_CASE(30, mg_cos(MG_X))
    MG_CASE(31, mg_tan(MG_X))
    MG_CASE(32, mg_asin(MG_X))
    MG_CASE(33, mg_acos(MG_X))
    MG_CASE(34, mg_atan(MG_X))
    MG_CASE(35, mg_sinh(MG_X))
    MG_CASE(36, mg_cosh(MG_X))
    MG_CASE(37, mg_tanh(MG_X))
    MG_CASE(38, mg_asinh(MG_X))
    MG_CASE(39, mg_acosh(MG_X))
    MG_CASE(40, mg_atanh(MG_X))
    MG_CASE(41, mg_erf(MG_X))
    MG_CASE(42, mg_erfc(MG_X))
    MG_CASE(43, mg_pow(MG_X, MG_Y))
    MG_CASE(44, mg_atan2(MG_X, MG_Y))
    MG_CASE(45, mg_hypot(MG_X, MG_Y))
    MG_CASE(46, mg_sum(n[2], &MG_Y))
    MG_CASE(47, mg_largest(n[2], &MG_Y))
    MG_CASE(48, mg_dot(n[2], &MG_Y, 1, &MG_Z, 1))
  }
}
#undef MG_CASE
