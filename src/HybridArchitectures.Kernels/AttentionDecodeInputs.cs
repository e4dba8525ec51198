using static TorchSharp.torch;

namespace HybridArchitectures.Kernels;

/// <summary>Contains the inputs of decoding attention, with the shapes of <see cref="Operators.AttentionDecode.Forward"/>.</summary>
sealed record AttentionDecodeInputs(Tensor Query, Tensor Keys, Tensor Values, Tensor Lengths)
{
    /// <summary>Gets the multiplier of the scores.</summary>
    public required double Scale { get; init; }

    /// <summary>Gets the number of last tokens that a query sees. Null means all.</summary>
    public int? Window { get; init; }

    /// <summary>Gets the number of first tokens that every query sees in addition to its window.</summary>
    public int Sinks { get; init; }

    /// <summary>Gets whether the slots after the sinks are used again.</summary>
    public bool Ring { get; init; }

    /// <summary>Gets the bound of the scores. Null means none.</summary>
    public double? Softcap { get; init; }

    /// <summary>Gets the sink logit of each head, shape (heads). Null means none.</summary>
    public Tensor? SinkLogits { get; init; }

    /// <summary>Gets the memory that calls share. Null means none.</summary>
    public AttentionDecodeWorkspace? Workspace { get; init; }

    /// <summary>Checks the inputs. Exceptions name the argument.</summary>
    public void Check()
    {
        Checks.Floating(Query, "query");
        Checks.Shape(Query, [-1, -1, -1, -1], "(batch, queries, heads, head size)", "query");
        Checks.Shape(Keys, [Query.size(0), -1, -1, Query.size(3)], "(batch, capacity, key heads, head size), batch and head size as in query",
            "keys");
        Checks.Shape(Values, [Keys.size(0), Keys.size(1), Keys.size(2), -1], "(batch, capacity, key heads, value size), all but the last as in keys",
            "values");
        Checks.Shape(Lengths, [Query.size(0)], "one length per row of query", "lengths");
        if (Query.size(1) is < 1 or > AttentionDecodeWorkspace.MaxQueries)
            throw Require.Unfit("query", $"query has {Query.size(1)} queries per row", $"1 to {AttentionDecodeWorkspace.MaxQueries}");
        Checks.Heads(Query, (Keys, "keys"), (Values, "values"));
        Checks.Type(Lengths, ScalarType.Int32, "lengths");
        Checks.SameDevice(Lengths, Query, "query", "lengths");
        CheckNumbers();
        if (SinkLogits is not null) Checks.SinkLogits(SinkLogits, Query);
        if (is_grad_enabled()) CheckGradients();
    }

    void CheckNumbers()
    {
        Require.Positive(Scale, "scale");
        if (Softcap is { } cap) Require.Positive(cap, "softcap");
        if (Window < 1) throw Require.OutOfRange("window", Window, "at least 1 token, or null");
        if (Sinks < 0) throw Require.OutOfRange("sinks", Sinks, "at least 0 tokens");
        if (!Ring) return;
        if (Window is not { } window) throw Require.Refusal("window", null, "a window, because ring is true");
        long needed = window + Query.size(1) - 1;
        if (Keys.size(1) - Sinks < needed)
            throw Require.Unfit("keys", $"keys has {Keys.size(1)} slots",
                $"at least sinks + window + queries - 1 = {Sinks + needed}, because ring is true");
    }

    void CheckGradients()
    {
        (Tensor?, string)[] all = [(Query, "query"), (Keys, "keys"), (Values, "values"), (SinkLogits, "sinkLogits")];
        foreach (var (tensor, name) in all)
            if (tensor is { requires_grad: true })
                throw Require.Unfit(name, $"{name} requires a gradient", "none, because decoding has none: call it under no_grad");
    }
}
