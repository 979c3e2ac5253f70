// Rasterisation and interpolation on an NVIDIA GPU. One self-contained file for NVRTC: no includes, no templates.
//
// What decides the picture is the arithmetic of barycentrics.py and cpu.py, operation by operation, in double precision;
// compile with fused multiply-add switched off (--fmad=false), so that all back ends choose the same triangles bit for bit.
//
// Every pixel holds one 64-bit key: depth (its float bits, positive, hence ordered like integers) above the face id.
// The minimum of the keys is free of races, and equal depths go to the lower id.
//
// Arrays, contiguous; Real is float, or double if compiled with -DREAL=double:
//   vertices Real [B, V, 3] NDC        faces int or (wide) 64-bit int [F, 3]
//   keys 64 bit [B, H, W], then int [B, LIST] with the large triangles of every item; all ones at the start
//   triangle int [B, H, W]             barycentrics Real [B, H, W, 3]             depth Real [B, H, W]
//   attributes Real [N, D] or [B, N, D]: `stride` is the distance of two items, 0 or N D        picture Real [B, D, H, W]
// Launch: blocks of BLOCK threads; those of the first item of the batch first.
//
// Keys that are used `again` are left as they have to be at the start: resolve takes back those that it has read. The numbers
// of large triangles cannot be taken back while other blocks read them; so every item has two of them, of which one use
// counts with that of its `turn`, and takes the other one back.

#ifndef REAL
#define REAL float
#endif

#define WARP 32
#define FULL 0xffffffffu
#define BLOCK 128
#define TILE_WIDTH 32      // pixels of a block in the kernels that run over pixels
#define TILE_HEIGHT 4
#define WARP_WIDTH 16      // of these, the pixels of a warp: WARP_WIDTH x WARP / WARP_WIDTH
#define DRAW_BLOCKS 8      // blocks that share a multiprocessor, which limits their registers; these three were the
#define RESOLVE_BLOCKS 16  // quickest of those tried on an H200
#define LIST 1024          // numbers for the large triangles of an item: twice how many less one, then their ids
#define LISTED (LIST - 2)
#define STAGE 32           // large triangles that a block looks at together
#define COLLINEAR 1e-12
#define LARGEST_DOUBLE 1.7976931348623157e308
#define EMPTY_KEY (~0ull)

typedef unsigned long long Key;
typedef REAL Real;

// A Python int arrives in 64 bits; sizes fit into 32, in which the arithmetic is quicker.
struct Int {
    long long value;
    __device__ operator int() const { return (int)value; }
};

struct Mesh {
    const Real* vertices;      // of one item
    const void* faces;
    int wide, vertex_count, face_count;
};

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
    int left, top, columns, rows;   // pixel centres of the bounding box
};

struct Sample {
    double b0, b1, b2, z;
    int seen;
};

struct Pixel {
    int column, row, inside;
    long long place;           // row-major, in one picture
};

static __device__ Real infinity() { return (Real)__int_as_float(0x7f800000); }
// Results are not read again here: they shall not drive keys, vertices and attributes out of the L2 cache.
static __device__ void put(int* place, int value) { __stcs(place, value); }
static __device__ void put(Real* place, Real value) { __stcs(place, value); }
static __device__ double smallest(double a, double b, double c) { return fmin(a, fmin(b, c)); }
static __device__ double largest(double a, double b, double c) { return fmax(a, fmax(b, c)); }
static __device__ int all_finite(double a, double b, double c) {
    return fabs(a) <= LARGEST_DOUBLE && fabs(b) <= LARGEST_DOUBLE && fabs(c) <= LARGEST_DOUBLE;
}
static __device__ unsigned int lanes_up_to(int lane) { return FULL >> (WARP - 1 - lane); }
static __device__ unsigned int or_of_lanes(unsigned int bits) {
#if __CUDA_ARCH__ >= 800
    return __reduce_or_sync(FULL, bits);
#else
    for (int step = 1; step < WARP; step *= 2) bits |= __shfl_xor_sync(FULL, bits, step);
    return bits;
#endif
}

// ---- Faces and triangles -------------------------------------------------------------------------------------------

