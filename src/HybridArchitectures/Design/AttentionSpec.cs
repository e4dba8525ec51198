using System.Text.Json.Serialization;
using HybridArchitectures.Kernels;

namespace HybridArchitectures.Design;

/// <summary>
/// Describes causal grouped-query attention over all previous tokens, or over a sliding window. <see cref="Resolve(int)"/> derives sizes that are 0.
/// </summary>
/// <remarks>
/// Without <see cref="Rotary"/>, attention has no positions, unlike that of <c>WithAttention(heads: ...)</c>. Next to recurrent layers or
/// convolutions, which know the order of tokens, that is a choice. Where all layers are attention, it is a mistake, which the review reports
/// (<c>no-positions</c>).
/// </remarks>
/// <example>
/// <code>
/// var attention = new AttentionSpec { Heads = 8, KeyValueHeads = 2, Rotary = new RotarySpec { Theta = 10_000 } };
/// HybridDesign design = HybridDesign.Create(width: 256, vocabularySize: 256).WithAttention(attention)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(704)).Depth(4).Build();
/// </code>
/// </example>
public sealed record AttentionSpec : MixerSpec
{
    /// <summary>Gets or sets the number of query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>
    /// Gets or sets the number of key and value heads, a divisor of <see cref="Heads"/>. The default, 0, means the number of query heads.
    /// </summary>
    public int KeyValueHeads { get; init; }

    /// <summary>Gets or sets the size of a query and key head. The default, 0, means the model width divided by the number of heads.</summary>
    public int HeadSize { get; init; }

    /// <summary>Gets or sets the size of a value head. The default, 0, means <see cref="HeadSize"/>.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>Gets or sets the number of tokens that a query sees, including its own. The default, null, means all previous tokens.</summary>
    public int? Window { get; init; }

    /// <summary>
    /// Gets or sets the number of first tokens of a document that remain visible outside the window (attention sinks). The default is 0.
    /// </summary>
    public int Sinks { get; init; }

    /// <summary>Gets or sets the rotary positions. The default, null, means no positions.</summary>
    public RotarySpec? Rotary { get; init; }

    /// <summary>Gets or sets the scale of query-key products. The default, null, means 1/sqrt(<see cref="HeadSize"/>).</summary>
    public double? Scale { get; init; }

    /// <summary>
    /// Gets or sets whether each query and key head passes through an RMSNorm with weight before the rotation. The default is false.
    /// </summary>
    public bool QkNorm { get; init; }

    /// <summary>
    /// Gets or sets whether <see cref="QkNorm"/> normalizes all heads of the queries, and all heads of the keys, together instead of each head
    /// separately. The default is false.
    /// </summary>
    public bool QkNormAcrossHeads { get; init; }

    /// <summary>
    /// Gets or sets whether the output of the heads is multiplied, channel by channel, by a sigmoid gate before the output projection (arXiv
    /// 2505.06708). The gate is projected together with the queries. The default is false.
    /// </summary>
    public bool OutputGate { get; init; }

    /// <summary>Gets or sets whether the query, key and value projections have biases. The default is false.</summary>
    public bool InputBias { get; init; }

    /// <summary>Gets or sets whether the output projection has a bias. The default is false.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Gets or sets the multiplier of the input of the mixer. The default is 1.</summary>
    public double InputScale { get; init; } = 1;

    /// <summary>Gets or sets the multiplier of the keys, applied before the rotation. The default is 1.</summary>
    public double KeyScale { get; init; } = 1;

    /// <summary>Gets or sets the multiplier of the output of the mixer. The default is 1.</summary>
    public double OutputScale { get; init; } = 1;

    /// <summary>Gets the total width of all query heads.</summary>
    [JsonIgnore]
    public int QueryWidth => Heads * HeadSize;

    /// <summary>Gets the output width of the query projection: the queries, and the gate if there is one.</summary>
    [JsonIgnore]
    public int QueryProjectionWidth => QueryWidth + (OutputGate ? OutputWidth : 0);

    /// <summary>Gets the total width of all key heads.</summary>
    [JsonIgnore]
    public int KeyWidth => KeyValueHeads * HeadSize;

    /// <summary>Gets the total width of all value heads.</summary>
    [JsonIgnore]
    public int ValueWidth => KeyValueHeads * ValueHeadSize;

    /// <summary>Gets the width of the output of the heads before the output projection: heads times value head size.</summary>
    [JsonIgnore]
    public int OutputWidth => Heads * ValueHeadSize;

    /// <summary>Gets <c>T</c>, or <c>S</c> with a sliding window.</summary>
    [JsonIgnore]
    public override string Symbol => Window is null ? "T" : "S";

    internal override MixerKind Kind => MixerKind.Attention;

    internal override bool IsFullAttention => Window is null;

    internal override bool HasPositions => Rotary is not null;

    internal override MixerSpec WithoutPositions() => IsFullAttention ? this with { Rotary = null } : this;

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => Resolve(width, width, 0);

    /// <summary>
    /// Derives sizes so that the queries and keys have the width <paramref name="queryWidth"/>. The values have the width
    /// <paramref name="valueWidth"/>, or <paramref name="queryWidth"/> if it is 0.
    /// </summary>
    internal AttentionSpec Resolve(int width, int queryWidth, int valueWidth)
    {
        Require.AtLeast(Heads, 1, "heads");
        int headSize = HeadSize;
        if (headSize == 0)
        {
            Require.That(
                queryWidth % Heads == 0, "heads", Heads,
                $"a divisor of the {(queryWidth == width ? "width" : "query width")} {queryWidth}, or a head size");
            headSize = queryWidth / Heads;
        }
        int valueHeadSize = ValueHeadSize != 0 ? ValueHeadSize : valueWidth != 0 && valueWidth % Heads == 0 ? valueWidth / Heads : headSize;
        return this with
        {
            KeyValueHeads = KeyValueHeads == 0 ? Heads : KeyValueHeads,
            HeadSize = headSize,
            ValueHeadSize = valueHeadSize,
            Rotary = Rotary is { Fraction: 0 } ? null : Rotary,
        };
    }

