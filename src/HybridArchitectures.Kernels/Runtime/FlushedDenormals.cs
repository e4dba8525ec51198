using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Until disposed, results below the least normal number (1.2e-38 in float32) are zero on this thread and on those that libtorch computes with for it. Processors take such numbers many
/// times as slowly as others, and sharp attention fills its gradients with them.
/// </summary>
readonly unsafe ref struct FlushedDenormals
{
    /// <summary>at::Context::setFlushDenormal, which acts on the calling thread alone, under the name of each compiler.</summary>
    internal const string Name = "_ZN2at7Context16setFlushDenormalEb", WindowsName = "?setFlushDenormal@Context@at@@SA_N_N@Z";

    static float tiny = 1e-30f, tenth = 1e-10f;

    // 0 where libtorch does not export it, and then numbers stay as they are
    static readonly Lazy<nint> Setter = new(() => NativeLibrary.TryLoad(NativeNames.TorchCpu, typeof(FlushedDenormals).Assembly, null, out var library)
        && (NativeLibrary.TryGetExport(library, Name, out var export)
            || NativeLibrary.TryGetExport(library, WindowsName, out export)) ? export : 0);

    readonly bool set;

    FlushedDenormals(bool set) => this.set = set;

    /// <summary>Begins, where there is a gradient in main memory and nobody has begun already.</summary>
    public static FlushedDenormals For(IReadOnlyList<Tensor> outputs)
    {
        if (Setter.Value == 0 || IsOn || !outputs.Any(output => output.device_type == DeviceType.CPU)) return default;
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
        SetHere(on);
    }

    static void SetHere(bool on) => ((delegate* unmanaged<byte, byte>)Setter.Value)((byte)(on ? 1 : 0));

    [UnmanagedCallersOnly]
    static void Set(long begin, long end, nint on) => SetHere(on != 0);
}
