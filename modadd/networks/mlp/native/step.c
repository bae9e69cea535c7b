// Full-batch training steps of the two-layer network, many in a call: `compiled.py` loads this file.
//
// The same closed form as step.py, arranged for registers and caches. Weights lie in blocks of W neurons, [M / W][P][W],
// so that a vector holds neighbouring neurons; the pairs {x, y} lie by x: row x (K + 1) + d is (x, x + d mod p). A step
// is two sweeps. Forward, a thread at a time takes the pairs of a few x and leaves g = d loss / d logits of them.
// Backward, a thread at a time takes a block of neurons, computes its gradient from g, and updates it while it is in
// cache. No array of all pairs and neurons exists. Every sum runs in one order, whichever thread computes it, so that a
// result does not depend on their number.
//
// Built three times: for AVX-512, for AVX2 with FMA, and for whatever the compiler takes for any machine of the kind.
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __SSE2__
#include <immintrin.h>
#endif

// Lanes of a vector, and register tiles that fill the registers: pairs x labels forward, rows x 2 vectors backward.
#if defined(__AVX512F__)
#define L 16
#define PAIRS 4
#define LABELS 6
#define ROWS 12
#else
#define PAIRS 2
#define LABELS 4
#define ROWS 5
#if defined(__AVX2__)
#define L 8
#else
#define L 4
#endif
#endif
#define W (2 * L)
#define GROUPS 5
#define METRICS (2 * GROUPS + 1)
#define CHUNK (256 / L)  // blocks of neurons in a hidden tile, which then fits the second cache
#define PANEL (CHUNK * PAIRS * W + 4 * W)  // of the hidden tile: a few pairs, all its blocks; not a power of two
#define WARMUP 10

typedef float v __attribute__((vector_size(4 * L), may_alias));
typedef int32_t vi __attribute__((vector_size(4 * L), may_alias));
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

enum { RELU, QUAD, IDENTITY };
enum { SGD, ADAMW };
static const double BETA1 = 0.9, BETA2 = 0.98, EPS = 1e-8;

// One network in training; m and v are not read for SGD.
typedef struct {
  long p, blocks, activation, optimizer;
  double lr, weight_decay;
  const float *count;                                   // [pairs][GROUPS], how often a pair counts in each group
  const double *total;                                  // [GROUPS], their sums
  float *theta, *xi, *theta_m, *xi_m, *theta_v, *xi_v;  // [blocks][p][W]
} Net;

const long net_size = sizeof(Net), block = W;

long supported(void) {
#if defined(__AVX512F__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#elif defined(__AVX2__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
  return 1;
#endif
}

// A call: what its threads share.
typedef struct {
  const Net *net;
  long first, steps, threads;
  float *history, *log_probabilities, *g;
  double *seconds, *sums, *norms;  // [2], [tiles][2 GROUPS], [blocks]
  long pitch, group, tiles, rows, scratch;
  pthread_mutex_t lock;
  pthread_cond_t everybody;
  long waiting, phase;
  atomic_long next;
} Call;

typedef struct {
  Call *call;
  float *scratch;
  long number;
  pthread_t thread;
} Hand;

// Sleeps until all threads are here; the next sweep then starts at its first tile.
static void meet(Call *c) {
  pthread_mutex_lock(&c->lock);
  long phase = c->phase;
  if (++c->waiting == c->threads) {
    c->waiting = 0;
    c->phase++;
    c->next = 0;
    pthread_cond_broadcast(&c->everybody);
  }
  while (c->phase == phase) pthread_cond_wait(&c->everybody, &c->lock);
  pthread_mutex_unlock(&c->lock);
}

INLINE v at(const float *x) { return *(const v *)x; }
INLINE v choose(vi mask, v a, v b) { return (v)(((vi)a & mask) | ((vi)b & ~mask)); }
// The sum and the highest of the lanes, by halves.
INLINE float sum(v a) {
  UNROLL for (int n = L / 2; n; n /= 2) UNROLL for (int i = 0; i < n; i++) a[i] += a[i + n];
  return a[0];
}
INLINE float high(v a) {
  UNROLL for (int n = L / 2; n; n /= 2) UNROLL for (int i = 0; i < n; i++) a[i] = a[i + n] > a[i] ? a[i + n] : a[i];
  return a[0];
}

INLINE v act(int kind, v h) {
  if (kind == RELU) return choose(h > 0, h, (v){});
  if (kind == QUAD) return h * h;
  return h;
}
INLINE v back(int kind, v g, v h) {  // g act'(h)
  if (kind == RELU) return choose(h > 0, g, (v){});
  if (kind == QUAD) return 2 * g * h;
  return g;
}

