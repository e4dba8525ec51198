namespace HybridArchitectures.Training.Distributed;

/// <summary>Selects what is divided over the ranks of a run.</summary>
public enum DataParallelStrategy
{
    /// <summary>
    /// Every rank has the model, the gradients and the state of the optimizer. Gradients are summed on all ranks, block by block during the backward
    /// pass.
    /// </summary>
    Replicated,

    /// <summary>
    /// Every rank has the model and the gradients, and the optimizer's state of its share of the parameters (arXiv 1910.02054, stage 1). A rank
    /// receives the sums of the gradients of its share, updates it, and sends it to the others. AdamW divides parameters anywhere. Muon keeps every
    /// matrix on one rank. The communication is that of <see cref="Replicated"/>.
    /// </summary>
    ShardedOptimizer,

    /// <summary>
    /// Every rank has its share of the parameters, the gradients and the state of the optimizer (arXiv 1910.02054, stage 3; arXiv 2304.11277). The
    /// parameters of a block are gathered for its forward pass, and a second time for its backward pass, while the block before is computed. Its
    /// gradients are summed and divided right after its backward pass.
    /// </summary>
    FullySharded,

    /// <summary>
    /// Works as <see cref="FullySharded"/> within every machine. The machines have the same shares, whose gradients are summed over the machines.
    /// </summary>
    Hybrid,
}
