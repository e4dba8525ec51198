using HybridArchitectures.Checkpoints;
using HybridArchitectures.Design;
using HybridArchitectures.Models;

namespace KilledRun;

/// <summary>Saves a small model again and again to one folder that other processes save to as well, and loads it.</summary>
static class SharedSaves
{
    /// <summary>Works, and writes one line for each failure and one at the end.</summary>
    public static void Run(string folder, int count, int dieAt)
    {
        using var steps = StorageSteps.KillAt(dieAt);
        using var model = HybridDesign.Create(8, 12).WithAttention(heads: 2).WithFeedForward(FeedForwardSpec.SwiGlu(8))
            .Depth(1).Ratio(attention: 1, ssm: 0).Build().CreateModel(seed: 1);
        int failed = 0;
        for (int i = 0; i < count; i++)
        {
            try
            {
                Checkpoint.Save(model, folder);
                using var loaded = Checkpoint.Load(folder);
                if (loaded.State.Count != model.State.Count)
                    throw new InvalidDataException($"{loaded.State.Count} tensors; expected {model.State.Count}");
            }
            catch (Exception e)
            {
                failed++;
                Console.WriteLine($"failed {e}");
            }
        }
        Console.WriteLine($"done {count} with {failed} failures");
    }
}
