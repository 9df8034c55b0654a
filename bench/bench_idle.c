/* `idle`: what agentd costs while nothing happens, and what a viewer that stops reading costs. `start`: from
 * exec to the first accept. `flat`: nothing grows. `size`: the binary. All with the static build. */
#include "bench/bench.h"
void bench_idle(void) {}
void bench_start(void) {}
void bench_flat(void) {}
void bench_size(void) {}
void bench_stress(void) {}