// Rows of the corners of a face. Returns 0 if one of them is not in 0 ... count - 1.
static __device__ int read_face(const void* faces, int wide, int face, int count, int* corners) {
    for (int k = 0; k < 3; k++) {
        long long row = wide ? ((const long long*)faces)[3ll * face + k] : ((const int*)faces)[3ll * face + k];
        if (row < 0 || row >= count) return 0;
        corners[k] = (int)row;
    }
    return 1;
}

// Corners in pixels and z + offset. Returns 0 if the face refers to a vertex that does not exist.
static __device__ int load(const Mesh* mesh, int face, const Target* target, Triangle* t) {
    int corners[3];
    if (!read_face(mesh->faces, mesh->wide, face, mesh->vertex_count, corners)) return 0;
    const Real *v0 = mesh->vertices + 3ll * corners[0], *v1 = mesh->vertices + 3ll * corners[1];
    const Real* v2 = mesh->vertices + 3ll * corners[2];
    double half_width = target->width / 2.0, half_height = target->height / 2.0;
    t->x0 = v0[0] * half_width + (half_width - 0.5);
    t->x1 = v1[0] * half_width + (half_width - 0.5);
    t->x2 = v2[0] * half_width + (half_width - 0.5);
    t->y0 = v0[1] * half_height + (half_height - 0.5);
    t->y1 = v1[1] * half_height + (half_height - 0.5);
    t->y2 = v2[1] * half_height + (half_height - 0.5);
    t->z0 = v0[2] + target->z_offset;
    t->z1 = v1[2] + target->z_offset;
    t->z2 = v2[2] + target->z_offset;
    return 1;
}

// The divisions of a triangle that is drawn.
static __device__ void divide(const Target* target, Triangle* t) {
    double area = (t->x1 - t->x0) * (t->y2 - t->y0) - (t->x2 - t->x0) * (t->y1 - t->y0);
    t->inverse = 1.0 / (area - target->epsilon);
    if (target->standard) {
        t->z0 = 1.0 / t->z0;
        t->z1 = 1.0 / t->z1;
        t->z2 = 1.0 / t->z2;
    }
}

