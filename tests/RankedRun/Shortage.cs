using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Computes the cross entropy, and fails like an allocator in the third step.</summary>
sealed class Shortage(bool fails) : TrainingObjective
{
    int passes;

    public override string Description => "cross entropy";

    public override ModelLoss Compute(HybridLanguageModel model, TokenBatch batch, SequenceContext context)
    {
        if (fails && ++passes == 3) throw new OutOfMemoryException("CUDA out of memory");
        return model.Loss(batch.Ids, batch.Targets, context, batch.Weights);
    }
}
