using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Models;

/// <summary>
/// Accesses the state of the default generator of torch on the CPU, from which modules draw unless they are given another generator.
/// </summary>
/// <remarks>
/// Do not use <c>torch.get_rng_state</c> and <c>torch.set_rng_state</c>. Each creates a generator object and passes its handle to native code, so
/// that the garbage collector can free the generator during the call. The object here lives as long as the process.
/// </remarks>
static class TorchRandom
{
    static readonly Generator Default = Generator.Default;

    /// <summary>Returns a copy of the state: uint8 on the CPU, in the current dispose scope.</summary>
    public static Tensor Read() => Default.get_state();

    /// <summary>Returns a copy of the state as bytes.</summary>
    public static byte[] ReadBytes()
    {
        using var state = Read();
        return TensorMemory.Span<byte>(state).ToArray();
    }

    /// <summary>Sets the state to one that <see cref="Read"/> returned.</summary>
    public static void Write(Tensor state)
    {
        Default.set_state(state);
        GC.KeepAlive(state);
    }

    /// <summary>Sets the state to one that <see cref="ReadBytes"/> returned.</summary>
    public static void Write(byte[] state)
    {
        using var values = tensor(state);
        Write(values);
    }

    /// <summary>Returns the state of a generator that begins with a seed.</summary>
    public static byte[] StateOfSeed(long seed)
    {
        using var generator = new Generator((ulong)seed, CPU);
        using var state = generator.get_state();
        return TensorMemory.Span<byte>(state).ToArray();
    }
}
