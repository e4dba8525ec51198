using HybridArchitectures.Design;

namespace HybridArchitectures.Cost;

/// <summary>
/// Bytes a <see cref="Models.HybridCache"/> holds after a prefill, by kind of state. Keys and values grow by half when full, so that a cache filled token by token may hold up to half more of them;
/// all else does not change with length. The scan's state is float32, or float64 where the activations are.
/// </summary>
/// <param name="KeysAndValues">Of attention over all positions.</param>
/// <param name="Windows">Keys, values and positions of sliding windows with their sinks and one spare slot.</param>
/// <param name="Convolutions">The last inputs of convolutions.</param>
/// <param name="Scans">States of state-space layers.</param>
/// <param name="Other">What mixers of users count.</param>
public sealed record CacheSize(long KeysAndValues, long Windows, long Convolutions, long Scans, long Other)
{
    /// <summary>All bytes.</summary>
    public long Total => KeysAndValues + Windows + Convolutions + Scans + Other;

    /// <summary>The kinds there are, each with its size.</summary>
    internal string Kinds
    {
        get
        {
            (string Name, long Bytes)[] kinds =
                [("keys and values", KeysAndValues), ("windows", Windows), ("convolutions", Convolutions), ("states", Scans), ("other", Other)];
            string listed = string.Join(", ", kinds.Where(kind => kind.Bytes != 0).Select(kind => $"{kind.Name} {Units.Bytes(kind.Bytes)}"));
            return listed.Length == 0 ? "no state" : listed;
        }
    }

    /// <summary>Total and kinds, such as <c>62.6 MiB (keys and values 62.0 MiB, states 640 KiB)</c>.</summary>
    public override string ToString() => $"{Units.Bytes(Total)} ({Kinds})";

    /// <summary>Bytes for rows that have each seen <paramref name="length"/> tokens.</summary>
    /// <param name="design">A complete design.</param>
    /// <param name="length">Tokens seen.</param>
    /// <param name="batch">Rows.</param>
    /// <param name="elementSize">Bytes of an activation: 2 for bfloat16, 4 for float32.</param>
    /// <exception cref="ArgumentException">A number is out of range, or no model can be made of the design.</exception>
    public static CacheSize FromDesign(HybridDesign design, long length, long batch = 1, int elementSize = 2)
    {
        ArgumentNullException.ThrowIfNull(design);
        design.Check();
        Require.AtLeast(length, 0, nameof(length));
        Require.AtLeast(batch, 1, nameof(batch));
        Require.That(elementSize is 1 or 2 or 4 or 8, nameof(elementSize), elementSize, "1, 2, 4 or 8 bytes");
        var total = new CacheSize(0, 0, 0, 0, 0);
        foreach (var block in design.Blocks) total += FromDesign(design, block, length, elementSize);
        return new(batch * total.KeysAndValues, batch * total.Windows, batch * total.Convolutions, batch * total.Scans, batch * total.Other);
    }

    /// <summary>
    /// Bytes by Table 1 of arXiv 2510.04800, for one row: all in two bytes, keys and values of what a query sees, convolution inputs of as many positions as it has taps.
    /// </summary>
    public static double Paper(HybridDesign design, long length)
    {
        ArgumentNullException.ThrowIfNull(design);
        design.Check();
        Require.AtLeast(length, 0, nameof(length));
        return design.Blocks.Sum(block => Paper(block.Mixer, length) + Paper(design.SharedAttention(block), length));
    }

    /// <summary>Bytes of one block for one row that has seen <paramref name="length"/> tokens.</summary>
    /// <param name="design">The design the block belongs to.</param>
    /// <param name="block">One of its blocks.</param>
    /// <param name="length">Tokens seen.</param>
    /// <param name="elementSize">Bytes of an activation.</param>
    public static CacheSize FromDesign(HybridDesign design, BlockSpec block, long length, int elementSize) =>
        FromDesign(design.SharedAttention(block), design.Width, length, elementSize) + FromDesign(block.Mixer, design.Width, length, elementSize);

    internal static CacheSize FromDesign(MixerSpec? mixer, int width, long length, int elementSize)
    {
        switch (mixer)
        {
            case AttentionSpec attention:
                long slot = ((long)attention.KeyWidth + attention.ValueWidth) * elementSize;
                return attention.Window is { } window
                    ? new(0, ((long)window + attention.Sinks + 1) * (slot + sizeof(long)), 0, 0, 0)
                    : new(length * slot, 0, 0, 0, 0);
            case IntraHybridSpec intra:
                return FromDesign(intra.Attention, width, length, elementSize) + FromDesign(intra.StateSpace, width, length, elementSize);
            case IStateSpaceSpec stateSpace:
                long channels = stateSpace is Mamba2Spec mamba ? mamba.ConvolutionChannels : stateSpace.InnerWidth;
                return new(0, 0, (stateSpace.ConvolutionWidth - 1) * channels * elementSize, (long)stateSpace.InnerWidth * stateSpace.StateSize * ScanElement(elementSize), 0);
            case ShortConvolutionSpec convolution:
                return new(0, 0, (convolution.ConvolutionWidth - 1L) * width * elementSize, 0, 0);
            case GatedDeltaSpec delta:
                return new(0, 0, (delta.ConvolutionWidth - 1L) * delta.ConvolutionChannels * elementSize, (long)delta.ValueWidth * delta.KeyHeadSize * ScanElement(elementSize), 0);
            case CustomMixerSpec custom:
                long bytes = custom.CountCacheBytes(width, length, elementSize);
                Require.AtLeast(bytes, 0, $"{custom.GetType().Name}.{nameof(CustomMixerSpec.CountCacheBytes)}");
                return new(0, 0, 0, 0, bytes);
            default:
                return new(0, 0, 0, 0, 0);
        }
    }

    // float32 beside bfloat16 and float32, float64 beside float64
    static int ScanElement(int elementSize) => Math.Max(sizeof(float), elementSize);

    static double Paper(MixerSpec? mixer, long length) => mixer switch
    {
        AttentionSpec attention => 2.0 * Math.Min(length, VisibleKeys.Span(attention)) * ((double)attention.KeyWidth + attention.ValueWidth),
        IntraHybridSpec intra => Paper(intra.Attention, length) + Paper(intra.StateSpace, length),
        Mamba2Spec mamba => 2.0 * (mamba.InnerWidth * (double)mamba.StateSize + mamba.ConvolutionWidth * (double)mamba.ConvolutionChannels),
        Mamba1Spec mamba => 2.0 * mamba.InnerWidth * ((double)mamba.StateSize + mamba.ConvolutionWidth),
        GatedDeltaSpec delta => 2.0 * (delta.ValueWidth * (double)delta.KeyHeadSize + delta.ConvolutionWidth * (double)delta.ConvolutionChannels),
        _ => 0,
    };

    /// <summary>The sum, kind by kind.</summary>
    public static CacheSize operator +(CacheSize left, CacheSize right)
    {
        ArgumentNullException.ThrowIfNull(left);
        ArgumentNullException.ThrowIfNull(right);
        return new(left.KeysAndValues + right.KeysAndValues, left.Windows + right.Windows, left.Convolutions + right.Convolutions, left.Scans + right.Scans, left.Other + right.Other);
    }
}
