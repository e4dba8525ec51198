namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Divides the rows of every step of a run over several processes (ranks). Each rank has the complete model and computes the gradients of its rows,
/// which are summed over the ranks before the step of the optimizer.
/// </summary>
/// <remarks>
/// Every rank creates the same model, data and training options, in which the batch size is that of all ranks together and the micro
/// batch size is that of one rank. Differences are refused at the start. The parameters are those of rank 0. A run on several ranks equals a run on
/// one rank except for the rounding of sums, and two equal runs on the same number of ranks are bit-identical. Models with dropout are an exception:
/// every rank draws the same random numbers.
/// </remarks>
/// <param name="Collectives">The connection of the ranks. The caller disposes it after the run.</param>
public sealed record DataParallel(Collectives Collectives)
{
    /// <summary>Gets or sets what is divided over the ranks. The default is <see cref="DataParallelStrategy.Replicated"/>.</summary>
    public DataParallelStrategy Strategy { get; init; }

    internal void Check()
    {
        ArgumentNullException.ThrowIfNull(Collectives);
        Require.Defined(Strategy);
    }
}
