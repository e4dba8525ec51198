using System.Runtime.CompilerServices;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels.Runtime;

/// <summary>
/// Contains copies of float32 weights in bfloat16 that an optimizer writes, so that the next training step does not cast the weights.
/// <para>
/// 1. A product that has to cast a weight calls <see cref="Find"/>, which remembers that a copy is wanted.
/// 2. The optimizer asks for the copy (<see cref="Target"/>), writes it together with the weight, and then calls <see cref="Confirm"/>.
/// 3. A copy is used as long as the weight is the same tensor, its version has not changed, and no other writer that does not change versions has
/// been active (<see cref="CountWrite"/>).
/// </para>
/// </summary>
static class WeightCopies
{
    static readonly ConditionalWeakTable<Tensor, Entry> Entries = [];
    static long writes;

    sealed class Entry
    {
        public Tensor? Copy;
        public nint Weight;
        public long Version = -1, Writes = -1;
    }

    /// <summary>Counts a write to weights that does not change their versions. It makes all copies invalid until they are confirmed.</summary>
    public static void CountWrite() => Interlocked.Increment(ref writes);

    /// <summary>
    /// Returns the copy of a weight if it is that of the present weight. Otherwise, returns null, and a copy is wanted from now on.
    /// </summary>
    public static Tensor? Find(Tensor weight)
    {
        // only an optimizer on a GPU writes copies
        if (weight.device_type != TorchSharp.DeviceType.CUDA && !CudaRuntime.Emulated) return null;
        var entry = Entries.GetOrCreateValue(weight);
        lock (entry) return IsCurrent(entry, weight) ? entry.Copy : null;
    }

    static bool IsCurrent(Entry entry, Tensor weight) =>
        entry.Copy is not null && entry.Weight == weight.Handle && entry.Writes == Interlocked.Read(ref writes) && entry.Version == Version(weight);

    /// <summary>
    /// Returns the tensor to which the optimizer writes the copy of a weight, or null if none is wanted. It is the copy of the current weight, in
    /// case that the step changes nothing.
    /// </summary>
    public static Tensor? Target(Tensor weight)
    {
        if (!Entries.TryGetValue(weight, out var entry)) return null;
        lock (entry)
        {
            if (entry.Copy is null) entry.Copy = weight.detach().to(ScalarType.BFloat16).DetachFromDisposeScope();
            else if (!IsCurrent(entry, weight)) entry.Copy.copy_(weight);
            entry.Writes = -1;
            return entry.Copy;
        }
    }

    /// <summary>Declares the copies of these weights to be written.</summary>
    public static void Confirm(IEnumerable<Tensor> weights)
    {
        foreach (var weight in weights)
        {
            if (!Entries.TryGetValue(weight, out var entry)) continue;
            lock (entry) (entry.Weight, entry.Version, entry.Writes) = (weight.Handle, Version(weight), Interlocked.Read(ref writes));
        }
    }

    /// <summary>Disposes the copies of these weights.</summary>
    public static void Release(IEnumerable<Tensor> weights)
    {
        foreach (var weight in weights)
        {
            if (!Entries.TryGetValue(weight, out var entry)) continue;
            lock (entry)
            {
                entry.Copy?.Dispose();
                entry.Copy = null;
            }
        }
    }

    static long Version(Tensor weight) => TorchOperator.CallInteger("aten::_version", "", weight);
}
