// Rasterisation on an NVIDIA GPU. One self-contained file for NVRTC: no includes, no templates.
//
// The arithmetic is that of barycentrics.py and cpu.py, operation by operation, in double precision; compile with
// fused multiply-add switched off (--fmad=false), so that all back ends choose the same triangles bit for bit.
//
// Every pixel holds one 64-bit key: depth (its float bits, positive, hence ordered like integers) above the face id.
// The atomic minimum of the keys is free of races, and equal depths go to the lower id.
//
// Arrays, contiguous:
//   vertices double [B, V, 3] NDC      faces int [F, 3]      keys unsigned 64 bit [B, H, W], all ones at the start
//   triangle int [B, H, W]             barycentrics float [B, H, W, 3]            depth float [B, H, W]

#define WARP 32
#define FULL 0xffffffffu
#define BLOCK 128
#define SMALL_BOX 48      // pixels: up to here one thread draws the triangle
#define HUGE_BOX 32768    // pixels: from here the whole block draws it, in between the warp
#define COLLINEAR 1e-12
#define FINITE 1.0e300

typedef unsigned long long Key;

struct Target {
    int height, width;
    int standard;      // rule: 1 standard, 0 pytorch3d
    double epsilon;    // taken off the doubled area, square pixels
    double z_offset;
};

struct Triangle {
    double x0, y0, x1, y1, x2, y2;  // pixels; centres are integers
    double z0, z1, z2;              // z + offset; for the standard rule 1 / that
    double inverse;                 // 1 / (doubled area - epsilon)
    int left, right, top, bottom;   // pixel centres of the bounding box, inclusive; empty if left > right or top > bottom
};

struct Sample {
    double b0, b1, b2, z;
    int seen;
};

static __device__ double smallest(double a, double b, double c) { return fmin(a, fmin(b, c)); }
static __device__ double largest(double a, double b, double c) { return fmax(a, fmax(b, c)); }
static __device__ int all_finite(double a, double b, double c) {
    return fabs(a) < FINITE && fabs(b) < FINITE && fabs(c) < FINITE;
}

// Corners in pixels, bounding box and inverse area. Returns 0 for a triangle that is not drawn.
static __device__ int set_up(const double* vertices, const int* face, int vertex_count, Target target, Triangle* t) {
    int a = face[0], b = face[1], c = face[2];
    if (a < 0 || b < 0 || c < 0 || a >= vertex_count || b >= vertex_count || c >= vertex_count) return 0;
    const double *v0 = vertices + 3ll * a, *v1 = vertices + 3ll * b, *v2 = vertices + 3ll * c;

    double half_width = target.width / 2.0, half_height = target.height / 2.0;
    t->x0 = v0[0] * half_width + (half_width - 0.5);
    t->x1 = v1[0] * half_width + (half_width - 0.5);
    t->x2 = v2[0] * half_width + (half_width - 0.5);
    t->y0 = v0[1] * half_height + (half_height - 0.5);
    t->y1 = v1[1] * half_height + (half_height - 0.5);
    t->y2 = v2[1] * half_height + (half_height - 0.5);
    t->z0 = v0[2] + target.z_offset;
    t->z1 = v1[2] + target.z_offset;
    t->z2 = v2[2] + target.z_offset;
    if (!all_finite(t->x0, t->x1, t->x2) || !all_finite(t->y0, t->y1, t->y2) || !all_finite(t->z0, t->z1, t->z2)) return 0;
    if (target.standard) {
        t->z0 = 1.0 / t->z0;
        t->z1 = 1.0 / t->z1;
        t->z2 = 1.0 / t->z2;
    }

    double p = (t->x1 - t->x0) * (t->y2 - t->y0), q = (t->x2 - t->x0) * (t->y1 - t->y0);
    double area = p - q;
    if (!(fabs(area) > COLLINEAR * (fabs(p) + fabs(q))) || !(fabs(area) > target.epsilon)) return 0;
    t->inverse = 1.0 / (area - target.epsilon);

    t->left = (int)ceil(fmin(fmax(smallest(t->x0, t->x1, t->x2), 0.0), (double)target.width));
    t->right = (int)floor(fmax(fmin(largest(t->x0, t->x1, t->x2), target.width - 1.0), -1.0));
    t->top = (int)ceil(fmin(fmax(smallest(t->y0, t->y1, t->y2), 0.0), (double)target.height));
    t->bottom = (int)floor(fmax(fmin(largest(t->y0, t->y1, t->y2), target.height - 1.0), -1.0));
    return t->left <= t->right && t->top <= t->bottom;
}

static __device__ Sample sample(const Triangle* t, int column, int row, int standard) {
    double x0 = t->x0 - column, x1 = t->x1 - column, x2 = t->x2 - column;
    double y0 = t->y0 - row, y1 = t->y1 - row, y2 = t->y2 - row;
    Sample s;
    s.b0 = (x1 * y2 - x2 * y1) * t->inverse;
    s.b1 = (x2 * y0 - x0 * y2) * t->inverse;
    s.b2 = (x0 * y1 - x1 * y0) * t->inverse;
    s.seen = standard ? (s.b0 > 0.0 && s.b1 >= 0.0 && s.b2 >= 0.0) : (s.b0 > 0.0 && s.b1 > 0.0 && s.b2 > 0.0);
    s.z = 0.0;
    if (s.seen) {
        s.z = s.b0 * t->z0 + s.b1 * t->z1 + s.b2 * t->z2;
        if (standard) s.z = 1.0 / s.z;
    }
    return s;
}

