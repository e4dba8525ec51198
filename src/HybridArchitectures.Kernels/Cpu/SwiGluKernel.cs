using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cpu;

/// <summary>silu(gate) * up and its gradients, each in one pass: two reads and one write forward, three and two backward; only the inputs are kept.</summary>
static class SwiGluKernel
{
    public static Tensor Forward(Tensor gate, Tensor up)
    {
        var output = Rows.NewLike(gate);
        if (gate.dtype == ScalarType.BFloat16) Forward<BFloat16Element>(Rows.Of(gate), Rows.Of(up), Rows.Of(output));
        else Forward<Float32Element>(Rows.Of(gate), Rows.Of(up), Rows.Of(output));
        return output;
    }

    public static (Tensor Gate, Tensor Up) Backward(Tensor gradient, Tensor gate, Tensor up)
    {
        var (dGate, dUp, dy) = (Rows.NewLike(gate), Rows.NewLike(gate), gradient.to(gate.dtype));
        if (gate.dtype == ScalarType.BFloat16) Backward<BFloat16Element>(Rows.Of(dy), Rows.Of(gate), Rows.Of(up), Rows.Of(dGate), Rows.Of(dUp));
        else Backward<Float32Element>(Rows.Of(dy), Rows.Of(gate), Rows.Of(up), Rows.Of(dGate), Rows.Of(dUp));
        return (dGate, dUp);
    }

    static unsafe void Forward<TElement>(Rows gate, Rows up, Rows output) where TElement : struct, IElement
    {
        long width = gate.Width;
        CpuWork.Share(gate.Count, width, (from, to) =>
        {
            for (long row = from; row < to; row++)
            {
                byte* g = gate[row], u = up[row], y = output[row];
                for (long i = 0; i < width; i += RowMath.Lanes)
                {
                    var x = RowMath.Load<TElement>(g, i, width);
                    RowMath.Store<TElement>(y, i, width, x * RowMath.Sigmoid(x) * RowMath.Load<TElement>(u, i, width));
                }
            }
        });
        GC.KeepAlive(gate.Tensor);
        GC.KeepAlive(up.Tensor);
        GC.KeepAlive(output.Tensor);
    }

    static unsafe void Backward<TElement>(Rows gradient, Rows gate, Rows up, Rows dGate, Rows dUp) where TElement : struct, IElement
    {
        long width = gate.Width;
        CpuWork.Share(gate.Count, width, (from, to) =>
        {
            for (long row = from; row < to; row++)
            {
                byte* dy = gradient[row], g = gate[row], u = up[row], dg = dGate[row], du = dUp[row];
                for (long i = 0; i < width; i += RowMath.Lanes)
                {
                    var (x, dOutput) = (RowMath.Load<TElement>(g, i, width), RowMath.Load<TElement>(dy, i, width));
                    var sigmoid = RowMath.Sigmoid(x);
                    RowMath.Store<TElement>(du, i, width, dOutput * x * sigmoid);
                    RowMath.Store<TElement>(dg, i, width, dOutput * RowMath.Load<TElement>(u, i, width) * RowMath.SiluSlope(x, sigmoid));
                }
            }
        });
        GC.KeepAlive(gradient.Tensor);
        GC.KeepAlive(gate.Tensor);
        GC.KeepAlive(up.Tensor);
        GC.KeepAlive(dGate.Tensor);
        GC.KeepAlive(dUp.Tensor);
    }
}
