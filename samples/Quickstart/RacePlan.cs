using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace Quickstart;

/// <summary>Contains the planned number of steps, which is stored in the folder of the run.</summary>
/// <param name="Steps">The total number of steps of each model.</param>
/// <param name="Done">The number of steps that every model has completed.</param>
/// <param name="Target">The number of steps of every model after the current round.</param>
sealed record RacePlan(long Steps, long Done, long Target)
{
    static string File(string folder) => Path.Combine(folder, "plan.json");

    public void Save(string folder) => AtomicWrite.Text(File(folder), JsonSerializer.Serialize(this));

    /// <summary>Reads the plan of a run, or returns null if there is none yet.</summary>
    public static RacePlan? Load(string folder)
    {
        if (!System.IO.File.Exists(File(folder))) return null;
        try
        {
            return JsonSerializer.Deserialize<RacePlan>(System.IO.File.ReadAllText(File(folder)));
        }
        catch (JsonException e)
        {
            throw new ArgumentException($"'{File(folder)}' is damaged: {e.Message}");
        }
    }
}
