using HybridArchitectures.Training;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation;

/// <summary>What a sweep trains and measures.</summary>
public sealed record SweepOptions
{
    /// <summary>Gets the folder of the runs. Several processes may work in it at a time.</summary>
    public required string Folder { get; init; }

    /// <summary>Gets the designs, of different names.</summary>
    public required IReadOnlyList<SweepDesign> Designs { get; init; }

    /// <summary>Gets the seeds; each design is trained with each. A seed sets the initial weights and the order of the data. The default value is
    /// 1.</summary>
    public IReadOnlyList<long> Seeds { get; init; } = [1];

    /// <summary>
    /// Gets how every run is trained. Seed and folder are set by the sweep. With <see cref="TrainingOptions.CheckpointEvery"/> 0 a checkpoint is
    /// written every tenth of the run, or every 100 steps where time ends it; with <see cref="TrainingOptions.EvaluateEvery"/> 0 the held-out loss
    /// is measured as often.
    /// </summary>
    public required TrainingOptions Training { get; init; }

    /// <summary>
    /// Gets the training FLOPs of every run (paper accounting, 3 times a forward pass): each design is trained on as many tokens as they allow. The
    /// default value, null, trains all for <see cref="TrainingOptions.Duration"/>.
    /// </summary>
    public double? TrainingFlops { get; init; }

    /// <summary>Gets the data to train on.</summary>
    public required ITrainingData Data { get; init; }

    /// <summary>Gets the data for the loss during training; null for none.</summary>
    public TokenDataset? HeldOut { get; init; }

    /// <summary>Gets what is measured of every trained model. Tasks are known by their names, which differ.</summary>
    public IReadOnlyList<EvaluationTask> Tasks { get; init; } = [];

    /// <summary>Gets the type of activations. The default value is float32.</summary>
    public ScalarType ComputeType { get; init; } = ScalarType.Float32;

    /// <summary>Gets the device of the models; null, the default, is the CPU.</summary>
    public Device? Device { get; init; }

    /// <summary>
    /// Gets whether the last checkpoint of a complete run is kept, so that tasks can be added later. The default value is true.
    /// </summary>
    public bool KeepModels { get; init; } = true;

    internal void Check()
    {
        Require.NotBlank(Folder);
        ArgumentNullException.ThrowIfNull(Data);
        ArgumentNullException.ThrowIfNull(Training);
        (Training with { Folder = Folder }).Check();
        Require.InRange(Designs is { Count: > 0 }, $"{nameof(Designs)}.Count", Designs?.Count ?? 0, "at least 1 design");
        Require.InRange(Seeds is { Count: > 0 }, $"{nameof(Seeds)}.Count", Seeds?.Count ?? 0, "at least 1 seed");
        Require.InRange(TrainingFlops is null or > 0, nameof(TrainingFlops), TrainingFlops, "above 0, or null");
        RequireDifferent(Designs!.Select(design => design.Name), nameof(Designs));
        RequireDifferent(Seeds!.Select(seed => seed.ToString(System.Globalization.CultureInfo.InvariantCulture)), nameof(Seeds));
        RequireDifferent(Tasks.Select(task => task.Name), nameof(Tasks));
        foreach (var design in Designs!) design.Design.Check();
    }

    static void RequireDifferent(IEnumerable<string> names, string list)
    {
        foreach (var group in names.GroupBy(name => name))
        {
            if (string.IsNullOrWhiteSpace(group.Key)) throw Require.Unfit(list, $"{list} holds a blank name", "names");
            if (group.Count() > 1) throw Require.Unfit(list, $"{list} holds '{group.Key}' {group.Count()} times", "different names");
        }
    }
}
