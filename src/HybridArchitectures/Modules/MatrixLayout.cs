namespace HybridArchitectures.Modules;

/// <summary>
/// Describes the matrices of a parameter of shape (outputs, inputs) or (experts, outputs, inputs): which rows belong together. Optimizers that treat
/// a matrix as a whole use it.
/// </summary>
/// <param name="Parts">
/// The numbers of rows of projections that are stored one below the other, such as [inner, inner, N, N, heads] for the input of Mamba-2. Their sum,
/// times <see cref="Repeats"/>, is the number of outputs.
/// </param>
/// <param name="HeadRows">
/// The number of rows of one head, which divides each part. The default, 0, means that the rows are not those of heads.
/// </param>
public sealed record MatrixLayout(IReadOnlyList<int> Parts, int HeadRows = 0)
{
    /// <summary>Gets the numbers of rows of the projections that are stored one below the other.</summary>
    public IReadOnlyList<int> Parts { get; init; } = Parts ?? throw new ArgumentNullException(nameof(Parts));

    /// <summary>
    /// Gets or sets how often the parts follow one another, for a projection whose rows are ordered by head: the query, the key and the values of the
    /// first head, then those of the second. The rows of a part in all repeats are one matrix. The default is 1.
    /// </summary>
    public int Repeats { get; init => field = value > 0 ? value : throw Require.OutOfRange(nameof(Repeats), value, "at least 1"); } = 1;

    /// <summary>Gets the number of rows of all parts and repeats together.</summary>
    public long Rows => Repeats * Parts.Sum(part => (long)part);

    /// <summary>Returns the number of rows of a head of a part: without <see cref="HeadRows"/>, all rows of the part in one repeat.</summary>
    internal int RowsOfHead(int part) => HeadRows > 0 ? HeadRows : part;
}
