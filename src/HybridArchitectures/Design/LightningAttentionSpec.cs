using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes lightning attention (arXiv 2401.04658, 2501.08313): linear attention with a nonlinearity on queries, keys and values, a state of K x V
/// numbers per head that decays by a fixed factor, a norm of all heads together, and a sigmoid gate per channel.
/// </summary>
public sealed record LightningAttentionSpec : MixerSpec
{
    /// <summary>Gets or sets the number of heads.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Gets or sets the size of a query, key and value head. The default, 0, means the model width divided by the number of heads.
    /// </summary>
    public int HeadSize { get; init; }

    /// <summary>Gets or sets the nonlinearity of queries, keys and values. The default is SiLU.</summary>
    public Activation Activation { get; init => field = Require.Defined(value, nameof(Activation)); }

    /// <summary>
    /// Gets or sets the multiplier s of the decay rates. Head h of H, counted from 1, decays by exp(-s 2^(-8 h / H)) per token. MiniMax-01 uses
    /// smaller rates in later layers. The default is 1.
    /// </summary>
    public double DecayScale { get; init; } = 1;

    /// <summary>Gets or sets the epsilon of the norm. The default is 1e-6.</summary>
    public double OutputNormEpsilon { get; init; } = 1e-6;

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed as one matrix product, a power of two. The default is 64.
    /// </summary>
    public int ChunkSize { get; init; } = 64;

    /// <summary>Gets the total width of all heads.</summary>
    [JsonIgnore]
    public int InnerWidth => Heads * HeadSize;

    /// <summary>Gets the letter <c>L</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "L";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override bool StoresNarrowStates => true;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    internal override MixerSpec? WithConvolution() => GatedDeltaSpec.WithHeads(Heads, HeadSize, HeadSize);

    /// <summary>Returns the rates at which the states of the heads decay, all above 0.</summary>
    internal double[] DecayRates() => [.. Enumerable.Range(1, Heads).Select(head => DecayScale * Math.Pow(2, -8.0 * head / Heads))];

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        Require.AtLeast(Heads, 1, "heads");
        if (HeadSize != 0) return this;
        Require.That(width % Heads == 0, "heads", Heads, $"a divisor of the width {width}, or a head size");
        return this with { HeadSize = width / Heads };
    }

    LinearStateSize Sizes => new(Heads, HeadSize, HeadSize, ChunkSize);

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size((long)Heads * HeadSize, "heads x headSize");
        Require.Positive(DecayScale, "decayScale");
        Require.Positive(OutputNormEpsilon, "outputNormEpsilon");
        Require.PowerOfTwo(ChunkSize, "chunkSize");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => 5L * InnerWidth * width + InnerWidth;

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => 5.0 * InnerWidth * width;

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) => Sizes.CountMixingFlops(accounting, seen);

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize) => Sizes.CountCache(elementSize);

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => Sizes.CountPaperCacheBytes();

    internal override bool SavesInput => false;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // queries, keys and values before and after the nonlinearity, what is normed, the gate, what is projected out, and a float32 state at each
        // chunk
        return 10.0 * InnerWidth * step.ElementSize + 4.0 * InnerWidth * HeadSize / ChunkSize;
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => new("Lightning attention", FormattableString.Invariant($"lightning attention {Heads}x{HeadSize}"),
        $"{MixerDescription.Counted(Heads, "head")} × {HeadSize}", MixerColor.LightningAttention);
}
