using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Multiplies matrices that fit into the first cache levels of a core (up to about 128 x 128), on one core. Matrices are row-major float32. The
/// numbers of rows are multiples of 4, and those of columns multiples of 8: callers add padding. Eight sums of a 4 x 16 tile stay in registers. Per
/// step of the depth, two vectors of b and four numbers of a are read for eight fused multiply-adds, so the arithmetic units and not the load ports
/// are the limit. With 512-bit vectors, a tile is 4 x 32. Every sum is computed in the order of the depth, so the result does not depend on the tile.
/// </summary>
static unsafe class SmallMatrix
{
    /// <summary>Computes c (+)= a b, with a (rows x depth) and b (depth x columns).</summary>
    public static void Product(int rows, int columns, int depth, float* a, int aStride, float* b, int bStride, float* c, int cStride, bool add)
    {
        int j = 0;
        if (Vector512.IsHardwareAccelerated)
            for (; j + 32 <= columns; j += 32)
                for (int i = 0; i < rows; i += 4)
                    Tile32(depth, a + (nint)i * aStride, aStride, b + j, bStride, c + (nint)i * cStride + j, cStride, add);
        for (; j + 16 <= columns; j += 16)
            for (int i = 0; i < rows; i += 4) Tile16(depth, a + (nint)i * aStride, aStride, b + j, bStride, c + (nint)i * cStride + j, cStride, add);
        if (j < columns)
            for (int i = 0; i < rows; i += 4)
                Tile8(depth, a + (nint)i * aStride, aStride, 1, b + j, bStride, c + (nint)i * cStride + j, cStride, add);
    }

    /// <summary>Computes c (+)= a^T b, with a (depth x rows) and b (depth x columns).</summary>
    public static void TransposedProduct(
        int rows, int columns, int depth, float* a, int aStride, float* b, int bStride, float* c, int cStride, bool add)
    {
        int j = 0;
        if (Vector512.IsHardwareAccelerated)
            for (; j + 32 <= columns; j += 32)
                for (int i = 0; i < rows; i += 4) TransposedTile32(depth, a + i, aStride, b + j, bStride, c + (nint)i * cStride + j, cStride, add);
        for (; j + 16 <= columns; j += 16)
            for (int i = 0; i < rows; i += 4) TransposedTile16(depth, a + i, aStride, b + j, bStride, c + (nint)i * cStride + j, cStride, add);
        if (j < columns)
            for (int i = 0; i < rows; i += 4) Tile8(depth, a + i, 1, aStride, b + j, bStride, c + (nint)i * cStride + j, cStride, add);
    }

