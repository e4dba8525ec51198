using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace RankedRun;

/// <summary>Checks where a callback can read the parameters of a model, what a rank keeps of them, and when sums of gradients start.</summary>
sealed class GatherCheck(DataParallelStrategy strategy, int ranks) : TrainingCallback
{
    public override void OnStep(TrainingStep step)
    {
        if (step.Step != 3) return;
        bool isDivided = strategy is DataParallelStrategy.FullySharded or DataParallelStrategy.Hybrid;
        if (AreNumbers(step.Trainer) == isDivided) throw new InvalidOperationException($"{strategy}: the parameters are numbers: {!isDivided}");
        if (isDivided) RequireRefusal(step.Trainer);
        RequireShare(step.Trainer, isDivided);
        using (step.Trainer.GatherParameters())
            if (!AreNumbers(step.Trainer)) throw new InvalidOperationException($"{strategy}: gathered parameters are not numbers");
    }

    void RequireShare(Trainer trainer, bool isDivided)
    {
        var sizes = trainer.Model.Parameters.Select(item => item.Value.NumberOfElements).ToArray();
        int shares = strategy == DataParallelStrategy.Hybrid && ranks % 2 == 0 ? ranks / 2 : ranks;
        // parts are multiples of 64 elements, and Muon keeps every matrix on one rank
        long max = (sizes.Sum() + 64 * sizes.Length) / shares + 64 * (trainer.Model.Stack.Blocks.Count + 1) + sizes.Max();
        if (isDivided ? trainer.OwnElements is not { } own || own > max : trainer.OwnElements is not null)
            throw new InvalidOperationException($"{strategy}: a rank keeps {trainer.OwnElements} of {sizes.Sum()} elements; expected at most {max}");
        // in the second and the third step, for both blocks, except for the first block after a frozen embedding
        if (!isDivided && trainer.SumsInBackward < 2)
            throw new InvalidOperationException($"{strategy}: {trainer.SumsInBackward} sums in backward passes; expected at least 2");
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
