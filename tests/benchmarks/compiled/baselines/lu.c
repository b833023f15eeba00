/* The determinant by elimination without pivoting and its gradient by the adjoint of every step; u is room for n*n. */
#include <string.h>

double lu_grad(const double *restrict a, int n, double *restrict u, double *restrict g) {
    memcpy(u, a, sizeof *a * n * n);
    double det = u[0];
    for (int k = 0; k < n - 1; k++) {
        for (int i = k + 1; i < n; i++) {
            double f = u[i * n + k] /= u[k * n + k];
            for (int j = k + 1; j < n; j++) u[i * n + j] -= f * u[k * n + j];
        }
        det *= u[(k + 1) * n + k + 1];
    }
    memset(g, 0, sizeof *g * n * n);
    for (int k = 0; k < n; k++) g[k * n + k] = det / u[k * n + k];
    for (int k = n - 2; k >= 0; k--)
        for (int i = k + 1; i < n; i++) {
            double f = u[i * n + k], bar = 0;
            for (int j = k + 1; j < n; j++) {
                bar -= g[i * n + j] * u[k * n + j];
                g[k * n + j] -= g[i * n + j] * f;
            }
            g[i * n + k] = bar / u[k * n + k];
            g[k * n + k] -= g[i * n + k] * f;
        }
    return det;
}
