using HybridArchitectures.Kernels.Runtime;
using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of softmax attention, with the shapes of <see cref="Operators.FusedAttention.Forward"/>.</summary>
sealed record AttentionInputs(Tensor Query, Tensor Key, Tensor Value) : ISavedTensors<AttentionInputs>
{
    /// <summary>Gets the multiplier of the scores.</summary>
    public required double Scale { get; init; }

    /// <summary>Gets the number of last keys that a query sees. Null means all.</summary>
    public int? Window { get; init; }

    /// <summary>Gets the number of first keys that every query sees in addition to its window.</summary>
    public int Sinks { get; init; }

    public AttentionPositions? Positions { get; init; }

    /// <summary>Gets the bound of the scores. Null means none.</summary>
    public double? Softcap { get; init; }

    /// <summary>Gets the sink logit of each head, shape (heads). Null means none.</summary>
    public Tensor? SinkLogits { get; init; }

    /// <summary>Gets whether a gradient of an input is recorded.</summary>
    public bool RecordsGradient => is_grad_enabled()
        && (Query.requires_grad || Key.requires_grad || Value.requires_grad || SinkLogits is { requires_grad: true });

    /// <summary>Returns 1 / sqrt(head size), the scale of queries for which none is given.</summary>
    public static double DefaultScale(Tensor query) =>
        query is { IsInvalid: false } && query.dim() > 0 && query.size(-1) > 0 ? 1 / Math.Sqrt(query.size(-1)) : 1;

    public AttentionInputs Map(Func<Tensor?, Tensor?> replace) => this with
    {
        Query = replace(Query)!, Key = replace(Key)!, Value = replace(Value)!, SinkLogits = replace(SinkLogits),
        Positions = Positions is null ? null : new(replace(Positions.Query)!, replace(Positions.Key)!, replace(Positions.QueryDocuments),
            replace(Positions.KeyDocuments)) { Bounds = replace(Positions.Bounds) },
    };

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(Query, "query");
        Checks.Shape(Query, [-1, -1, -1, -1], "(batch, queries, heads, head size)", "query");
        Checks.Shape(Key, [Query.size(0), -1, -1, Query.size(3)], "(batch, keys, key heads, head size), batch and head size as in query", "key");
        Checks.Shape(Value, [Key.size(0), Key.size(1), Key.size(2), -1], "(batch, keys, key heads, value head size), all but the last as in key",
            "value");
        Checks.Heads(Query, (Key, "key"), (Value, "value"));
        Require.InRange(double.IsFinite(Scale), "scale", Scale, "a finite number");
        CheckVisibility();
        if (Softcap is { } cap) Require.Positive(cap, "softcap");
        if (SinkLogits is not null) Checks.SinkLogits(SinkLogits, Query);
    }

    void CheckVisibility()
    {
        if (Window < 1) throw Require.OutOfRange("window", Window, "at least 1 token, or null");
        if (Sinks < 0) throw Require.OutOfRange("sinks", Sinks, "at least 0 tokens");
        if (Positions is not null) Positions.Check(Query, Key, "positions");
        else if (Key.size(1) < Query.size(1))
            throw Require.Unfit("key", $"key has {Key.size(1)} tokens",
                $"at least the {Query.size(1)} of query, or explicit positions of both");
    }
}
