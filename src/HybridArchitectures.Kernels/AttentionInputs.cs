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

    public AttentionInputs Map(Func<Tensor?, Tensor?> replace) => this with
    {
        Query = replace(Query)!, Key = replace(Key)!, Value = replace(Value)!, SinkLogits = replace(SinkLogits),
        Positions = Positions is null ? null : new(replace(Positions.Query)!, replace(Positions.Key)!, replace(Positions.QueryDocuments),
            replace(Positions.KeyDocuments)) { Bounds = replace(Positions.Bounds) },
    };
}