// All of a triangle. Returns 0 if it is not drawn: wrong or not finite corners, no pixel centre in its box, no area.
static __device__ int set_up(const Mesh* mesh, int face, const Target* target, Triangle* t) {
    if (!load(mesh, face, target, t)) return 0;
    if (!all_finite(t->x0, t->x1, t->x2) || !all_finite(t->y0, t->y1, t->y2) || !all_finite(t->z0, t->z1, t->z2)) return 0;

    int right = (int)floor(fmax(fmin(largest(t->x0, t->x1, t->x2), target->width - 1.0), -1.0));
    int bottom = (int)floor(fmax(fmin(largest(t->y0, t->y1, t->y2), target->height - 1.0), -1.0));
    t->left = (int)ceil(fmin(fmax(smallest(t->x0, t->x1, t->x2), 0.0), (double)target->width));
    t->top = (int)ceil(fmin(fmax(smallest(t->y0, t->y1, t->y2), 0.0), (double)target->height));
    t->columns = right - t->left + 1;
    t->rows = bottom - t->top + 1;
    if (t->columns <= 0 || t->rows <= 0) return 0;

    double p = (t->x1 - t->x0) * (t->y2 - t->y0), q = (t->x2 - t->x0) * (t->y1 - t->y0);
    if (!(fabs(p - q) > COLLINEAR * (fabs(p) + fabs(q))) || !(fabs(p - q) > target->epsilon)) return 0;
    divide(target, t);
    return 1;
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

// Key of the triangle at a pixel; all ones if it is not seen there.
static __device__ Key key_at(const Triangle* t, int face, int column, int row, int standard) {
    Sample s = sample(t, column, row, standard);
    float depth = (float)s.z;
    if (!s.seen || !(depth > 0.0f) || !(depth < __int_as_float(0x7f800000))) return EMPTY_KEY;
    return ((Key)__float_as_uint(depth) << 32) | (unsigned int)face;
}

static __device__ void draw_pixel(const Triangle* t, int face, int column, int row, const Target* target, Key* keys) {
    Key key = key_at(t, face, column, row, target->standard);
    if (key == EMPTY_KEY) return;
    Key* place = keys + (long long)row * target->width + column;
    // Not looked at first: the wait for the answer costs more than the atomic operation.
    atomicMin(place, key);
}

static __device__ int* list_of(Key* keys, int batch, int item, long long pixels) {
    return (int*)(keys + batch * pixels) + (long long)item * LIST;
}

// ---- Before: empty keys and lists ----------------------------------------------------------------------------------

// Launch: enough threads for `count` pairs of keys.
extern "C" __global__ void __launch_bounds__(BLOCK) clear_keys(ulonglong2* keys, long long count) {
    long long place = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (place < count) keys[place] = make_ulonglong2(EMPTY_KEY, EMPTY_KEY);
}

// ---- First pass: every triangle into the keys --------------------------------------------------------------------

// A warp takes `share` (a power of two up to WARP) triangles. The pixels of their bounding boxes are numbered through, and
// its lanes take these numbers in turn, so that all lanes are busy whatever the sizes. Triangles with more pixels than
// `large_box` are put on the list and left to the last pass.
// Launch: B * ceil(F / (share * BLOCK / WARP)) blocks.
extern "C" __global__ void __launch_bounds__(BLOCK, DRAW_BLOCKS) draw_triangles(
    const Real* vertices, const void* faces, Key* keys, Int wide, Int batch, Int vertex_count, Int face_count, Int
    height, Int width, Int standard, double epsilon, double z_offset, Int turn, Int share, Int large_box) {
    __shared__ Triangle triangles[BLOCK];
    __shared__ int owners[BLOCK], starts[BLOCK];  // of the triangles with pixels, in their order
    Target target = {height, width, standard, epsilon, z_offset};
    long long pixels = (long long)height * width;
    int lane = threadIdx.x % WARP, warp = threadIdx.x - lane;
    int blocks = (face_count + share * (BLOCK / WARP) - 1) / (share * (BLOCK / WARP));
    int item = blockIdx.x / blocks, first = ((blockIdx.x - item * blocks) * BLOCK + warp) / WARP * share;
    Mesh mesh = {vertices + 3ll * item * vertex_count, faces, wide, vertex_count, face_count};
    Key* picture = keys + item * pixels;
    int* list = list_of(keys, batch, item, pixels);
    Triangle t;
    int area = 0, unlisted = 0;
    if (lane < share && first + lane < face_count && set_up(&mesh, first + lane, &target, &t)) {
        long long box = (long long)t.columns * t.rows;
        if (box <= large_box) {
            area = (int)box;
        } else {
            int slot = atomicAdd(list + turn, 1) + 1;
            if (slot < LISTED) list[2 + slot] = first + lane;
            else unlisted = 1;
        }
        triangles[threadIdx.x] = t;
    }

    int end = area;
    for (int step = 1; step < WARP; step *= 2) {
        int before = __shfl_up_sync(FULL, end, step);
        if (lane >= step) end += before;
    }
    int start = end - area, total = __shfl_sync(FULL, end, WARP - 1);
    unsigned int drawn = __ballot_sync(FULL, area > 0);
    if (area > 0) {
        int rank = __popc(drawn & lanes_up_to(lane)) - 1;
        owners[warp + rank] = lane;
        starts[warp + rank] = start;
    }
    __syncwarp(FULL);

    int passed = -1;  // rank of the last triangle whose first pixel came before this round
    for (int base = 0; base < total; base += WARP) {
        unsigned int mark = (area > 0 && start >= base && start - base < WARP) ? 1u << (start - base) : 0u;
        unsigned int begun = or_of_lanes(mark);
        int rank = passed + __popc(begun & lanes_up_to(lane));
        passed += __popc(begun);
        if (base + lane < total) {
            int owner = owners[warp + rank], number = base + lane - starts[warp + rank];
            const Triangle* theirs = &triangles[warp + owner];
            // Numbers up to large_box, 2^16 or less: the half keeps the quotient far from an integer, whatever its rounding.
            int row = (int)__fdividef(number + 0.5f, (float)theirs->columns);
            int column = number - row * theirs->columns;
            draw_pixel(theirs, first + owner, theirs->left + column, theirs->top + row, &target, picture);
        }
    }

    // Large ones for which the list had no room: all lanes on each.
    unsigned int left_over = __ballot_sync(FULL, unlisted);
    while (left_over) {
        int owner = __ffs(left_over) - 1;
        left_over &= left_over - 1;
        const Triangle* theirs = &triangles[warp + owner];
        for (int row = 0; row < theirs->rows; row++)
            for (int column = lane; column < theirs->columns; column += WARP)
                draw_pixel(theirs, first + owner, theirs->left + column, theirs->top + row, &target, picture);
    }
}

// ---- Passes over pixels --------------------------------------------------------------------------------------------

static __device__ int tiles_across(int width) { return (width + TILE_WIDTH - 1) / TILE_WIDTH; }
static __device__ int tiles_of(int height, int width) {
    return tiles_across(width) * ((height + TILE_HEIGHT - 1) / TILE_HEIGHT);
}

// The pixel of this thread in a tile of TILE_WIDTH x TILE_HEIGHT, a block's; a warp has a compact part of it, so that its
// pixels share triangles.
static __device__ Pixel pixel_of(int tile, int height, int width) {
    int tiles = tiles_across(width), across = TILE_WIDTH / WARP_WIDTH;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    Pixel p;
    p.column = tile % tiles * TILE_WIDTH + warp % across * WARP_WIDTH + lane % WARP_WIDTH;
    p.row = tile / tiles * TILE_HEIGHT + warp / across * (WARP / WARP_WIDTH) + lane / WARP_WIDTH;
    p.inside = p.row < height && p.column < width;
    p.place = (long long)p.row * width + p.column;
    return p;
}

static __device__ int touches(const Triangle* t, int tile, int width) {
    int left = tile % tiles_across(width) * TILE_WIDTH, top = tile / tiles_across(width) * TILE_HEIGHT;
    return t->left < left + TILE_WIDTH && t->left + t->columns > left && t->top < top + TILE_HEIGHT &&
           t->top + t->rows > top;
}

// The least key of this thread's pixel among the large triangles. Called by all threads of the block.
static __device__ Key nearest_large(const int* list, int count, const Mesh* mesh, const Target* target, int tile, Pixel p) {
    __shared__ Triangle staged[STAGE];
    __shared__ int ids[STAGE];
    __shared__ int kept;
    Key best = EMPTY_KEY;
    for (int from = 0; from < count; from += STAGE) {
        __syncthreads();
        if (threadIdx.x == 0) kept = 0;
        __syncthreads();
        int next = from + (int)threadIdx.x;
        if (threadIdx.x < STAGE && next < count) {
            Triangle t;
            if (set_up(mesh, list[next], target, &t) && touches(&t, tile, target->width)) {
                int slot = atomicAdd(&kept, 1);
                staged[slot] = t;
                ids[slot] = list[next];
            }
        }
        __syncthreads();
        for (int k = 0; k < kept; k++) {
            int column = p.column - staged[k].left, row = p.row - staged[k].top;
            if (column < 0 || column >= staged[k].columns || row < 0 || row >= staged[k].rows) continue;
            Key key = key_at(&staged[k], ids[k], p.column, p.row, target->standard);
            if (key < best) best = key;
        }
    }
    return best;
}

// D channels of one pixel from the rows of its corners; `picture` is the pixel's place in the first channel.
static __device__ void mix(const Real* attributes, const int* rows, Real b0, Real b1, Real b2, int channels,
                           Real* picture, long long pixels) {
    const Real *a0 = attributes + (long long)rows[0] * channels, *a1 = attributes + (long long)rows[1] * channels;
    const Real* a2 = attributes + (long long)rows[2] * channels;
#pragma unroll 3
    for (int d = 0; d < channels; d++) put(picture + d * pixels, b0 * a0[d] + b1 * a1[d] + b2 * a2[d]);
}

static __device__ void clear(int channels, Real* picture, long long pixels) {
    for (int d = 0; d < channels; d++) put(picture + d * pixels, (Real)0);
}

// Last pass, one thread a pixel: the large triangles, then the winner's id, its barycentrics and depth once more, and
// the mixed attributes (if channels > 0). `again`: keys and lists are left for another use. Launch: one block for every
// tile of every item.
extern "C" __global__ void __launch_bounds__(BLOCK, RESOLVE_BLOCKS) resolve(
    const Real* vertices, const void* faces, Key* keys, Int wide, Int batch, Int vertex_count, Int face_count, Int
    height, Int width, Int standard, double epsilon, double z_offset, Int turn, Int again, int* triangle,
    Real* barycentrics, Real* depth, Real* picture, const void* attribute_faces, const Real* attributes, Int
    attribute_wide, Int attribute_count, long long stride, Int channels) {
    __shared__ Real weights[3 * BLOCK];
    Target target = {height, width, standard, epsilon, z_offset};
    long long pixels = (long long)height * width;
    int tiles = tiles_of(height, width), item = blockIdx.x / tiles, tile = blockIdx.x - item * tiles;
    Pixel p = pixel_of(tile, height, width);
    int left = tile % tiles_across(width) * TILE_WIDTH, top = tile / tiles_across(width) * TILE_HEIGHT;

    Mesh mesh = {vertices + 3ll * item * vertex_count, faces, wide, vertex_count, face_count};
    long long place = item * pixels + p.place;
    Key key = EMPTY_KEY;
    if (p.inside) {
        key = keys[place];
        if (again && key != EMPTY_KEY) keys[place] = EMPTY_KEY;
    }
    int* list = list_of(keys, batch, item, pixels);
    int large = min(list[turn] + 1, LISTED);
    if (large > 0) {
        Key other = nearest_large(list + 2, large, &mesh, &target, tile, p);
        if (p.inside && other < key) key = other;
    }
    if (again && tile == 0 && threadIdx.x == 0) list[1 - turn] = -1;

    int face = -1;
    Real b0 = 0, b1 = 0, b2 = 0, z = infinity();
    if (key != EMPTY_KEY) {
        Triangle t;
        face = (int)(key & 0xffffffffull);
        load(&mesh, face, &target, &t);
        divide(&target, &t);
        Sample s = sample(&t, p.column, p.row, standard);
        b0 = (Real)s.b0;
        b1 = (Real)s.b1;
        b2 = (Real)s.b2;
        z = (Real)(s.z - z_offset);
    }
    if (p.inside) {
        put(triangle + place, face);
        put(depth + place, z);
    }

    // Three numbers a pixel: through shared memory, so that neighbouring threads write neighbouring numbers.
    Real* mine = weights + 3 * ((p.row - top) * TILE_WIDTH + p.column - left);
    mine[0] = b0;
    mine[1] = b1;
    mine[2] = b2;
    __syncthreads();
    for (int k = threadIdx.x; k < 3 * BLOCK; k += BLOCK) {
        int row = k / (3 * TILE_WIDTH), number = k % (3 * TILE_WIDTH);
        if (top + row < height && 3 * left + number < 3ll * width)
            put(barycentrics + 3 * (item * pixels + (long long)(top + row) * width + left) + number, weights[k]);
    }
    __syncthreads();

    if (p.inside && channels > 0) {
        int rows[3];
        Real* out = picture + (long long)item * channels * pixels + p.place;
        if (face >= 0 && read_face(attribute_faces, attribute_wide, face, attribute_count, rows))
            mix(attributes + item * stride, rows, b0, b1, b2, channels, out, pixels);
        else
            clear(channels, out, pixels);
    }
}

// Attributes mixed over known triangles. Launch: one block for every tile of every item.
extern "C" __global__ void __launch_bounds__(BLOCK) interpolate(
    const int* triangle, const Real* barycentrics, const void* faces, const Real* attributes, Real* picture, Int
    wide, Int batch, Int face_count, Int attribute_count, long long stride, Int channels, Int height, Int width) {
    long long pixels = (long long)height * width;
    int tiles = tiles_of(height, width), item = blockIdx.x / tiles, tile = blockIdx.x - item * tiles;
    Pixel p = pixel_of(tile, height, width);
    if (!p.inside) return;
    long long place = item * pixels + p.place;
    int face = triangle[place], rows[3];
    const Real* b = barycentrics + 3 * place;
    Real* out = picture + (long long)item * channels * pixels + p.place;
    if (face >= 0 && face < face_count && read_face(faces, wide, face, attribute_count, rows))
        mix(attributes + item * stride, rows, b[0], b[1], b[2], channels, out, pixels);
    else
        clear(channels, out, pixels);
}

// ---- Gradients -----------------------------------------------------------------------------------------------------

// Neighbouring lanes with the same triangle add up their shares first; then the first of them writes.
struct Run {
    int lane, last;    // last lane of the run
    int first;         // whether this lane begins it
};

static __device__ Run run_of(int face) {
    Run run;
    run.lane = threadIdx.x % WARP;
    int before = __shfl_up_sync(FULL, face, 1);
    run.first = run.lane == 0 || before != face;
    unsigned int later = __ballot_sync(FULL, run.first) & ~lanes_up_to(run.lane);
    run.last = later ? __ffs(later) - 2 : WARP - 1;
    return run;
}

// The sum over this lane and those after it in the run. Called by all lanes.
static __device__ Real run_sum(Real value, Run run) {
    for (int step = 1; step < WARP; step *= 2) {
        Real other = __shfl_down_sync(FULL, value, step);
        if (run.lane + step <= run.last) value += other;
    }
    return value;
}

// From the picture's gradient to the attributes and the barycentrics; either may be left out (null). The order of the
// additions to gradient_attributes (zeros at the start) is not fixed. Launch: one block for every tile of every item.
extern "C" __global__ void __launch_bounds__(BLOCK) interpolate_backward(
    const Real* gradient, const int* triangle, const Real* barycentrics, const void* faces, const Real* attributes,
    Real* gradient_attributes, Real* gradient_barycentrics, Int wide, Int batch, Int face_count, Int
    attribute_count, long long stride, Int channels, Int height, Int width) {
    long long pixels = (long long)height * width;
    int tiles = tiles_of(height, width), item = blockIdx.x / tiles, tile = blockIdx.x - item * tiles;
    Pixel p = pixel_of(tile, height, width);
    long long place = item * pixels + p.place;
    int rows[3] = {0, 0, 0};
    int face = p.inside ? triangle[place] : -1;
    if (face < 0 || face >= face_count || !read_face(faces, wide, face, attribute_count, rows)) face = -1;
    Real b0 = 0, b1 = 0, b2 = 0, g0 = 0, g1 = 0, g2 = 0;
    if (face >= 0) {
        b0 = barycentrics[3 * place];
        b1 = barycentrics[3 * place + 1];
        b2 = barycentrics[3 * place + 2];
    }
    if (__ballot_sync(FULL, face >= 0)) {
        Run run = run_of(face);
        const Real* from = gradient + (long long)item * channels * pixels + p.place;
        long long a0 = item * stride + (long long)rows[0] * channels, a1 = item * stride + (long long)rows[1] * channels;
        long long a2 = item * stride + (long long)rows[2] * channels;
        for (int d = 0; d < channels; d++) {
            Real g = face >= 0 ? from[d * pixels] : (Real)0;
            if (gradient_barycentrics && face >= 0) {
                g0 += g * attributes[a0 + d];
                g1 += g * attributes[a1 + d];
                g2 += g * attributes[a2 + d];
            }
            if (gradient_attributes) {
                Real s0 = run_sum(b0 * g, run), s1 = run_sum(b1 * g, run), s2 = run_sum(b2 * g, run);
                if (run.first && face >= 0) {
                    atomicAdd(gradient_attributes + a0 + d, s0);
                    atomicAdd(gradient_attributes + a1 + d, s1);
                    atomicAdd(gradient_attributes + a2 + d, s2);
                }
            }
        }
    }
    if (gradient_barycentrics && p.inside) {
        gradient_barycentrics[3 * place] = g0;
        gradient_barycentrics[3 * place + 1] = g1;
        gradient_barycentrics[3 * place + 2] = g2;
    }
}

// From the gradients of barycentrics and depth (either may be null) to the three corners of a pixel's triangle:
// x0, y0, z0, x1, y1, z1, x2, y2, z2, in NDC. The formulas are those of cpu_gradients.py.
static __device__ void corner_gradients(const Triangle* t, Pixel p, const Target* target, double g0, double g1,
                                        double g2, double h, double* out) {
    Sample s = sample(t, p.column, p.row, target->standard);
    double x0 = t->x0 - p.column, x1 = t->x1 - p.column, x2 = t->x2 - p.column;
    double y0 = t->y0 - p.row, y1 = t->y1 - p.row, y2 = t->y2 - p.row;
    if (target->standard) {  // depth 1 / sum(b w) with w = 1 / z
        double square = s.z * s.z * h;
        out[2] = square * s.b0 * t->z0 * t->z0;
        out[5] = square * s.b1 * t->z1 * t->z1;
        out[8] = square * s.b2 * t->z2 * t->z2;
        h = -square;
    } else {  // depth sum(b z)
        out[2] = h * s.b0;
        out[5] = h * s.b1;
        out[8] = h * s.b2;
    }
    g0 += h * t->z0;
    g1 += h * t->z1;
    g2 += h * t->z2;
    double e0 = g0 * t->inverse, e1 = g1 * t->inverse, e2 = g2 * t->inverse;        // to the edge functions
    double a = -(g0 * s.b0 + g1 * s.b1 + g2 * s.b2) * t->inverse;                   // to the doubled area
    double half_width = target->width / 2.0, half_height = target->height / 2.0;
    out[0] = half_width * (e2 * y1 - e1 * y2 + a * (y1 - y2));
    out[3] = half_width * (e0 * y2 - e2 * y0 + a * (y2 - y0));
    out[6] = half_width * (e1 * y0 - e0 * y1 + a * (y0 - y1));
    out[1] = half_height * (e1 * x2 - e2 * x1 + a * (x2 - x1));
    out[4] = half_height * (e2 * x0 - e0 * x2 + a * (x0 - x2));
    out[7] = half_height * (e0 * x1 - e1 * x0 + a * (x1 - x0));
}

// Gradients of barycentrics and depth (either may be null) added to gradient_vertices (zeros at the start); the order of
// the additions is not fixed. Launch: one block for every tile of every item.
extern "C" __global__ void __launch_bounds__(BLOCK) rasterize_backward(
    const Real* vertices, const void* faces, const int* triangle, const Real* gradient_barycentrics, const Real*
    gradient_depth, Real* gradient_vertices, Int wide, Int batch, Int vertex_count, Int face_count, Int height, Int
    width, Int standard, double epsilon, double z_offset) {
    Target target = {height, width, standard, epsilon, z_offset};
    long long pixels = (long long)height * width;
    int tiles = tiles_of(height, width), item = blockIdx.x / tiles, tile = blockIdx.x - item * tiles;
    Pixel p = pixel_of(tile, height, width);
    Mesh mesh = {vertices + 3ll * item * vertex_count, faces, wide, vertex_count, face_count};
    long long place = item * pixels + p.place;
    int face = p.inside ? triangle[place] : -1;
    double share[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
    Triangle t;
    if (face >= 0 && (face >= face_count || !set_up(&mesh, face, &target, &t))) face = -1;
    if (!__ballot_sync(FULL, face >= 0)) return;
    if (face >= 0) {
        const Real* g = gradient_barycentrics + 3 * place;
        int some = gradient_barycentrics != 0;
        corner_gradients(&t, p, &target, some ? (double)g[0] : 0.0, some ? (double)g[1] : 0.0,
                         some ? (double)g[2] : 0.0, gradient_depth ? (double)gradient_depth[place] : 0.0, share);
    }
    Run run = run_of(face);
    int corners[3] = {0, 0, 0};
    if (face >= 0) read_face(faces, wide, face, vertex_count, corners);
    for (int k = 0; k < 9; k++) {
        Real sum = run_sum((Real)share[k], run);
        if (run.first && face >= 0)
            atomicAdd(gradient_vertices + 3 * ((long long)item * vertex_count + corners[k / 3]) + k % 3, sum);
    }
}
