using static TorchSharp.torch;

namespace HybridArchitectures.Checkpoints;

/// <summary>Describes a tensor of a model, the slice of one expert, or rows of a matrix.</summary>
/// <param name="Name">The name in <see cref="Models.HybridLanguageModel.State"/>.</param>
/// <param name="Expert">The index along the first dimension. The default, null, means the whole tensor.</param>
/// <param name="Rows">The rows. The default, null, means all rows.</param>
sealed record TensorPart(string Name, int? Expert = null, TensorRows? Rows = null)
{
    /// <summary>Returns the part as a view. Rows of several groups have one more dimension, (groups, rows, ...).</summary>
    public Tensor Select(IReadOnlyDictionary<string, Tensor> state)
    {
        var whole = state[Name];
        if (Expert is { } expert) return whole.select(0, expert);
        if (Rows is not { } rows) return whole;
        if (rows.Groups == 1) return whole.narrow(0, rows.Start, rows.Size);
        return whole.unflatten(0, rows.Groups, whole.size(0) / rows.Groups).narrow(1, rows.Start, rows.Size);
    }

    /// <summary>Returns the part in the shape of a file: a view, or a copy if rows of several groups are joined.</summary>
    public Tensor Join(IReadOnlyDictionary<string, Tensor> state) => Rows is { Groups: > 1 } ? Select(state).flatten(0, 1) : Select(state);

    /// <summary>Returns the shape of <see cref="Join"/>.</summary>
    public long[] Shape(IReadOnlyDictionary<string, Tensor> state)
    {
        var shape = Select(state).shape;
        return Rows is { Groups: > 1 } ? [shape[0] * shape[1], .. shape[2..]] : shape;
    }
}
