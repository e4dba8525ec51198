using System.Text.Json;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Storage;

namespace Quickstart;

/// <summary>How far the training of all models is to go; kept in the run's folder.</summary>
/// <param name="Steps">Steps of each model in all.</param>
/// <param name="Done">Steps that every model has done.</param>
/// <param name="Target">Steps that every model will have done after the present round.</param>
sealed record RacePlan(long Steps, long Done, long Target)
{
    static string File(string folder) => Path.Combine(folder, "plan.json");

    public void Save(string folder) => AtomicWrite.Text(File(folder), JsonSerializer.Serialize(this));

    /// <summary>Reads the plan of a run; null where none was made yet.</summary>
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
