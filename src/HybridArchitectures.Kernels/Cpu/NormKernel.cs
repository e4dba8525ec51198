using System.Runtime.Intrinsics;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Computes the RMS norm, plain or gated, with one pass that sums squares and one that writes. x (and the gate) are read once from memory, and the
/// second time from the cache. The inputs and one number per normalized part are saved for the gradient.
/// </summary>
static unsafe class NormKernel
{
    /// <summary>Specifies where the SiLU gate is applied.</summary>
    interface IGate
    {
        static abstract bool Gated { get; }
        static abstract bool NormFirst { get; }
    }

    readonly struct NoGate : IGate { public static bool Gated => false; public static bool NormFirst => false; }

    readonly struct GateFirst : IGate { public static bool Gated => true; public static bool NormFirst => false; }

    readonly struct NormFirst : IGate { public static bool Gated => true; static bool IGate.NormFirst => true; }

    /// <summary>Returns the output, and 1 / root mean square of each part, shape (rows * groups), float32.</summary>
    public static (Tensor Output, Tensor Inverse) Forward(NormInputs inputs)
    {
        var (x, gate, groups) = (inputs.X, inputs.Gate, inputs.Groups);
        var (output, inverse) = (Rows.NewLike(x), empty(x.NumberOfElements / x.size(-1) * groups, ScalarType.Float32));
        var weights = CpuRows.Whole(inputs.Weight);
        var (xRows, gateRows, outputRows) = (Rows.From(x), gate is null ? default : Rows.From(gate), Rows.From(output));
        Forwards(x.dtype == ScalarType.BFloat16, gate is not null, inputs.NormFirst)(xRows, gateRows, outputRows,
            CpuRows.Pointer(weights), (float*)TensorMemory.Pointer(inverse), (float)inputs.Epsilon, groups);
        GC.KeepAlive(weights);
        GC.KeepAlive(xRows.Tensor);
        GC.KeepAlive(gateRows.Tensor);
        return (output, inverse);
    }

    /// <summary>Computes the norm of a few rows of float32 without gaps, of x or of x silu(gate), on the calling thread.</summary>
    public static void Forward(float* x, Tensor? gate, Tensor? weight, float* output, long rows, long width, float epsilon)
    {
        float* gates = CpuRows.Pointer(gate), weights = CpuRows.Pointer(weight);
        using var gated = new CpuTasks.Scratch(gate is null ? 0 : width + RowMath.Lanes);
        for (long row = 0; row < rows; row++)
        {
            byte* from = (byte*)(x + row * width), to = (byte*)(output + row * width);
            if (gate is null) ForwardPart<Float32Element, NoGate>(from, null, to, weights, null, width, epsilon);
            else ForwardPart<Float32Element, GateFirst>(from, (byte*)(gates + row * width), to, weights, gated.Memory, width, epsilon);
        }
        GC.KeepAlive((gate, weight));
    }

    /// <summary>Returns the gradients of x, the gate and the weight (float32, null unless needed).</summary>
    public static (Tensor X, Tensor? Gate, Tensor? Weight) Backward(
        Tensor gradient, NormInputs inputs, Tensor inverse, bool wantsWeight)
    {
        var (x, gate, groups) = (inputs.X, inputs.Gate, inputs.Groups);
        var (dx, dGate) = (Rows.NewLike(x), gate is null ? null : Rows.NewLike(x));
        var weights = CpuRows.Whole(inputs.Weight);
        var rows = new BackwardRows(Rows.From(gradient.to(x.dtype)), Rows.From(x), gate is null ? default : Rows.From(gate), Rows.From(dx),
            dGate is null ? default : Rows.From(dGate));
        long blocks = CpuTasks.Blocks(rows.X.Count);
        var partial = wantsWeight ? zeros(blocks, x.size(-1), ScalarType.Float32) : null;
        Backwards(x.dtype == ScalarType.BFloat16, gate is not null, inputs.NormFirst)(rows, CpuRows.Pointer(weights),
            (float*)TensorMemory.Pointer(inverse), partial is null ? null : (float*)TensorMemory.Pointer(partial), blocks, groups);
        GC.KeepAlive(weights);
        GC.KeepAlive(inverse);
        GC.KeepAlive(rows);
        return (dx, dGate, partial?.sum(dim: 0));
    }

