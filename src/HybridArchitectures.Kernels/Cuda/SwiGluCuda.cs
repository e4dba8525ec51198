using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes silu(gate) * up and its gradients on a GPU with the kernels in <c>SwiGlu.cu</c>.</summary>
static unsafe class SwiGluCuda
{
    internal struct Arguments
    {
        public nint Gradient, Gate, Up, Output, DGate, DUp;
        public long Width, BlocksPerRow, GradientStride, GateStride, UpStride;
    }

    public static Tensor Forward(Tensor gate, Tensor up)
    {
        var output = CudaMemory.NewLike(gate);
        Run(null, gate, up, output, null, null);
        return output;
    }

    /// <summary>Returns the gradients of gate and up.</summary>
    /// <param name="gradient">The gradient of the output.</param>
    /// <param name="gate">The gate.</param>
    /// <param name="up">The up projection.</param>
    /// <param name="output">Receives the output again. It can be <paramref name="gradient"/> itself. Null means none.</param>
    /// <param name="inPlace">Whether the gradients are written over gate and up, which are contiguous.</param>
    public static (Tensor Gate, Tensor Up) Backward(Tensor gradient, Tensor gate, Tensor up, Tensor? output, bool inPlace = false)
    {
        var (dGate, dUp) = inPlace ? (gate, up) : (CudaMemory.NewLike(gate), CudaMemory.NewLike(gate));
        Run(gradient.to(gate.dtype), gate, up, output, dGate, dUp);
        return (dGate, dUp);
    }

    static void Run(Tensor? gradient, Tensor gate, Tensor up, Tensor? output, Tensor? dGate, Tensor? dUp)
    {
        if (gate.NumberOfElements == 0) return;
        var (gradients, gates, ups) = (gradient is null ? default : Rows.From(gradient), Rows.From(gate), Rows.From(up));
        long width = gates.Width, rows = gates.Count;
        // contiguous rows are one long row
        if (Joined(gates) && Joined(ups) && (gradient is null || Joined(gradients))) (width, rows) = (width * rows, 1);
        bool wide = CudaMemory.Wide(width, gates, ups, gradients);
        long perBlock = 256 * CudaMemory.VectorLength(gate.dtype, wide), blocks = (width + perBlock - 1) / perBlock;
        var arguments = new Arguments
        {
            Gradient = gradient is null ? 0 : (nint)gradients[0], Gate = (nint)gates[0], Up = (nint)ups[0], Output = CudaMemory.Address(output),
            DGate = CudaMemory.Address(dGate), DUp = CudaMemory.Address(dUp), Width = width, BlocksPerRow = blocks,
            GradientStride = gradient is null ? 0 : CudaMemory.Stride(gradients), GateStride = CudaMemory.Stride(gates),
            UpStride = CudaMemory.Stride(ups),
        };
        CudaRuntime.DeviceOf(gate).Launch("SwiGlu.cu", $"swiglu_{(gradient is null ? "forward" : "backward")}_{CudaMemory.Suffix(gate.dtype, wide)}",
            (rows * blocks, 1, 1), 256, 0, arguments);
        GC.KeepAlive((gradients.Tensor, gates.Tensor, ups.Tensor));
    }

    static bool Joined(Rows rows) => CudaMemory.Stride(rows) == rows.Width;
}