// e^x for x <= 0 with an error of 1e-7; 0 where it would leave float32. Cephes' polynomial.
INLINE v exp_(v x) {
  const float shift = 12582912;  // adding it rounds to an integer
  v k = (x * 1.44269504f + shift) - shift, r = x - k * 0.693359375f + k * 2.12194440e-4f;
  v y = 1.9875691500e-4f * r + 1.3981999507e-3f;
  y = y * r + 8.3334519073e-3f;
  y = y * r + 4.1665795894e-2f;
  y = y * r + 1.6666665459e-1f;
  y = y * r + 5.0000001201e-1f;
  y = y * r * r + r + 1;
  vi power = (__builtin_convertvector(k, vi) + 127) << 23;
  return choose(x < -87, (v){}, y * (v)power);  // a value that is no number stays none
}

// logits[PAIRS][labels] += a . xi over `blocks` blocks; a: [blocks][PAIRS][W], xi: [blocks][P][W].
INLINE void forward_tile(int labels, long blocks, const float *a, const float *xi, long xi_pitch, float *logits,
                         long pitch) {
  v acc[PAIRS][LABELS];
  UNROLL for (int r = 0; r < PAIRS; r++) UNROLL for (int j = 0; j < labels; j++) acc[r][j] = (v){};
  for (long b = 0; b < blocks; b++, a += PAIRS * W, xi += xi_pitch)
    UNROLL for (int half = 0; half < W; half += L) {
      v x[LABELS];
      UNROLL for (int j = 0; j < labels; j++) x[j] = at(xi + j * W + half);
      UNROLL for (int r = 0; r < PAIRS; r++) {
        v row = at(a + r * W + half);
        UNROLL for (int j = 0; j < labels; j++) acc[r][j] += row * x[j];
      }
    }
#if L == 16
  UNROLL for (int j = 0; j < labels; j++) {  // four sums at once
    __m512 a0 = (__m512)acc[0][j], a1 = (__m512)acc[1][j], a2 = (__m512)acc[2][j], a3 = (__m512)acc[3][j];
    __m512 t0 = _mm512_add_ps(_mm512_unpacklo_ps(a0, a1), _mm512_unpackhi_ps(a0, a1));
    __m512 t1 = _mm512_add_ps(_mm512_unpacklo_ps(a2, a3), _mm512_unpackhi_ps(a2, a3));
    __m512 u = _mm512_add_ps(_mm512_shuffle_ps(t0, t1, 0x44), _mm512_shuffle_ps(t0, t1, 0xEE));
    __m256 w = _mm256_add_ps(_mm512_castps512_ps256(u), _mm512_extractf32x8_ps(u, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(w), _mm256_extractf128_ps(w, 1));
    UNROLL for (int r = 0; r < PAIRS; r++) logits[r * pitch + j] += s[r];
  }
#else
  UNROLL for (int j = 0; j < labels; j++) UNROLL for (int r = 0; r < PAIRS; r++) logits[r * pitch + j] += sum(acc[r][j]);
#endif
}

// Pairs (x, x + d), .. of one x: the gradient at their hidden values goes into dtheta; leaves their activations in a.
INLINE void theta_tile(int rows, int kind, long p, long pitch, const float *g, const float *theta, const float *xi,
                       float *dtheta, float *a, long x, long d) {
  v acc[ROWS][2];
  UNROLL for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = (v){};
  for (long j = 0; j < p; j++) {
    v x0 = at(xi + j * W), x1 = at(xi + j * W + L);
    UNROLL for (int r = 0; r < rows; r++) {
      acc[r][0] += g[r * pitch + j] * x0;
      acc[r][1] += g[r * pitch + j] * x1;
    }
  }
  UNROLL for (int half = 0; half < 2; half++) {
    v mine = at(theta + x * W + half * L), s = {};
    UNROLL for (int r = 0; r < rows; r++) {
      long y = x + d + r;
      y -= y >= p ? p : 0;
      v h = mine + at(theta + y * W + half * L), dh = back(kind, acc[r][half], h);
      *(v *)(a + r * W + half * L) = act(kind, h);
      *(v *)(dtheta + y * W + half * L) += dh;
      s += dh;
    }
    *(v *)(dtheta + x * W + half * L) += s;
  }
}

// dxi[labels] += g^T a over `rows` pairs.
INLINE void xi_tile(int labels, long rows, long pitch, const float *g, const float *a, float *dxi) {
  v acc[ROWS][2];
  UNROLL for (int j = 0; j < labels; j++) UNROLL for (int h = 0; h < 2; h++) acc[j][h] = at(dxi + j * W + h * L);
  for (long r = 0; r < rows; r++) {
    v a0 = at(a + r * W), a1 = at(a + r * W + L);
    UNROLL for (int j = 0; j < labels; j++) {
      acc[j][0] += g[r * pitch + j] * a0;
      acc[j][1] += g[r * pitch + j] * a1;
    }
  }
  UNROLL for (int j = 0; j < labels; j++) UNROLL for (int h = 0; h < 2; h++) *(v *)(dxi + j * W + h * L) = acc[j][h];
}

// A tile's size is known to the compiler, which keeps it in registers.
#define CASE(n, f, ...) case n: f(n, __VA_ARGS__); break;
#define UP_TO_4(f, ...) CASE(1, f, __VA_ARGS__) CASE(2, f, __VA_ARGS__) CASE(3, f, __VA_ARGS__) CASE(4, f, __VA_ARGS__)
#define UP_TO_6(f, ...) UP_TO_4(f, __VA_ARGS__) CASE(5, f, __VA_ARGS__) CASE(6, f, __VA_ARGS__)
#define UP_TO_12(f, ...) UP_TO_6(f, __VA_ARGS__) CASE(7, f, __VA_ARGS__) CASE(8, f, __VA_ARGS__) \
  CASE(9, f, __VA_ARGS__) CASE(10, f, __VA_ARGS__) CASE(11, f, __VA_ARGS__) CASE(12, f, __VA_ARGS__)
#if L == 16
#define EACH_LABELS(n, ...) switch (n) { UP_TO_6(__VA_ARGS__) }
#define EACH_ROWS(n, ...) switch (n) { UP_TO_12(__VA_ARGS__) }
#else
#define EACH_LABELS(n, ...) switch (n) { UP_TO_4(__VA_ARGS__) }
#define EACH_ROWS(n, ...) switch (n) { UP_TO_4(__VA_ARGS__) CASE(5, __VA_ARGS__) }
#endif

// Logits to g and to what the history needs, for one pair; `sums` grows by its losses and hits.
INLINE void softmax(long p, long pitch, long label, const float *logits, const float *count, const double *total,
                    float *g, float *log_probabilities, double *sums) {
  vi lane;
  for (int i = 0; i < L; i++) lane[i] = i;
  v highest = at(logits), others = {};
  for (long j = L; j < pitch; j += L) highest = choose(at(logits + j) > highest, at(logits + j), highest);
  float top = high(highest);
  vi sooner = {};
  for (long j = 0; j < pitch; j += L) {
    v x = at(logits + j), e = exp_(x - top);
    sooner |= (x == top) & (lane + (int)j < (int)label);
    others += choose(lane + (int)j == (int)label, (v){}, e);
    *(v *)(g + j) = e;
  }
  // The others are summed apart: beside a probability near 1 their sum would be rounded to its last bits.
  float own = g[label], rest = sum(others), mine = logits[label] - top;
  float log_sum = mine == 0 ? log1pf(rest) : logf(own + rest), loss = log_sum - mine;
  int hit = mine == 0;
  for (int i = 0; i < L; i++) hit &= !sooner[i];  // of equal logits the first is the answer
  float weight = count[0] / (float)total[0] / (own + rest);
  for (long j = 0; j < pitch; j += L) *(v *)(g + j) *= weight;
  g[label] = -rest * weight;
  for (int i = 0; i < GROUPS; i++) {
    sums[i] += (double)loss * count[i];
    sums[GROUPS + i] += hit * count[i];
  }
  if (log_probabilities)
    for (long j = 0; j < p; j++) log_probabilities[j] = logits[j] - top - log_sum;
}

// The pairs of a few x, forward.
INLINE void forward(int kind, Call *c, long tile, float *a, float *logits, float *log_probabilities) {
  const Net *net = c->net;
  const long p = net->p, half = (p + 1) / 2, pitch = c->pitch, block_size = p * W;
  const long x0 = tile * c->group, count = p - x0 < c->group ? p - x0 : c->group, rows = count * half;
  const long padded = (rows + PAIRS - 1) / PAIRS * PAIRS, label_parts = (p + LABELS - 1) / LABELS;
  memset(logits, 0, sizeof(float) * padded * pitch);
  for (long b0 = 0; b0 < net->blocks; b0 += CHUNK) {
    const long blocks = net->blocks - b0 < CHUNK ? net->blocks - b0 : CHUNK;
    for (long b = 0; b < blocks; b++) {
      const float *theta = net->theta + (b0 + b) * block_size;
      for (long x = x0, r = 0; x < x0 + count; x++) {
        v t0 = at(theta + x * W), t1 = at(theta + x * W + L);
        for (long d = 0, y = x; d < half; d++, r++, y = y + 1 == p ? 0 : y + 1) {
          float *out = a + r / PAIRS * PANEL + b * PAIRS * W + r % PAIRS * W;
          *(v *)out = act(kind, t0 + at(theta + y * W));
          *(v *)(out + L) = act(kind, t1 + at(theta + y * W + L));
        }
      }
    }
    for (long i = 0; i < label_parts; i++) {
      long j = i * p / label_parts, labels = (i + 1) * p / label_parts - j;
      const float *xi = net->xi + b0 * block_size + j * W;
      for (long r = 0; r < padded; r += PAIRS)
        EACH_LABELS(labels, forward_tile, blocks, a + r / PAIRS * PANEL, xi, block_size, logits + r * pitch + j, pitch)
    }
  }
  double *sums = c->sums + tile * 2 * GROUPS;
  memset(sums, 0, sizeof(double) * 2 * GROUPS);
  for (long r = 0; r < rows; r++) {
    long x = x0 + r / half, d = r % half, n = x0 * half + r;
    float *row = logits + r * pitch;
    for (long j = p; j < pitch; j++) row[j] = -1e30f;  // no answer
    softmax(p, pitch, (2 * x + d) % p, row, net->count + n * GROUPS, net->total, c->g + n * pitch,
            log_probabilities ? log_probabilities + (d * p + x) * p : NULL, sums);
  }
}

// The gradient of a block of neurons, from g.
INLINE void backward(int kind, Call *c, long b, float *a, float *dtheta, float *dxi) {
  const Net *net = c->net;
  const long p = net->p, half = (p + 1) / 2, pitch = c->pitch;
  const long parts = (half + ROWS - 1) / ROWS, label_parts = (p + ROWS - 1) / ROWS;
  const float *theta = net->theta + b * p * W, *xi = net->xi + b * p * W;
  memset(dtheta, 0, sizeof(float) * p * W);
  memset(dxi, 0, sizeof(float) * p * W);
  for (long x0 = 0; x0 < p; x0 += c->group) {
    const long count = p - x0 < c->group ? p - x0 : c->group;
    const float *g = c->g + x0 * half * pitch;
    for (long x = 0; x < count; x++)
      for (long i = 0; i < parts; i++) {
        long d = i * half / parts, rows = (i + 1) * half / parts - d, r = x * half + d;
        EACH_ROWS(rows, theta_tile, kind, p, pitch, g + r * pitch, theta, xi, dtheta, a + r * W, x0 + x, d)
      }
    for (long i = 0; i < label_parts; i++) {
      long j = i * p / label_parts, labels = (i + 1) * p / label_parts - j;
      EACH_ROWS(labels, xi_tile, count * half, pitch, g + j, a, dxi + j * W)
    }
  }
}

// The sum of squares of n weights.
static double squares(const float *w, long n) {
  v s = {};
  for (long i = 0; i < n; i += L) s += at(w + i) * at(w + i);
  return sum(s);
}

// One update of n weights, as optim.py does it; `rate` is lr for SGD and lr / (1 - beta1^t) for AdamW.
static void update(long kind, long n, float *restrict w, float *restrict m, float *restrict second,
                   const float *restrict g, float keep, float rate, float root) {
  const float rise1 = 1 - BETA1, keep2 = BETA2, rise2 = 1 - BETA2, eps = EPS;
  if (kind == SGD)
    for (long i = 0; i < n; i++) w[i] = w[i] * keep - rate * g[i];
  else
    for (long i = 0; i < n; i++) {
      m[i] += rise1 * (g[i] - m[i]);
      second[i] = keep2 * second[i] + rise2 * (g[i] * g[i]);
      w[i] = w[i] * keep - rate * (m[i] / (sqrtf(second[i]) * root + eps));
    }
}

#define EACH_KIND(kind, f, ...) switch (kind) { \
  case RELU: f(RELU, __VA_ARGS__); break; case QUAD: f(QUAD, __VA_ARGS__); break; default: f(IDENTITY, __VA_ARGS__); }

