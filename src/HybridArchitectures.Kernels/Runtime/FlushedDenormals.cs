using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Treats results below the smallest normal number (1.2e-38 in float32) as zero until it is disposed, on this thread and on the threads with which
/// libtorch computes for it. Processors are many times slower with such numbers, and sharp attention fills its gradients with them.
/// </summary>
readonly unsafe ref struct FlushedDenormals
{
    /// <summary>
    /// Specifies the name of at::Context::setFlushDenormal, as each compiler encodes it. The function affects only the calling thread.
    /// </summary>
    internal const string Name = "_ZN2at7Context16setFlushDenormalEb", WindowsName = "?setFlushDenormal@Context@at@@SA_N_N@Z";

    static float tiny = 1e-30f, tenth = 1e-10f;

    // 0 if libtorch does not export it; numbers then stay as they are
    static readonly Lazy<nint> Setter =
        new(() => NativeLibrary.TryLoad(NativeNames.TorchCpu, typeof(FlushedDenormals).Assembly, null, out var library)
        && (NativeLibrary.TryGetExport(library, Name, out var export)
            || NativeLibrary.TryGetExport(library, WindowsName, out export)) ? export : 0);

    readonly bool set;

    FlushedDenormals(bool set) => this.set = set;

    /// <summary>Begins if there is a gradient on the CPU and no other instance has begun.</summary>
    public static FlushedDenormals For(IReadOnlyList<Tensor> outputs)
    {
        if (Setter.Value == 0 || IsOn || !outputs.Any(output => output.device_type == DeviceType.CPU)) return default;
        Everywhere(true);
        return new(true);
    }

    /// <summary>Gets whether such results are zero on this thread now.</summary>
    public static bool IsOn => Volatile.Read(ref tiny) * Volatile.Read(ref tenth) == 0;

    public void Dispose()
    {
        if (set) Everywhere(false);
    }

    /// <summary>Keeps such results on this thread alone until disposed, for sums that must not depend on when they are computed.</summary>
    public static Pause Suspend() => new(Setter.Value != 0 && IsOn);

    /// <summary>Treats such results as zero again when it is disposed.</summary>
    public readonly ref struct Pause
    {
        readonly bool isPaused;

        internal Pause(bool isOn)
        {
            isPaused = isOn;
            if (isOn) SetHere(false);
        }

        public void Dispose()
        {
            if (isPaused) SetHere(true);
        }
    }

    // one part for each thread of libtorch, including this one
    static void Everywhere(bool on)
    {
        if (LibTorch.torch_parallel_for(0, get_num_threads(), 1, &Set, on ? 1 : 0) != 0)
            throw new InvalidOperationException("libtorch could not start its threads");
        SetHere(on);
    }

    static void SetHere(bool on) => ((delegate* unmanaged<byte, byte>)Setter.Value)((byte)(on ? 1 : 0));

    [UnmanagedCallersOnly]
    static void Set(long begin, long end, nint on) => SetHere(on != 0);
}