    sealed record BackwardRows(Rows Gradient, Rows X, Rows Gate, Rows DX, Rows DGate);

    delegate void ForwardLoop(Rows x, Rows gate, Rows output, float* weight, float* inverse, float epsilon, int groups);

    delegate void BackwardLoop(BackwardRows rows, float* weight, float* inverse, float* partial, long blocks, int groups);

    static ForwardLoop Forwards(bool bfloat16, bool gated, bool normFirst) => (bfloat16, gated, normFirst) switch
    {
        (false, false, _) => RunForward<Float32Element, NoGate>,
        (false, true, false) => RunForward<Float32Element, GateFirst>,
        (false, true, true) => RunForward<Float32Element, NormFirst>,
        (true, false, _) => RunForward<BFloat16Element, NoGate>,
        (true, true, false) => RunForward<BFloat16Element, GateFirst>,
        (true, true, true) => RunForward<BFloat16Element, NormFirst>,
    };

    static BackwardLoop Backwards(bool bfloat16, bool gated, bool normFirst) => (bfloat16, gated, normFirst) switch
    {
        (false, false, _) => RunBackward<Float32Element, NoGate>,
        (false, true, false) => RunBackward<Float32Element, GateFirst>,
        (false, true, true) => RunBackward<Float32Element, NormFirst>,
        (true, false, _) => RunBackward<BFloat16Element, NoGate>,
        (true, true, false) => RunBackward<BFloat16Element, GateFirst>,
        (true, true, true) => RunBackward<BFloat16Element, NormFirst>,
    };

    static void RunForward<TElement, TGate>(Rows x, Rows gate, Rows output, float* weight, float* inverse, float epsilon, int groups)
        where TElement : struct, IElement where TGate : struct, IGate
    {
        long part = x.Width / groups;
        CpuTasks.Share(x.Count, x.Width, (from, to) =>
        {
            using var gated = new CpuTasks.Scratch(TGate.Gated && !TGate.NormFirst ? part + RowMath.Lanes : 0);
            for (long row = from; row < to; row++)
                for (int group = 0; group < groups; group++)
                {
                    long offset = group * part * TElement.Size;
                    inverse[row * groups + group] =
                        ForwardPart<TElement, TGate>(x[row] + offset, TGate.Gated ? gate[row] + offset : null, output[row] + offset,
                        weight == null ? null : weight + group * part, gated.Memory, part, epsilon);
                }
        });
    }

    static float ForwardPart<TElement, TGate>(byte* x, byte* gate, byte* output, float* weight, float* gated, long count, float epsilon)
        where TElement : struct, IElement where TGate : struct, IGate
    {
        var (even, odd) = (Vector256<float>.Zero, Vector256<float>.Zero);
        for (long i = 0; i < count; i += RowMath.Lanes)
        {
            var value = RowMath.Load<TElement>(x, i, count);
            if (TGate.Gated && !TGate.NormFirst)
            {
                var z = RowMath.Load<TElement>(gate, i, count);
                value *= z * VectorMath.Sigmoid(z);
                value.Store(gated + i);
            }
            (even, odd) = (odd, Vector256.FusedMultiplyAdd(value, value, even));        // two sums, so that one addition need not wait for the last
        }
        float inverse = 1 / MathF.Sqrt(Vector256.Sum(even + odd) / count + epsilon);
        var factor = Vector256.Create(inverse);
        for (long i = 0; i < count; i += RowMath.Lanes)
        {
            var value = TGate.Gated && !TGate.NormFirst ? Vector256.Load(gated + i) : RowMath.Load<TElement>(x, i, count);
            value *= factor;
            if (weight != null) value *= RowMath.Load<Float32Element>((byte*)weight, i, count);
            if (TGate.NormFirst)
            {
                var z = RowMath.Load<TElement>(gate, i, count);
                value *= z * VectorMath.Sigmoid(z);
            }
            RowMath.Store<TElement>(output, i, count, value);
        }
        return inverse;
    }

