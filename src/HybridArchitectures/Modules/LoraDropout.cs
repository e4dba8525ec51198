using System.Collections.Concurrent;
using HybridArchitectures.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Modules;

/// <summary>
/// Implements dropout of the inputs of one adapter. The mask is a hash of the seed, the number of the adapter, the number of the draw and the index
/// of the element. It is therefore the same on every device and in every run, and the number of draws is the complete state.
/// </summary>
/// <param name="share">The share of elements that are set to 0, in [0, 1).</param>
sealed class LoraDropout(double share)
{
    // multipliers of a 32-bit integer hash; the shifts preserve the sign, so the function is still a bijection
    static readonly Scalar FirstFactor = 0x7feb352d.ToScalar(), SecondFactor = (-2073254261).ToScalar();
    static readonly ConcurrentDictionary<(int Value, string Device), Tensor> Shifts = new();

    ulong stream;

    /// <summary>Gets whether elements are dropped.</summary>
    public bool IsActive => share > 0;

    /// <summary>Gets or sets the number of masks that were drawn since <see cref="Seed"/>.</summary>
    public long Draws { get; set; }

    /// <summary>Restarts with a seed.</summary>
    /// <param name="seed">The seed.</param>
    /// <param name="number">The number of the adapter in its model. Adapters with the same seed have different masks.</param>
    public void Seed(long seed, int number)
    {
        stream = Mix((ulong)seed + 0x9e3779b97f4a7c15 * (ulong)(number + 1));
        Draws = 0;
    }

    /// <summary>Returns x with some elements set to 0 and the others divided by the share that remains. Counts as one draw.</summary>
    public Tensor Apply(Tensor x)
    {
        ulong key = Mix(stream ^ Mix((ulong)Draws++ + 1));
        using var scope = NewDisposeScope();
        Tensor mask;
        using (no_grad()) mask = Kept(x.NumberOfElements, key, x.device).to(x.dtype).mul_(Scalars.From(1 / (1 - share))).view(x.shape);
        return x.mul(mask).MoveToOuterDisposeScope();
    }

    /// <summary>Runs a computation that draws the same masks as when the numbers of draws were <paramref name="draws"/>.</summary>
    public static T Repeat<T>(IReadOnlyList<LoraDropout> dropouts, long[] draws, Func<T> compute)
    {
        var now = dropouts.Select(dropout => dropout.Draws).ToArray();
        for (int i = 0; i < draws.Length; i++) dropouts[i].Draws = draws[i];
        try
        {
            return compute();
        }
        finally
        {
            for (int i = 0; i < now.Length; i++) dropouts[i].Draws = now[i];
        }
    }

    Tensor Kept(long count, ulong key, Device device)
    {
        using Scalar first = unchecked((int)key).ToScalar(), second = unchecked((int)(key >> 32)).ToScalar();
        var bits = Indices.Range(0, count, device).to(ScalarType.Int32);
        bits.add_(first, Scalars.One);
        bits.bitwise_xor_(bits.bitwise_right_shift(Shift(16, device))).mul_(FirstFactor).add_(second, Scalars.One);
        bits.bitwise_xor_(bits.bitwise_right_shift(Shift(15, device))).mul_(SecondFactor);
        // uniform over the 32-bit integers: elements below the threshold are dropped
        using var threshold = ((int)Math.Min(int.MaxValue, Math.Round(int.MinValue + share * 4294967296.0))).ToScalar();
        return bits.ge(threshold);
    }

    static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }

    // created once per device, because a scalar in main memory would be copied to the device at every draw
    static Tensor Shift(int value, Device device) =>
        Shifts.GetOrAdd((value, device.ToString()), _ => tensor(value, device: device).DetachFromDisposeScope());
}
