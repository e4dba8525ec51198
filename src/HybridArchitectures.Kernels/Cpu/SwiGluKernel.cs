using System.Runtime.CompilerServices;
using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>
/// Computes silu(gate) * up and its gradients, each in one pass: two reads and one write forward, three reads and two writes backward. Only the
/// inputs are saved.
/// </summary>
static class SwiGluKernel
{
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        var output = Rows.NewLike(gate);
        if (gate.dtype == ScalarType.BFloat16) Forward<BFloat16Element>(Rows.From(gate), Rows.From(up), Rows.From(output));
        else Forward<Float32Element>(Rows.From(gate), Rows.From(up), Rows.From(output));
        return output;
    }

    public static (Tensor Gate, Tensor Up) Backward(Tensor gradient, Tensor gate, Tensor up)
    {
        var (dGate, dUp, dy) = (Rows.NewLike(gate), Rows.NewLike(gate), gradient.to(gate.dtype));
        if (gate.dtype == ScalarType.BFloat16)
            Backward<BFloat16Element>(Rows.From(dy), Rows.From(gate), Rows.From(up), Rows.From(dGate), Rows.From(dUp));
        else Backward<Float32Element>(Rows.From(dy), Rows.From(gate), Rows.From(up), Rows.From(dGate), Rows.From(dUp));
        return (dGate, dUp);
    }

    /// <summary>Computes one row of float32, which may replace its gate.</summary>
    public static unsafe void Forward(float* gate, float* up, float* output, long count) =>
        Row<Float32Element>((byte*)gate, (byte*)up, (byte*)output, count);

    static unsafe void Row<TElement>(byte* gate, byte* up, byte* output, long count) where TElement : struct, IElement
    {
        long i = 0;
        for (; i + RowMath.Lanes <= count; i += RowMath.Lanes) Forward<TElement, WholeVectors>(gate, up, output, i, count);
        if (i < count) Forward<TElement, PartOfVector>(gate, up, output, i, count);
    }

    static unsafe void Forward<TElement>(Rows gate, Rows up, Rows output) where TElement : struct, IElement
    {
        long width = gate.Width;
        CpuTasks.Share(gate.Count, width, (from, to) =>
        {
            for (long row = from; row < to; row++) Row<TElement>(gate[row], up[row], output[row], width);
        });
        GC.KeepAlive(gate.Tensor);
        GC.KeepAlive(up.Tensor);
        GC.KeepAlive(output.Tensor);
    }

    static unsafe void Backward<TElement>(Rows gradient, Rows gate, Rows up, Rows dGate, Rows dUp) where TElement : struct, IElement
    {
        long width = gate.Width;
        CpuTasks.Share(gate.Count, width, (from, to) =>
        {
            for (long row = from; row < to; row++)
            {
                byte* dy = gradient[row], g = gate[row], u = up[row], dg = dGate[row], du = dUp[row];
                long i = 0;
                for (; i + RowMath.Lanes <= width; i += RowMath.Lanes) Backward<TElement, WholeVectors>(dy, g, u, dg, du, i, width);
                if (i < width) Backward<TElement, PartOfVector>(dy, g, u, dg, du, i, width);
            }
        });
        GC.KeepAlive(gradient.Tensor);
        GC.KeepAlive(gate.Tensor);
        GC.KeepAlive(up.Tensor);
        GC.KeepAlive(dGate.Tensor);
        GC.KeepAlive(dUp.Tensor);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static unsafe void Forward<TElement, TWidth>(byte* gate, byte* up, byte* output, long i, long count)
        where TElement : struct, IElement where TWidth : struct, IVectorWidth
    {
        var x = TWidth.Load<TElement>(gate, i, count);
        TWidth.Store<TElement>(output, i, count, x * VectorMath.Sigmoid(x) * TWidth.Load<TElement>(up, i, count));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    static unsafe void Backward<TElement, TWidth>(byte* gradient, byte* gate, byte* up, byte* dGate, byte* dUp, long i, long count)
        where TElement : struct, IElement where TWidth : struct, IVectorWidth
    {
        var (x, dy) = (TWidth.Load<TElement>(gate, i, count), TWidth.Load<TElement>(gradient, i, count));
        var sigmoid = VectorMath.Sigmoid(x);
        TWidth.Store<TElement>(dUp, i, count, dy * x * sigmoid);
        TWidth.Store<TElement>(dGate, i, count, dy * TWidth.Load<TElement>(up, i, count) * VectorMath.SiluSlope(x, sigmoid));
    }
}