    static void RunBackward<TElement, TGate>(BackwardRows rows, float* weight, float* inverse, float* partial, long blocks, int groups)
        where TElement : struct, IElement where TGate : struct, IGate
    {
        long width = rows.X.Width, part = width / groups;
        CpuTasks.ShareBlocks(rows.X.Count, width, blocks, (block, from, to) =>
        {
            using var scratch = new CpuTasks.Scratch(3 * (part + RowMath.Lanes));
            for (long row = from; row < to; row++)
                for (int group = 0; group < groups; group++)
                {
                    long first = group * part, offset = first * TElement.Size;
                    BackwardPart<TElement, TGate>(rows.Gradient[row] + offset, rows.X[row] + offset, TGate.Gated ? rows.Gate[row] + offset : null,
                        weight == null ? null : weight + first, inverse[row * groups + group], rows.DX[row] + offset,
                        TGate.Gated ? rows.DGate[row] + offset : null,
                        partial == null ? null : partial + block * width + first, scratch.Memory, part);
                }
        });
    }

    // with n = x / rms (x gated first, or not), y = n w s: dn = dy w s, dx = (dn - n mean(dn n)) / rms, dw = sum of dy s n
    static void BackwardPart<TElement, TGate>(
        byte* gradient, byte* x, byte* gate, float* weight, float inverse, byte* dx, byte* dGate, float* dWeight, float* scratch, long count)
        where TElement : struct, IElement where TGate : struct, IGate
    {
        long stride = count + RowMath.Lanes;
        float* normed = scratch, dNormed = scratch + stride, sigmoids = scratch + 2 * stride;
        var factor = Vector256.Create(inverse);
        var (even, odd) = (Vector256<float>.Zero, Vector256<float>.Zero);
        for (long i = 0; i < count; i += RowMath.Lanes)
        {
            var (dy, n) = (RowMath.Load<TElement>(gradient, i, count), RowMath.Load<TElement>(x, i, count) * factor);
            if (TGate.Gated)
            {
                var z = RowMath.Load<TElement>(gate, i, count);
                var sigmoid = VectorMath.Sigmoid(z);
                sigmoid.Store(sigmoids + i);
                if (TGate.NormFirst) dy *= z * sigmoid;
                else n *= z * sigmoid;
            }
            if (dWeight != null)
            {
                var sum = RowMath.Load<Float32Element>((byte*)dWeight, i, count);
                RowMath.Store<Float32Element>((byte*)dWeight, i, count, Vector256.FusedMultiplyAdd(dy, n, sum));
            }
            if (weight != null) dy *= RowMath.Load<Float32Element>((byte*)weight, i, count);
            n.Store(normed + i);
            dy.Store(dNormed + i);
            (even, odd) = (odd, Vector256.FusedMultiplyAdd(dy, n, even));
        }
        var mean = Vector256.Create(Vector256.Sum(even + odd) / count);
        for (long i = 0; i < count; i += RowMath.Lanes)
        {
            var (n, dn) = (Vector256.Load(normed + i), Vector256.Load(dNormed + i));
            var dValue = (dn - n * mean) * factor;
            if (TGate.Gated)
            {
                var (z, sigmoid) = (RowMath.Load<TElement>(gate, i, count), Vector256.Load(sigmoids + i));
                var slope = VectorMath.SiluSlope(z, sigmoid);
                if (TGate.NormFirst)
                {
                    var through = RowMath.Load<TElement>(gradient, i, count) * n;
                    if (weight != null) through *= RowMath.Load<Float32Element>((byte*)weight, i, count);
                    RowMath.Store<TElement>(dGate, i, count, through * slope);
                }
                else
                {
                    RowMath.Store<TElement>(dGate, i, count, dValue * RowMath.Load<TElement>(x, i, count) * slope);
                    dValue *= z * sigmoid;
                }
            }
            RowMath.Store<TElement>(dx, i, count, dValue);
        }
    }
}
