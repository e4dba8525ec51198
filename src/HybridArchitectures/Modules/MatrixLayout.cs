namespace HybridArchitectures.Modules;

/// <summary>
/// Describes the matrices of a parameter of shape (outputs, inputs) or (experts, outputs, inputs): which rows belong together. Optimizers that treat
/// a matrix as a whole use it.
/// </summary>
/// <param name="Parts">
/// The numbers of rows of projections that are stored one below the other, such as [inner, inner, N, N, heads] for the input of Mamba-2. Their sum is
/// the number of outputs.
/// </param>
/// <param name="HeadRows">
/// The number of rows of one head, which divides each part. The default, 0, means that the rows are not those of heads.
/// </param>
public sealed record MatrixLayout(IReadOnlyList<int> Parts, int HeadRows = 0)
{
    /// <summary>Gets the numbers of rows of the projections that are stored one below the other.</summary>
    public IReadOnlyList<int> Parts { get; init; } = Parts ?? throw new ArgumentNullException(nameof(Parts));

    /// <summary>Gets the number of rows of all parts together.</summary>
    public long Rows => Parts.Sum(part => (long)part);
}
