/* The sum of squares of a exp(-b x) + c - y and its gradient by a, b, c; gcc -ffast-math calls libmvec's exp. */
#include <math.h>

double least_squares_grad(const double *p, const double *restrict x, const double *restrict y, int n, double *g) {
    const double a = p[0], b = p[1], c = p[2];
    double sum = 0, ga = 0, gb = 0, gc = 0;
    for (int i = 0; i < n; i++) {
        double e = exp(-b * x[i]), r = a * e + c - y[i];
        sum += r * r, ga += r * e, gb += r * e * x[i], gc += r;
    }
    g[0] = 2 * ga, g[1] = -2 * a * gb, g[2] = 2 * gc;
    return sum;
}
