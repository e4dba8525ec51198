using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Sweeps;

/// <summary>Contains the options of a <see cref="Sweep"/>.</summary>
public sealed record SweepOptions
{
    /// <summary>Gets or sets the folder of the runs. Several processes may work in it at the same time.</summary>
    public required string Folder { get; init; }

    /// <summary>Gets or sets the designs. Their names must differ.</summary>
    public required IReadOnlyList<SweepDesign> Designs { get; init; }

    /// <summary>
    /// Gets or sets the seeds. Each design is trained with each seed, which sets the initial weights and the order of the data. The default value is
    /// 1.
    /// </summary>
    public IReadOnlyList<long> Seeds { get; init; } = [1];

    /// <summary>
    /// Gets or sets the training options of every run. The sweep sets the seed and the folder. If <see cref="TrainingOptions.CheckpointEvery"/> is 0,
    /// a checkpoint is written every tenth of the run, or every 100 steps if time ends it. If <see cref="TrainingOptions.EvaluateEvery"/> is 0, the
    /// held-out loss is measured at the same steps, or less often if that measured more tokens than the run trains. Options
    /// that change no result, such as <see cref="TrainingOptions.CudaGraphs"/> or <see cref="TrainingOptions.EvaluateEvery"/>, can be changed between
    /// calls: complete runs stay, and interrupted ones continue with them, except for the intervals of their curves.
    /// </summary>
    public required TrainingOptions Training { get; init; }

    /// <summary>
    /// Gets or sets the training FLOPs of every run (paper accounting, 3 times a forward pass), which determine the number of tokens of each design.
    /// The default value, null, trains every design for <see cref="TrainingOptions.Duration"/>.
    /// </summary>
    public double? TrainingFlops { get; init; }

    /// <summary>Gets or sets the training data.</summary>
    public required ITrainingData Data { get; init; }

    /// <summary>Gets or sets the data for the held-out loss during training. The default value, null, means none.</summary>
    public TokenDataset? HeldOut { get; init; }

    /// <summary>Gets or sets the tasks that measure every trained model. Their names must differ.</summary>
    public IReadOnlyList<EvaluationTask> Tasks { get; init; } = [];

    /// <summary>Gets or sets the dtype of activations. The default value is float32.</summary>
    public ScalarType ComputeType { get; init => field = Require.Defined(value, nameof(ComputeType)); } = ScalarType.Float32;

    /// <summary>Gets or sets the device of the models. The default value, null, means the CPU.</summary>
    public Device? Device { get; init; }

    /// <summary>
    /// Gets or sets whether the last checkpoint of a complete run is kept, so that tasks can be added later. The default value is true.
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
        Require.Items(Designs);
        Require.Items(Tasks);
        RequireDifferent(Designs!.Select(design => design.Name), nameof(Designs));
        RequireDifferent(Seeds!.Select(seed => seed.ToString(System.Globalization.CultureInfo.InvariantCulture)), nameof(Seeds));
        RequireDifferent(Tasks.Select(task => task.Name), nameof(Tasks));
        if (Tasks.Any(task => task.Name == SweepRun.TrainingTask))
            throw Require.Unfit(nameof(Tasks), $"{nameof(Tasks)} holds '{SweepRun.TrainingTask}'",
                "another name, because that is the one of the metrics of training");
        foreach (var design in Designs!) design.Design.Check();
        if (File.Exists(Folder)) throw Require.Unfit(nameof(Folder), $"{nameof(Folder)} is '{Folder}', a file", "a folder, or a new name");
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
