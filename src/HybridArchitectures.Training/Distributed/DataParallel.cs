namespace HybridArchitectures.Training.Distributed;

/// <summary>
/// Divides the rows of every step of a run over several processes (ranks). Each rank computes the gradients of its rows, which are summed over the
/// ranks before the step of the optimizer.
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

    /// <summary>
    /// Gets or sets the number of consecutive ranks over which <see cref="DataParallelStrategy.Hybrid"/> divides parameters. It divides the number of
    /// ranks. The default, 0, means the ranks of one machine. Other strategies ignore it.
    /// </summary>
    public int ShardRanks { get; init; }

    /// <summary>
    /// Gets or sets the bytes of gradients whose sums start together during the backward pass with <see cref="DataParallelStrategy.Replicated"/> and
    /// <see cref="DataParallelStrategy.ShardedOptimizer"/>. Blocks are added, from the last one, until they have this size. The default is 16 MiB.
    /// </summary>
    public long BucketBytes { get; init; } = 16L << 20;

    /// <summary>
    /// Gets or sets whether every rank has the complete parameters after <see cref="Running.Trainer.Run"/> with
    /// <see cref="DataParallelStrategy.FullySharded"/> and <see cref="DataParallelStrategy.Hybrid"/>. Set it to false for a model that does not fit
    /// the memory of one rank; its parameters are then in the checkpoints alone. The default is true.
    /// </summary>
    public bool GatherAfterRun { get; init; } = true;

    internal void Check()
    {
        ArgumentNullException.ThrowIfNull(Collectives);
        Require.Defined(Strategy);
        Require.AtLeast(ShardRanks, 0);
        if (ShardRanks > 0 && Collectives.Size % ShardRanks != 0)
            throw Require.OutOfRange(nameof(ShardRanks), ShardRanks, $"a divisor of {Collectives.Size}, the number of ranks");
        Require.InRange(BucketBytes > 0, nameof(BucketBytes), BucketBytes, "at least 1 byte");
    }
}
