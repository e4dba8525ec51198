using System.Text.Json.Serialization;

namespace HybridArchitectures.Design;

/// <summary>Causal grouped-query attention, over the whole row or a sliding window. Sizes left at 0 are derived by <see cref="Resolve(int)"/>.</summary>
public sealed record AttentionSpec : MixerSpec
{
    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads, a divisor of <see cref="Heads"/>; 0: as many as query heads.</summary>
    public int KeyValueHeads { get; init; }

    /// <summary>Size of a query and key head; 0: model width over heads.</summary>
    public int HeadSize { get; init; }

    /// <summary>Size of a value head; 0: as <see cref="HeadSize"/>.</summary>
    public int ValueHeadSize { get; init; }

    /// <summary>How many positions a query sees, itself included; null: all before it.</summary>
    public int? Window { get; init; }

    /// <summary>First tokens of a document that stay visible outside the window.</summary>
    public int Sinks { get; init; }

    /// <summary>Rotary positions; null: none.</summary>
    public RotarySpec? Rotary { get; init; }

    /// <summary>Factor on query-key products; null: 1/sqrt(<see cref="HeadSize"/>).</summary>
    public double? Scale { get; init; }

    /// <summary>An RMSNorm with weight over each query and key head before the rotation.</summary>
    public bool QkNorm { get; init; }

    /// <summary>A gate on what the heads give, before the output projection: its sigmoid multiplies, channel by channel (arXiv 2505.06708). It is projected beside each head's query.</summary>
    public bool OutputGate { get; init; }

    /// <summary>Biases on the query, key and value projections.</summary>
    public bool InputBias { get; init; }

    /// <summary>A bias on the output projection.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Factor on what enters the mixer.</summary>
    public double InputScale { get; init; } = 1;

    /// <summary>Factor on the keys, before the rotation.</summary>
    public double KeyScale { get; init; } = 1;

    /// <summary>Factor on what leaves the mixer.</summary>
    public double OutputScale { get; init; } = 1;

    /// <summary>Width of all query heads together.</summary>
    [JsonIgnore]
    public int QueryWidth => Heads * HeadSize;

    /// <summary>Outputs of the query projection: the queries, and the gates if there are any.</summary>
    [JsonIgnore]
    public int QueryProjectionWidth => QueryWidth + (OutputGate ? OutputWidth : 0);

    /// <summary>Width of all key heads together.</summary>
    [JsonIgnore]
    public int KeyWidth => KeyValueHeads * HeadSize;

    /// <summary>Width of all value heads together.</summary>
    [JsonIgnore]
    public int ValueWidth => KeyValueHeads * ValueHeadSize;

    /// <summary>Width of what the heads give, before the output projection: heads times value head size.</summary>
    [JsonIgnore]
    public int OutputWidth => Heads * ValueHeadSize;

    /// <summary><c>T</c>, or <c>S</c> with a sliding window.</summary>
    [JsonIgnore]
    public override string Symbol => Window is null ? "T" : "S";

    /// <inheritdoc/>
    public override MixerSpec Resolve(int width) => Resolve(width, width, 0);

    /// <summary>Fills in sizes so that queries and keys are <paramref name="queryWidth"/> wide; values too, or
    /// <paramref name="valueWidth"/> if that is not 0.</summary>
    internal AttentionSpec Resolve(int width, int queryWidth, int valueWidth)
    {
        Require.AtLeast(Heads, 1, "heads");
        int headSize = HeadSize;
        if (headSize == 0)
        {
            Require.That(queryWidth % Heads == 0, "heads", Heads, $"a divisor of the {(queryWidth == width ? "width" : "query width")} {queryWidth}, or a head size");
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
        Require.That(Sinks == 0 || Window is not null, "sinks", Sinks, "0 without a window, since full attention sees every token");
        if (Scale is { } scale) Require.Positive(scale, "scale");
        Require.Positive(InputScale, "inputScale");
        Require.Positive(KeyScale, "keyScale");
        Require.Positive(OutputScale, "outputScale");
        Rotary?.Check(HeadSize);
    }

    /// <inheritdoc/>
    public override long CountParameters(int width) => CountInputParameters(width) + CountOutputParameters(width);

    internal long CountInputParameters(int width, bool sharedValues = false)
    {
        long outputs = (long)QueryProjectionWidth + KeyWidth + (sharedValues ? 0 : ValueWidth);
        return outputs * width + (InputBias ? outputs : 0) + (QkNorm ? 2L * HeadSize : 0);
    }

    internal long CountOutputParameters(int width) => (long)OutputWidth * width + (OutputBias ? width : 0);
}