static double clock_(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

static void work(Hand *hand) {
  Call *c = hand->call;
  const Net *net = c->net;
  const long size = net->p * W, last = c->first + c->steps;
  float *a = hand->scratch, *logits = a + c->rows / PAIRS * PANEL, *dtheta = logits + c->rows * c->pitch, *dxi = dtheta + size;
  for (long step = c->first; step < last + (c->log_probabilities != NULL); step++) {
    float *log_probabilities = step == last ? c->log_probabilities : NULL;
    double began = clock_();
    for (long t; (t = atomic_fetch_add(&c->next, 1)) < c->tiles;)
      EACH_KIND(net->activation, forward, c, t, a, logits, log_probabilities)
    meet(c);
    double turned = clock_();
    float *row = c->history + (step - c->first) * METRICS;
    if (hand->number == 0)
      for (long i = 0; i < 2 * GROUPS; i++) {
        double s = 0;
        for (long t = 0; t < c->tiles; t++) s += c->sums[t * 2 * GROUPS + i];
        row[i] = s / net->total[i % GROUPS];
      }
    double lr = net->lr * (step < WARMUP ? (double)step / WARMUP : 1);
    double rate = net->optimizer == ADAMW ? lr / (1 - pow(BETA1, step + 1)) : lr, root = 1 / sqrt(1 - pow(BETA2, step + 1));
    for (long b; (b = atomic_fetch_add(&c->next, 1)) < net->blocks;) {
      float *theta = net->theta + b * size, *xi = net->xi + b * size;
      c->norms[b] = squares(theta, size) + squares(xi, size);
      if (step == last) continue;
      EACH_KIND(net->activation, backward, c, b, a, dtheta, dxi)
      long o = net->optimizer == ADAMW ? b * size : 0;
      update(net->optimizer, size, theta, net->theta_m + o, net->theta_v + o, dtheta, 1 - lr * net->weight_decay, rate, root);
      update(net->optimizer, size, xi, net->xi_m + o, net->xi_v + o, dxi, 1 - lr * net->weight_decay, rate, root);
    }
    meet(c);
    if (hand->number == 0) {  // the others are at the next forward sweep, which leaves these alone
      double norm = 0;
      for (long b = 0; b < net->blocks; b++) norm += c->norms[b];
      row[METRICS - 1] = sqrt(norm);
      c->seconds[0] += turned - began;
      c->seconds[1] += clock_() - turned;
    }
  }
}

// Tiny numbers count as 0 while the steps run, for some machines take them a hundred times slower; not afterwards.
static void *hand(void *mine) {
#ifdef __SSE2__
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  work(mine);
  _mm_setcsr(before);
#else
  work(mine);
#endif
  return NULL;
}

static void *room(long bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

// `steps` updates from step `first` on; row i of history, [.][METRICS], holds the metrics of step first + i before its
// update. With log_probabilities, [pairs][p] with pair d p + x = {x, x + d mod p}, one more row and they belong to the
// weights at the end. `seconds` grows by what the forward and the backward sweeps took. Returns 0, or 1 without memory.
long advance(const Net *net, long first, long steps, long threads, float *history, float *log_probabilities,
             double *seconds) {
  const long p = net->p, half = (p + 1) / 2, pairs = p * half;
  Call c = {.net = net, .first = first, .steps = steps, .history = history, .log_probabilities = log_probabilities,
            .seconds = seconds};
  c.pitch = (p + L - 1) / L * L;
  c.group = half >= 40 ? 1 : (48 + half - 1) / half;
  if (c.group > p) c.group = p;
  c.tiles = (p + c.group - 1) / c.group;
  c.rows = (c.group * half + PAIRS - 1) / PAIRS * PAIRS;
  c.scratch = c.rows / PAIRS * PANEL + c.rows * c.pitch + 2 * p * W;
  long most = c.tiles > net->blocks ? c.tiles : net->blocks, started = 1;
  if (threads > most) threads = most;
  c.g = room(sizeof(float) * pairs * c.pitch);
  c.sums = room(sizeof(double) * (c.tiles * 2 * GROUPS + net->blocks));
  float *scratch = room(sizeof(float) * c.scratch * threads);
  Hand *hands = calloc(threads, sizeof(Hand));
  long failed = !c.g || !c.sums || !scratch || !hands;
  if (!failed) {
    c.norms = c.sums + c.tiles * 2 * GROUPS;
    memset(scratch, 0, sizeof(float) * c.scratch * threads);
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.everybody, NULL);
    pthread_mutex_lock(&c.lock);  // nobody meets before their number is known
    for (long i = 0; i < threads; i++) hands[i] = (Hand){.call = &c, .scratch = scratch + i * c.scratch, .number = i};
    while (started < threads && !pthread_create(&hands[started].thread, NULL, hand, &hands[started])) started++;
    c.threads = started;
    pthread_mutex_unlock(&c.lock);
    hand(&hands[0]);
    for (long i = 1; i < started; i++) pthread_join(hands[i].thread, NULL);
    pthread_cond_destroy(&c.everybody);
    pthread_mutex_destroy(&c.lock);
  }
  free(hands), free(scratch), free(c.sums), free(c.g);
  return failed;
}
