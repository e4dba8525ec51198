using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Computes silu(gate) * up on a GPU with the kernels in <c>SwiGlu.cu</c>. It saves only the inputs for the gradient.</summary>
static unsafe class SwiGluCuda
{
    internal struct Arguments
    {
        public nint Gradient, Gate, Up, Output, DGate, DUp;
        public long Width, BlocksPerRow, GradientStride, GateStride, UpStride;
    }

    public static Tensor Apply(Tensor gate, Tensor up) => Autograd.Apply<SwiGluInputs>([gate, up], _ =>
    {
        var output = CudaMemory.NewLike(gate);
        Run(null, gate, up, output, null, null);
        return ([output], new SwiGluInputs(gate, up));
    }, static (context, saved) =>
    {
        var (dGate, dUp) = (CudaMemory.NewLike(saved.Gate), CudaMemory.NewLike(saved.Gate));
        Run(context.Gradients[0]!.to(saved.Gate.dtype), saved.Gate, saved.Up, null, dGate, dUp);
        return [dGate, dUp];
    })[0];

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
