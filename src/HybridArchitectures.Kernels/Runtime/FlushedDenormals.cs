using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Until disposed, results below the least normal number (1.2e-38 in float32) are zero on this thread and on those that libtorch computes with for it. Processors take such numbers a hundred
/// times as slowly as others, and sharp attention fills its gradients with them.
/// </summary>
readonly unsafe ref struct FlushedDenormals
{
    static float tiny = 1e-30f, tenth = 1e-10f;

    readonly bool set;

    FlushedDenormals(bool set) => this.set = set;

    /// <summary>Begins, where there is a gradient in main memory and nobody has begun already.</summary>
    public static FlushedDenormals For(IReadOnlyList<Tensor> outputs)
    {
        if (IsOn || !outputs.Any(output => output.device_type == DeviceType.CPU)) return default;
        Everywhere(true);
        return new(true);
    }

    /// <summary>Whether such results are zero on this thread now.</summary>
    public static bool IsOn => Volatile.Read(ref tiny) * Volatile.Read(ref tenth) == 0;

    public void Dispose()
    {
        if (set) Everywhere(false);
    }

    // a part for each of libtorch's threads, this one among them
    static void Everywhere(bool on)
    {
        if (LibTorch.torch_parallel_for(0, get_num_threads(), 1, &Set, on ? 1 : 0) != 0) throw new InvalidOperationException("libtorch could not start its threads");
        LibTorch.FlushDenormals(on);
    }

    [UnmanagedCallersOnly]
    static void Set(long begin, long end, nint on) => LibTorch.FlushDenormals(on != 0);
}
