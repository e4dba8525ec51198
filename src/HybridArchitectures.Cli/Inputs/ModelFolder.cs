using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Finds the checkpoint that the argument of a command means.</summary>
static class ModelFolder
{
    /// <summary>Returns the last checkpoint of the folder of a run, and any other path as it is.</summary>
    public static string Resolve(string path) => Directory.Exists(path) && Trainer.HasCheckpoint(path)
        ? Directory.GetDirectories(path, "step-*").Order(StringComparer.Ordinal).Last() : path;
}
