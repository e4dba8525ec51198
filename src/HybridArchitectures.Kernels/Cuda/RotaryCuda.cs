using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Cuda;

/// <summary>Rotary embedding on a card; <c>Rotary.cu</c> holds the kernel. The gradient of a rotation is the rotation back.</summary>
static class RotaryCuda
{
    struct Arguments
    {
        public nint X, Cosine, Sine, Output;
        public long Length, Heads, Size, Half, RowStride, TokenStride, HeadStride, OutputRow, OutputToken, OutputHead, TableRow;
        public float Sign;
    }

    public static Tensor Turn(Tensor x, Tensor cosine, Tensor sine, bool back)
    {
        using var scope = NewDisposeScope();
        if (x.size(3) > 1 && x.stride(3) != 1) x = x.contiguous();
        var output = CudaMemory.NewLike(x);
        Turn(x, cosine, sine, back, output);
        return output.MoveToOuterDisposeScope();
    }

    // the output may be the input
    static void Turn(Tensor x, Tensor cosine, Tensor sine, bool back, Tensor output)
    {
        if (x.NumberOfElements == 0) return;
        var (cosines, sines) = (cosine.contiguous(), sine.contiguous());
        long half = cosine.size(2), bytes = x.ElementSize;
        var arguments = new Arguments
        {
            X = CudaMemory.Address(x), Cosine = CudaMemory.Address(cosines), Sine = CudaMemory.Address(sines), Output = CudaMemory.Address(output),
            Length = x.size(1), Heads = x.size(2), Size = x.size(3), Half = half, RowStride = x.stride(0), TokenStride = x.stride(1), HeadStride = x.stride(2),
            OutputRow = output.stride(0), OutputToken = output.stride(1), OutputHead = output.stride(2),
            TableRow = cosine.size(0) == 1 ? 0 : x.size(1) * half, Sign = back ? -1 : 1,
        };
        long strides = arguments.RowStride | arguments.TokenStride | arguments.HeadStride | arguments.OutputRow | arguments.OutputToken | arguments.OutputHead;
        bool wide = ((strides | half | arguments.Size) * bytes | arguments.X | arguments.Output) % 16 == 0;
        CudaRuntime.DeviceOf(x).Launch("Rotary.cu", $"rotary_{CudaMemory.Suffix(x.dtype, wide)}", (x.size(0) * x.size(1), 1, 1), 128, 0, arguments);
        GC.KeepAlive((x, cosines, sines, output));
    }
}