    /// <summary>Transposes from (rows x columns) to (columns x rows). Both are multiples of 8.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(int rows, int columns, float* from, int fromStride, float* to, int toStride)
    {
        for (int i = 0; i < rows; i += 8)
            for (int j = 0; j < columns; j += 8)
            {
                float* source = from + (nint)i * fromStride + j;
                float* target = to + (nint)j * toStride + i;
                if (Avx.IsSupported) Transpose8(source, fromStride, target, toStride);
                else
                    for (int k = 0; k < 64; k++) target[(k & 7) * toStride + (k >> 3)] = source[(k >> 3) * fromStride + (k & 7)];
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Tile16(int depth, float* a, int aStride, float* b, int bStride, float* c, int cStride, bool add)
    {
        float* a1 = a + aStride, a2 = a1 + aStride, a3 = a2 + aStride;
        Vector256<float> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (nint k = 0; k < depth; k++)
        {
            var b0 = Vector256.Load(b);
            var b1 = Vector256.Load(b + 8);
            b += bStride;
            var value = Vector256.Create(a[k]);
            c00 = Vector256.MultiplyAddEstimate(value, b0, c00); c01 = Vector256.MultiplyAddEstimate(value, b1, c01);
            value = Vector256.Create(a1[k]);
            c10 = Vector256.MultiplyAddEstimate(value, b0, c10); c11 = Vector256.MultiplyAddEstimate(value, b1, c11);
            value = Vector256.Create(a2[k]);
            c20 = Vector256.MultiplyAddEstimate(value, b0, c20); c21 = Vector256.MultiplyAddEstimate(value, b1, c21);
            value = Vector256.Create(a3[k]);
            c30 = Vector256.MultiplyAddEstimate(value, b0, c30); c31 = Vector256.MultiplyAddEstimate(value, b1, c31);
        }
        Put(c, c00, c01, add); c += cStride;
        Put(c, c10, c11, add); c += cStride;
        Put(c, c20, c21, add); c += cStride;
        Put(c, c30, c31, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void TransposedTile16(int depth, float* a, int aStride, float* b, int bStride, float* c, int cStride, bool add)
    {
        Vector256<float> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (int k = 0; k < depth; k++)
        {
            var b0 = Vector256.Load(b);
            var b1 = Vector256.Load(b + 8);
            b += bStride;
            var value = Vector256.Create(a[0]);
            c00 = Vector256.MultiplyAddEstimate(value, b0, c00); c01 = Vector256.MultiplyAddEstimate(value, b1, c01);
            value = Vector256.Create(a[1]);
            c10 = Vector256.MultiplyAddEstimate(value, b0, c10); c11 = Vector256.MultiplyAddEstimate(value, b1, c11);
            value = Vector256.Create(a[2]);
            c20 = Vector256.MultiplyAddEstimate(value, b0, c20); c21 = Vector256.MultiplyAddEstimate(value, b1, c21);
            value = Vector256.Create(a[3]);
            c30 = Vector256.MultiplyAddEstimate(value, b0, c30); c31 = Vector256.MultiplyAddEstimate(value, b1, c31);
            a += aStride;
        }
        Put(c, c00, c01, add); c += cStride;
        Put(c, c10, c11, add); c += cStride;
        Put(c, c20, c21, add); c += cStride;
        Put(c, c30, c31, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Tile32(int depth, float* a, int aStride, float* b, int bStride, float* c, int cStride, bool add)
    {
        float* a1 = a + aStride, a2 = a1 + aStride, a3 = a2 + aStride;
        Vector512<float> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (nint k = 0; k < depth; k++)
        {
            var b0 = Vector512.Load(b);
            var b1 = Vector512.Load(b + 16);
            b += bStride;
            var value = Vector512.Create(a[k]);
            c00 = Vector512.MultiplyAddEstimate(value, b0, c00); c01 = Vector512.MultiplyAddEstimate(value, b1, c01);
            value = Vector512.Create(a1[k]);
            c10 = Vector512.MultiplyAddEstimate(value, b0, c10); c11 = Vector512.MultiplyAddEstimate(value, b1, c11);
            value = Vector512.Create(a2[k]);
            c20 = Vector512.MultiplyAddEstimate(value, b0, c20); c21 = Vector512.MultiplyAddEstimate(value, b1, c21);
            value = Vector512.Create(a3[k]);
            c30 = Vector512.MultiplyAddEstimate(value, b0, c30); c31 = Vector512.MultiplyAddEstimate(value, b1, c31);
        }
        Put(c, c00, c01, add); c += cStride;
        Put(c, c10, c11, add); c += cStride;
        Put(c, c20, c21, add); c += cStride;
        Put(c, c30, c31, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void TransposedTile32(int depth, float* a, int aStride, float* b, int bStride, float* c, int cStride, bool add)
    {
        Vector512<float> c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (int k = 0; k < depth; k++)
        {
            var b0 = Vector512.Load(b);
            var b1 = Vector512.Load(b + 16);
            b += bStride;
            var value = Vector512.Create(a[0]);
            c00 = Vector512.MultiplyAddEstimate(value, b0, c00); c01 = Vector512.MultiplyAddEstimate(value, b1, c01);
            value = Vector512.Create(a[1]);
            c10 = Vector512.MultiplyAddEstimate(value, b0, c10); c11 = Vector512.MultiplyAddEstimate(value, b1, c11);
            value = Vector512.Create(a[2]);
            c20 = Vector512.MultiplyAddEstimate(value, b0, c20); c21 = Vector512.MultiplyAddEstimate(value, b1, c21);
            value = Vector512.Create(a[3]);
            c30 = Vector512.MultiplyAddEstimate(value, b0, c30); c31 = Vector512.MultiplyAddEstimate(value, b1, c31);
            a += aStride;
        }
        Put(c, c00, c01, add); c += cStride;
        Put(c, c10, c11, add); c += cStride;
        Put(c, c20, c21, add); c += cStride;
        Put(c, c30, c31, add);
    }

    // the last eight columns if they are not sixteen; consecutive rows of a are aRow apart, and consecutive depths aColumn
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    static void Tile8(int depth, float* a, int aRow, int aColumn, float* b, int bStride, float* c, int cStride, bool add)
    {
        Vector256<float> c0 = default, c1 = default, c2 = default, c3 = default;
        for (int k = 0; k < depth; k++)
        {
            var value = Vector256.Load(b);
            b += bStride;
            c0 = Vector256.MultiplyAddEstimate(Vector256.Create(a[0]), value, c0);
            c1 = Vector256.MultiplyAddEstimate(Vector256.Create(a[aRow]), value, c1);
            c2 = Vector256.MultiplyAddEstimate(Vector256.Create(a[2 * (nint)aRow]), value, c2);
            c3 = Vector256.MultiplyAddEstimate(Vector256.Create(a[3 * (nint)aRow]), value, c3);
            a += aColumn;
        }
        Put(c, c0, add); c += cStride;
        Put(c, c1, add); c += cStride;
        Put(c, c2, add); c += cStride;
        Put(c, c3, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Put(float* c, Vector256<float> first, Vector256<float> second, bool add)
    {
        Put(c, first, add);
        Put(c + 8, second, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Put(float* c, Vector512<float> first, Vector512<float> second, bool add)
    {
        if (add)
        {
            first += Vector512.Load(c);
            second += Vector512.Load(c + 16);
        }
        first.Store(c);
        second.Store(c + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Put(float* c, Vector256<float> value, bool add)
    {
        if (add) value += Vector256.Load(c);
        value.Store(c);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static void Transpose8(float* from, nint fromStride, float* to, nint toStride)
    {
        var r0 = Vector256.Load(from); from += fromStride;
        var r1 = Vector256.Load(from); from += fromStride;
        var r2 = Vector256.Load(from); from += fromStride;
        var r3 = Vector256.Load(from); from += fromStride;
        var r4 = Vector256.Load(from); from += fromStride;
        var r5 = Vector256.Load(from); from += fromStride;
        var r6 = Vector256.Load(from); from += fromStride;
        var r7 = Vector256.Load(from);
        var (t0, t1, t2, t3) = (Avx.UnpackLow(r0, r1), Avx.UnpackHigh(r0, r1), Avx.UnpackLow(r2, r3), Avx.UnpackHigh(r2, r3));
        var (t4, t5, t6, t7) = (Avx.UnpackLow(r4, r5), Avx.UnpackHigh(r4, r5), Avx.UnpackLow(r6, r7), Avx.UnpackHigh(r6, r7));
        const byte Low = 0x44, High = 0xEE;
        r0 = Avx.Shuffle(t0, t2, Low); r1 = Avx.Shuffle(t0, t2, High); r2 = Avx.Shuffle(t1, t3, Low); r3 = Avx.Shuffle(t1, t3, High);
        r4 = Avx.Shuffle(t4, t6, Low); r5 = Avx.Shuffle(t4, t6, High); r6 = Avx.Shuffle(t5, t7, Low); r7 = Avx.Shuffle(t5, t7, High);
        Avx.Permute2x128(r0, r4, 0x20).Store(to); to += toStride;
        Avx.Permute2x128(r1, r5, 0x20).Store(to); to += toStride;
        Avx.Permute2x128(r2, r6, 0x20).Store(to); to += toStride;
        Avx.Permute2x128(r3, r7, 0x20).Store(to); to += toStride;
        Avx.Permute2x128(r0, r4, 0x31).Store(to); to += toStride;
        Avx.Permute2x128(r1, r5, 0x31).Store(to); to += toStride;
        Avx.Permute2x128(r2, r6, 0x31).Store(to); to += toStride;
        Avx.Permute2x128(r3, r7, 0x31).Store(to);
    }
}
