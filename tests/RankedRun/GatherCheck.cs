using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace RankedRun;

/// <summary>Checks where a callback can read the parameters of a model.</summary>
sealed class GatherCheck(DataParallelStrategy strategy) : TrainingCallback
{
    public override void OnStep(TrainingStep step)
    {
        if (step.Step != 3) return;
        bool isDivided = strategy is DataParallelStrategy.FullySharded or DataParallelStrategy.Hybrid;
        if (AreNumbers(step.Trainer) == isDivided) throw new InvalidOperationException($"{strategy}: the parameters are numbers: {!isDivided}");
        if (isDivided) RequireRefusal(step.Trainer);
        using (step.Trainer.GatherParameters())
            if (!AreNumbers(step.Trainer)) throw new InvalidOperationException($"{strategy}: gathered parameters are not numbers");
    }

    static bool AreNumbers(Trainer trainer)
    {
        using var scope = NewDisposeScope();
        return trainer.Model.Parameters.All(item => item.Value.isfinite().all().item<bool>());
    }

    static void RequireRefusal(Trainer trainer)
    {
        using var scope = NewDisposeScope();
        try
        {
            trainer.Model.Forward(zeros([1, 4], ScalarType.Int64));
        }
        catch (InvalidOperationException e) when (e.Message.Contains("GatherParameters", StringComparison.Ordinal))
        {
            return;
        }
        throw new InvalidOperationException("a pass over parameters that are not gathered was not refused");
    }
}