    /// <inheritdoc/>
    public override void Check(int width)
    {
        Require.Size(Heads, "heads");
        Require.AtLeast(KeyValueHeads, 1, "keyValueHeads");
        Require.Divides(KeyValueHeads, "keyValueHeads", Heads, "heads");
        Require.Size(HeadSize, "headSize");
        Require.Size(ValueHeadSize, "valueHeadSize");
        Require.Size((long)Heads * HeadSize, "heads x headSize");
        Require.Size((long)Heads * ValueHeadSize, "heads x valueHeadSize");
        Require.That(Window is null or >= 1, "window", Window, "at least 1, or none");
        Require.AtLeast(Sinks, 0, "sinks");
        Require.That(Sinks == 0 || Window is not null, "sinks", Sinks, "0 without a window, because full attention sees every token");
        if (Scale is { } scale) Require.Positive(scale, "scale");
        Require.That(QkNorm || !QkNormAcrossHeads, "qkNormAcrossHeads", QkNormAcrossHeads, "false without qkNorm");
        Require.Positive(InputScale, "inputScale");
        Require.Positive(KeyScale, "keyScale");
        Require.Positive(OutputScale, "outputScale");
        Rotary?.Check(HeadSize);
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => CountInputParameters(width) + CountOutputParameters(width);

    /// <inheritdoc/>
    public override double CountMatrixWeights(int width) => CountInputWeights(width) + (double)OutputWidth * width;

    internal double CountInputWeights(int width, bool sharedValues = false) =>
        ((double)QueryProjectionWidth + KeyWidth + (sharedValues ? 0 : ValueWidth)) * width;

    /// <inheritdoc/>
    public override double CountMixingFlops(int width, FlopAccounting accounting, SeenTokens seen) =>
        2.0 * ((double)QueryWidth + OutputWidth) * seen.Count(Span);

    // tokens that a late query sees
    long Span => Window is { } window ? (long)window + Sinks : long.MaxValue;

    /// <inheritdoc/>
    public override MixerCache CountCache(int width, long length, int elementSize)
    {
        long slot = ((long)KeyWidth + ValueWidth) * elementSize;
        return Window is { } window ? new(Windows: ((long)window + Sinks + 1) * (slot + sizeof(long))) : new(KeysAndValues: length * slot);
    }

    /// <inheritdoc/>
    public override double CountPaperCacheBytes(int width, long length) => 2.0 * Math.Min(length, Span) * ((double)KeyWidth + ValueWidth);

    /// <inheritdoc/>
    public override double CountStepTraffic(int width, long length, int elementSize) =>
        Math.Min(length, Span) * ((double)KeyWidth + ValueWidth) * elementSize;

    internal override bool SavesInput => InputScale != 1;

    /// <inheritdoc/>
    public override double CountSavedActivations(int width, TrainingStepShape step)
    {
        ArgumentNullException.ThrowIfNull(step);
        // queries, keys, values, output, padded to one head size, and a float32 sum of exponentials per head
        double size = Math.Max(HeadSize, ValueHeadSize);
        return (2 * size * (Heads + (double)KeyValueHeads) + (OutputGate ? 2.0 * OutputWidth : 0)) * step.ElementSize + 4.0 * Heads;
    }

    // the kernels of this library for bfloat16 on a GPU need none, and neither does attention in pieces
    internal override bool NeedsMask(TrainingStepShape step) => Window < step.Length && (step.Gpu is null || step.ElementSize > 2)
        && AttentionPlan.HasMask(step.Batch, step.Length, Heads, Math.Max(HeadSize, ValueHeadSize), Window.Value, Sinks, step.Gpu is null);

    /// <inheritdoc/>
    public override MixerDescription Describe()
    {
        string summary = FormattableString.Invariant($"attention {Heads}({KeyValueHeads})x{HeadSize}")
            + (ValueHeadSize == HeadSize ? "" : FormattableString.Invariant($"/{ValueHeadSize}"))
            + (Window is { } visible ? FormattableString.Invariant($", window {visible}+{Sinks}") : "");
        string details = $"{MixerDescription.Counted(Heads, "head")} × "
            + (HeadSize == ValueHeadSize ? $"{HeadSize}" : $"{HeadSize} (values {ValueHeadSize})");
        if (KeyValueHeads != Heads) details += $", {MixerDescription.Counted(KeyValueHeads, "key-value head")}";
        if (Window is { } window) details += Sinks > 0 ? $", window {window} + {MixerDescription.Counted(Sinks, "sink")}" : $", window {window}";
        if (Rotary is null) details += ", no positions";
        return new(Window is null ? "Attention" : "Sliding-window attention", summary, details,
            Window is null ? MixerColor.Attention : MixerColor.Window);
    }

    internal long CountInputParameters(int width, bool sharedValues = false)
    {
        long outputs = (long)QueryProjectionWidth + KeyWidth + (sharedValues ? 0 : ValueWidth);
        return outputs * width + (InputBias ? outputs : 0) + (QkNorm ? QkNormWidth : 0);
    }

    long QkNormWidth => QkNormAcrossHeads ? (long)QueryWidth + KeyWidth : 2L * HeadSize;

    internal long CountOutputParameters(int width) => (long)OutputWidth * width + (OutputBias ? width : 0);
}