// Every lanes-th pixel of the box, starting at pixel `lane` (row by row).
static __device__ void draw(const Triangle* t, int face, Target target, Key* keys, int lane, int lanes) {
    int box_width = t->right - t->left + 1;
    int column = lane % box_width, row = lane / box_width;
    int column_step = lanes % box_width, row_step = lanes / box_width;
    while (row <= t->bottom - t->top) {
        Sample s = sample(t, t->left + column, t->top + row, target.standard);
        float depth = (float)s.z;
        if (s.seen && depth > 0.0f && depth < __int_as_float(0x7f800000)) {
            Key key = ((Key)__float_as_uint(depth) << 32) | (unsigned int)face;
            Key* place = keys + (long long)(t->top + row) * target.width + (t->left + column);
            if (key < *(volatile Key*)place) atomicMin(place, key);
        }
        column += column_step;
        row += row_step;
        if (column >= box_width) {
            column -= box_width;
            row += 1;
        }
    }
}

static __device__ long long box_area(const Triangle* t) {
    return (long long)(t->right - t->left + 1) * (t->bottom - t->top + 1);
}

// One thread a triangle; neighbours help with the large ones. Launch: ceil(B * F / BLOCK) blocks of BLOCK threads.
extern "C" __global__ void __launch_bounds__(BLOCK) draw_triangles(
    const double* vertices, const int* faces, Key* keys, int batch, int vertex_count, int face_count, int height,
    int width, int standard, double epsilon, double z_offset) {
    __shared__ int huge_count;
    __shared__ int huge[BLOCK];
    Target target = {height, width, standard, epsilon, z_offset};
    long long pixels = (long long)height * width;
    long long first = (long long)blockIdx.x * BLOCK;
    long long mine = first + threadIdx.x;
    int lane = threadIdx.x % WARP;
    if (threadIdx.x == 0) huge_count = 0;
    __syncthreads();

    Triangle t;
    long long area = 0;
    if (mine < (long long)batch * face_count) {
        long long item = mine / face_count;
        int face = (int)(mine % face_count);
        if (set_up(vertices + 3 * item * vertex_count, faces + 3ll * face, vertex_count, target, &t)) {
            area = box_area(&t);
            if (area <= SMALL_BOX) draw(&t, face, target, keys + item * pixels, 0, 1);
            if (area >= HUGE_BOX) huge[atomicAdd(&huge_count, 1)] = threadIdx.x;
        }
    }

    // Middle-sized triangles of this warp, one after another, all lanes on each.
    unsigned int waiting = __ballot_sync(FULL, area > SMALL_BOX && area < HUGE_BOX);
    while (waiting) {
        int owner = __ffs(waiting) - 1;
        waiting &= waiting - 1;
        long long theirs = mine - lane + owner;
        long long item = theirs / face_count;
        int face = (int)(theirs % face_count);
        set_up(vertices + 3 * item * vertex_count, faces + 3ll * face, vertex_count, target, &t);
        draw(&t, face, target, keys + item * pixels, lane, WARP);
    }

    // Huge ones, the whole block on each.
    __syncthreads();
    for (int k = 0; k < huge_count; k++) {
        long long theirs = first + huge[k];
        long long item = theirs / face_count;
        int face = (int)(theirs % face_count);
        set_up(vertices + 3 * item * vertex_count, faces + 3ll * face, vertex_count, target, &t);
        draw(&t, face, target, keys + item * pixels, threadIdx.x, BLOCK);
    }
}

// One thread a pixel: the winner's id, and its barycentrics and depth once more. Launch: ceil(B * H * W / BLOCK) blocks.
extern "C" __global__ void __launch_bounds__(BLOCK) unpack(
    const double* vertices, const int* faces, const Key* keys, int* triangle, float* barycentrics, float* depth,
    int batch, int vertex_count, int face_count, int height, int width, int standard, double epsilon,
    double z_offset) {
    Target target = {height, width, standard, epsilon, z_offset};
    long long pixels = (long long)height * width;
    long long place = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (place >= batch * pixels) return;
    Key key = keys[place];
    int face = -1;
    Sample s = {0.0, 0.0, 0.0, 0.0, 0};
    float z = __int_as_float(0x7f800000);
    if (key != ~0ull) {
        face = (int)(key & 0xffffffffull);
        int row = (int)((place % pixels) / width), column = (int)(place % width);
        Triangle t;
        set_up(vertices + 3 * (place / pixels) * vertex_count, faces + 3ll * face, vertex_count, target, &t);
        s = sample(&t, column, row, standard);
        z = (float)(s.z - z_offset);
    }
    triangle[place] = face;
    barycentrics[3 * place] = (float)s.b0;
    barycentrics[3 * place + 1] = (float)s.b1;
    barycentrics[3 * place + 2] = (float)s.b2;
    depth[place] = z;
}
