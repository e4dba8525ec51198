using HybridArchitectures.Models;

namespace HybridArchitectures.Training.Optimization;

/// <summary>Contains the constants of <see cref="Muon"/>.</summary>
public sealed record MuonOptions : OptimizerOptions
{
    /// <summary>Gets or sets the decay of the running mean of the gradients of matrices, in [0, 1). The default is 0.95.</summary>
    public double Momentum { get; init; } = 0.95;

    /// <summary>
    /// Gets or sets whether the update is the gradient mixed with the new running mean (Nesterov), and not the running mean itself. The default is
    /// true.
    /// </summary>
    public bool Nesterov { get; init; } = true;

    /// <summary>
    /// Gets or sets the weight decay of matrices: the fraction that is subtracted per step, times the learning rate, at least 0. The default is 0.1.
    /// </summary>
    public double WeightDecay { get; init; } = 0.1;

    /// <summary>
    /// Gets or sets the root mean square of the elements of an update, as a fraction of the learning rate, above 0. An update of AdamW has about
    /// 0.2 to 0.4, so that both kinds of parameters can use the same learning rate (arXiv 2502.16982, section 2.2). The default is 0.2.
    /// </summary>
    public double UpdateScale { get; init; } = 0.2;

    /// <summary>Gets or sets the polynomials that make an update orthogonal. The default is <see cref="Orthogonalization.PolarExpress"/>.</summary>
    public Orthogonalization Orthogonalization { get; init => field = Require.Defined(value, nameof(Orthogonalization)); } =
        Orthogonalization.PolarExpress;

    /// <summary>Gets or sets the number of polynomials, from 1 to 8. The default is 5.</summary>
    public int Iterations { get; init; } = 5;

    /// <summary>
    /// Gets or sets whether each head of the query, key and value projections of attention is a matrix by itself, so that no head changes faster than
    /// others (arXiv 2605.08933 compares the two). The default, false, takes all heads of a projection as one matrix. In trials with 0.7 million
    /// parameters, single heads lowered the held-out loss by 0.015 nats, and by 0.007 next to <see cref="EqualNorms"/>.
    /// </summary>
    public bool PerHead { get; init; }

    /// <summary>
    /// Gets or sets whether the rows of the update of a matrix with more rows than columns are scaled to the same norm, and so are the columns of one
    /// with more columns. The orthogonal factor leaves these unequal, so that some neurons would change much faster than others (arXiv 2602.21545;
    /// arXiv 2510.05491 does it for rows, with a running mean). In trials with 0.7 million parameters it lowered the held-out loss by 0.035 nats. The
    /// default is true. Checkpoints of versions without this option continue with false.
    /// </summary>
    public bool EqualNorms { get; init; } = true;

    /// <summary>
    /// Gets or sets the constants of AdamW, which updates all other parameters: embeddings, the head, norms, biases, convolutions and the parameters
    /// of state-space layers.
    /// </summary>
    public AdamWOptions Others { get; init; } = new();

    /// <summary>
    /// Gets or sets the learning rate of all other parameters as a multiple of that of matrices, above 0. The default is 1.
    /// </summary>
    public double OthersRate { get; init; } = 1;

    /// <summary>Creates the constants that a checkpoint means by leaving them out: those of the versions before they could be set.</summary>
    internal static MuonOptions CreateOldest() => new() { EqualNorms = false, PerHead = false, OthersRate = 1 };

    /// <inheritdoc/>
    public override Optimizer Create(IEnumerable<ModelParameter> parameters) => new Muon(parameters, this);

    internal override IReadOnlyList<string> StateOf(ModelParameter parameter) =>
        parameter.Matrix is null ? Others.StateOf(parameter) : [Muon.MomentumPrefix];

    internal override bool IsIndivisible(ModelParameter parameter) => parameter.Matrix is not null;

    internal override void Check()
    {
        Require.InRange(Momentum is >= 0 and < 1, nameof(Momentum), Momentum, "a number in [0, 1)");
        Require.InRange(WeightDecay >= 0 && double.IsFinite(WeightDecay), nameof(WeightDecay), WeightDecay, "a finite number of at least 0");
        Require.InRange(UpdateScale > 0 && double.IsFinite(UpdateScale), nameof(UpdateScale), UpdateScale, "a finite number above 0");
        Require.InRange(Iterations is >= 1 and <= 8, nameof(Iterations), Iterations, "a number from 1 to 8");
        Require.InRange(OthersRate > 0 && double.IsFinite(OthersRate), nameof(OthersRate), OthersRate, "a finite number above 0");
        ArgumentNullException.ThrowIfNull(Others);
        Others.Check();
    }
}
