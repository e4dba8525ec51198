using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes HGRN2 (arXiv 2404.07904): linear attention whose keys are 1 - f for the forget gates f of each key channel and token, so that no
/// separate keys are projected. A learned lower bound of f for each channel lets later layers forget more slowly.
/// </summary>
public sealed record Hgrn2Spec : MixerSpec
{
    /// <summary>Gets or sets the number of heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Gets or sets the size of a query head. The default, 0, means the model width divided by the number of heads.</summary>
    public int KeyHeadSize { get; init; }

    /// <summary>Gets or sets the size of a value head. The default, 0, means the model width divided by the number of heads.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>
    /// Gets or sets whether the forget gates have a learned lower bound for each channel. A new model starts with the number of the block divided by
    /// the number of blocks plus 1. The default is true. In published models, the first layer has no bound.
    /// </summary>
    public bool LowerBound { get; init; } = true;

    /// <summary>
    /// Gets or sets the epsilon of the norm of the outputs. The default, null, means that of the other norms of the block.
    /// </summary>
    public double? OutputNormEpsilon { get; init; }

    /// <summary>
    /// Gets or sets the chunk size: the number of tokens that are computed together, a power of two. The memory of a pass grows with it. The default
    /// is 16.
    /// </summary>
    public int ChunkSize { get; init; } = 16;

    /// <summary>Gets the total width of the queries, which is also that of the forget gates.</summary>
    [JsonIgnore]
    public int KeyWidth => Heads * KeyHeadSize;

    /// <summary>Gets the total width of the values, which is also that of the input of the output projection.</summary>
    [JsonIgnore]
    public int ValueWidth => Heads * ValueHeadSize;

    /// <summary>Gets the letter <c>h</c>.</summary>
    [JsonIgnore]
    public override string Symbol => "h";

    internal override MixerKind Kind => MixerKind.Recurrent;

    internal override ChunkSetting? Chunks => new(ChunkSize, size => this with { ChunkSize = size });

    internal override MixerSpec? WithConvolution() => GatedDeltaSpec.WithHeads(Heads, KeyHeadSize, ValueHeadSize);

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width)
    {
        Require.AtLeast(Heads, 1, "heads");
        if (KeyHeadSize == 0 || ValueHeadSize == 0)
            Require.That(width % Heads == 0, "heads", Heads, $"a divisor of the width {width}, or head sizes of keys and values");
        return this with
        {
            KeyHeadSize = KeyHeadSize == 0 ? width / Heads : KeyHeadSize, ValueHeadSize = ValueHeadSize == 0 ? width / Heads : ValueHeadSize,
        };
    }

    LinearStateSize Sizes => new(Heads, KeyHeadSize, ValueHeadSize, ChunkSize);

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Sizes.Check();
        if (OutputNormEpsilon is { } epsilon) Require.Positive(epsilon, "outputNormEpsilon");
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => (long)CountMatrixWeights(width) + ValueWidth + (LowerBound ? KeyWidth : 0);

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => 2.0 * ((double)KeyWidth + ValueWidth) * width;

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
        // queries before and after SiLU, forget gates, keys, values, what is normed, what is projected out
        double activations = (4.0 * KeyWidth + 3.0 * ValueWidth) * step.ElementSize;
        return activations + Sizes.CountSavedStates(step);
    }

    /// <inheritdoc/>
    public override MixerDescription Describe() => Sizes.Describe("HGRN2", "HGRN2", MixerColor.Hgrn2);
}
