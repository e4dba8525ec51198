namespace HybridArchitectures.Training.Distributed;

/// <summary>Selects what is divided over the ranks of a run.</summary>
public enum DataParallelStrategy
{
    /// <summary>Every rank has the model, the gradients and the state of the optimizer. Gradients are summed on all ranks.</summary>
    Replicated,

    /// <summary>
    /// Every rank has the model and the gradients, and the optimizer's state of its share of the parameters (arXiv 1910.02054, stage 1). A rank
    /// receives the sums of the gradients of its share, updates it, and sends it to the others. AdamW divides parameters by rows. Muon keeps every
    /// matrix on one rank. The communication is that of <see cref="Replicated"/>.
    /// </summary>
    ShardedOptimizer,
}
