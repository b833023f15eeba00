/* A 784-50-10 perceptron with tanh and cross-entropy, one example, forward and backward by hand.
   Weights lie as w1[50][784] b1[50] w2[10][50] b2[10]; the gradient likewise. */

#include <immintrin.h>
#include <math.h>

enum { IN = 784, HID = 50, OUT = 10 };
typedef double v8 __attribute__((vector_size(64), aligned(8)));

double mlp_grad(const double *restrict p, const double *restrict x, int target, double *restrict g) {
    const double *w1 = p, *b1 = w1 + HID * IN, *w2 = b1 + HID, *b2 = w2 + OUT * HID;
    double *g1 = g, *gb1 = g1 + HID * IN, *g2 = gb1 + HID, *gb2 = g2 + OUT * HID;
    double h[HID], z[OUT], e[OUT], total = 0;
    for (int o = 0; o < HID; o += 5) {
        v8 s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}, s4 = {0};
        const double *w = w1 + o * IN;
#pragma GCC unroll 2
        for (int i = 0; i < IN; i += 8) {
            v8 xi = *(const v8 *)(x + i);
            s0 += xi * *(const v8 *)(w + i);
            s1 += xi * *(const v8 *)(w + IN + i);
            s2 += xi * *(const v8 *)(w + 2 * IN + i);
            s3 += xi * *(const v8 *)(w + 3 * IN + i);
            s4 += xi * *(const v8 *)(w + 4 * IN + i);
        }
        h[o] = _mm512_reduce_add_pd((__m512d)s0);
        h[o + 1] = _mm512_reduce_add_pd((__m512d)s1);
        h[o + 2] = _mm512_reduce_add_pd((__m512d)s2);
        h[o + 3] = _mm512_reduce_add_pd((__m512d)s3);
        h[o + 4] = _mm512_reduce_add_pd((__m512d)s4);
    }
    for (int o = 0; o < HID; o++) h[o] = tanh(h[o] + b1[o]);
    for (int o = 0; o < OUT; o++) {
        z[o] = b2[o];
        for (int i = 0; i < HID; i++) z[o] += w2[o * HID + i] * h[i];
    }
    for (int o = 0; o < OUT; o++) total += e[o] = exp(z[o]);
    double d[HID] = {0}, loss = log(total) - z[target];
    for (int o = 0; o < OUT; o++) gb2[o] = e[o] / total - (o == target);
    for (int o = 0; o < OUT; o++)
        for (int i = 0; i < HID; i++) {
            d[i] += w2[o * HID + i] * gb2[o];
            g2[o * HID + i] = h[i] * gb2[o];
        }
    for (int i = 0; i < HID; i++) gb1[i] = d[i] * (1 - h[i] * h[i]);
    for (int o = 0; o < HID; o++)
        for (int i = 0; i < IN; i += 8) *(v8 *)(g1 + o * IN + i) = *(const v8 *)(x + i) * gb1[o];
    return loss;
}

double mlp_many(const double *p, const double *x, int target, double *g, int times) {
    double loss = 0;
    for (int i = 0; i < times; i++) loss = mlp_grad(p, x, target, g);
    return loss;
}
