using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Trains a design of the recall experiment with a setting and one seed, to find the setting with which the experiment measures a difference.
/// </summary>
/// <param name="setting">The setting.</param>
/// <param name="vocabularySize">The vocabulary size.</param>
/// <param name="folder">The folder of the runs.</param>
/// <param name="device">The device.</param>
sealed class RecallTrial(RecallSetting setting, int vocabularySize, string folder, Device device)
{
    /// <summary>Trains and measures a design, and returns a line of a table.</summary>
    /// <param name="design">The design.</param>
    /// <param name="rate">The peak learning rate.</param>
    /// <param name="cancellation">Stops the training.</param>
    public string Run(ExperimentDesign design, double rate, CancellationToken cancellation)
    {
        string name = FormattableString.Invariant($"{design.Name}, rate {rate:0.####}, {setting.Steps} steps of {setting.TokensPerStep}, ")
            + FormattableString.Invariant($"{setting.MinPairs} to {setting.Pairs} pairs in {setting.Length}");
        Evaluation.Tasks.EvaluationTask[] tasks = [.. Tasks()];
        var sweep = new Sweep(new SweepOptions
        {
            Folder = folder, Seeds = [1], Device = device, KeepModels = false, Designs = [new(name, design.Design, rate)],
            ComputeType = device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32,
            Data = setting.TaskAt(vocabularySize).ToTrainingData(), Training = Training(setting, rate), Tasks = tasks,
        });
        var clock = System.Diagnostics.Stopwatch.StartNew();
        var result = sweep.Run(new Lines(), cancellation);
        var run = result.Runs.FirstOrDefault(run => run.Settings.Name == name);
        // in the order of the tasks, which is not that of their files
        var accuracies = tasks.Select(task => run?.Find(task.Name, "accuracy")?.Value.ToString("0.000",
            System.Globalization.CultureInfo.InvariantCulture));
        return FormattableString.Invariant($"| {name} | {string.Join(" | ", accuracies)} | {clock.Elapsed.TotalSeconds:0} s |");
    }

    /// <summary>Creates the training options of the recall task.</summary>
    public static TrainingOptions Training(RecallSetting setting, double rate) =>
        StudyTraining.Options(rate, setting.Length, setting.TokensPerStep, setting.Steps);

    IEnumerable<Evaluation.Tasks.EvaluationTask> Tasks()
    {
        for (int pairs = setting.Pairs; pairs >= Math.Max(1, setting.Pairs / 4); pairs /= 2)
            yield return (setting with { Pairs = pairs, MinPairs = 0 }).TaskAt(vocabularySize).ToEvaluationTask(setting.TestRows);
        foreach (double lengths in (double[])[1.5, 2])
            yield return setting.TaskAt(vocabularySize, lengths).ToEvaluationTask(setting.TestRows);
    }

    sealed class Lines : IProgress<SweepProgress>
    {
        public void Report(SweepProgress value) => Console.WriteLine(value);
    }
}
