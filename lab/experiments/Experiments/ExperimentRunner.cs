using HybridArchitectures.Evaluation.HeldOut;
using HybridArchitectures.Evaluation.Inference;
using HybridArchitectures.Evaluation.LongContext;
using HybridArchitectures.Evaluation.Sweeps;
using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Experiments;

/// <summary>
/// Runs experiments. All runs are in one folder, so a run that several experiments need is made once. Several processes may work in the folder.
/// <para>
/// Runs of one design and seed with twice the tokens of the study and more share their steps: the longest is trained until the cool-down of a shorter
/// one begins, and the shorter one continues a copy of its checkpoint. Its result is that of a separate training.
/// </para>
/// </summary>
/// <param name="size">The sizes.</param>
/// <param name="data">The data.</param>
/// <param name="folder">The folder of the runs.</param>
/// <param name="device">The device.</param>
sealed class ExperimentRunner(StudySize size, StudyData data, string folder, Device device)
{
    static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(1);

    readonly IReadOnlyDictionary<string, PartTasks> measured = new Catalogue(size, data.Tokenizer.VocabularySize).Measured;

    /// <summary>Gets the receiver of all progress. The default, null, prints one line for each complete run.</summary>
    public IProgress<SweepProgress>? Progress { get; init; }

    string RatesFile => Path.Combine(folder, "learning-rates.json");

    int VocabularySize => data.Tokenizer.VocabularySize;

    /// <summary>Runs experiments, one after another and seed by seed.</summary>
    /// <param name="experiments">The experiments.</param>
    /// <param name="only">The names of the designs to run. Null means all.</param>
    /// <param name="cancellation">Stops the runs.</param>
    /// <returns>True if every run is complete.</returns>
    public bool Run(IEnumerable<Experiment> experiments, IReadOnlyCollection<string>? only, CancellationToken cancellation)
    {
        Directory.CreateDirectory(folder);
        bool isComplete = true;
        foreach (var experiment in experiments)
        {
            bool isTrial = experiment.Name == Catalogue.LearningRatesName;
            foreach (var parts in experiment.Parts.Select(part => part.Only(only)).GroupBy(part => part.IsLast))
                foreach (long seed in experiment.SeedsOf(size))
                {
                    foreach (var part in parts.Where(part => part.Tokens == 1).SelectMany(ByTasks))
                    {
                        if (cancellation.IsCancellationRequested) return false;
                        isComplete &= Run(experiment, part, seed, waits: isTrial, cancellation);
                    }
                    isComplete &= RunBranches(experiment, parts.Where(part => part.Tokens > 1), seed, cancellation);
                }
            // a part of the trials selects no rates
            if (isTrial && isComplete && only is null)
                LearningRates.Write(RatesFile, LearningRates.Select(Sweep.Read(folder)));
        }
        return isComplete;
    }

    IProgress<SweepProgress> ProgressOf(Experiment experiment) => Progress ?? new Lines(experiment.Name);

    // neighbouring designs that all experiments together measure in the same way
    IEnumerable<ExperimentPart> ByTasks(ExperimentPart part)
    {
        for (int first = 0, next; first < part.Designs.Count; first = next)
        {
            var tasks = measured[part.NameOf(part.Designs[first])];
            for (next = first + 1; next < part.Designs.Count && measured[part.NameOf(part.Designs[next])] == tasks; next++) { }
            yield return part with
            {
                Designs = [.. part.Designs.Take(first..next)], Rates = part.Rates is { } rates ? [.. rates.Take(first..next)] : null,
                Measured = tasks,
            };
        }
    }

    bool Run(Experiment experiment, ExperimentPart part, long seed, bool waits, CancellationToken cancellation)
    {
        var sweep = new Sweep(Options(part, seed));
        sweep.Run(ProgressOf(experiment), cancellation);
        // the rates of all other runs depend on the last trial, which another process may still train
        while (waits && !sweep.IsComplete && !cancellation.WaitHandle.WaitOne(BetweenLooks)) sweep.Run(ProgressOf(experiment), cancellation);
        return sweep.IsComplete;
    }

    // design by design: all lengths of one design share the steps before their cool-down
    bool RunBranches(Experiment experiment, IEnumerable<ExperimentPart> parts, long seed, CancellationToken cancellation)
    {
        bool isComplete = true;
        foreach (var design in parts.SelectMany(part => part.Designs.Select(design => (part, design))).GroupBy(item => item.design.Name))
        {
            if (cancellation.IsCancellationRequested) return false;
            Sweep[] lengths = [.. design.OrderBy(item => item.part.Tokens).Select(item =>
                new Sweep(Options(item.part.Only([item.part.NameOf(item.design)]), seed)))];
            isComplete &= Sweep.RunBranches(lengths, ProgressOf(experiment), cancellation);
        }
        return isComplete;
    }

    SweepOptions Options(ExperimentPart part, long seed) => new()
    {
        Folder = folder, Seeds = [seed], Device = device, KeepModels = false,
        ComputeType = device.type == TorchSharp.DeviceType.CUDA ? ScalarType.BFloat16 : ScalarType.Float32,
        Designs = [.. part.Designs.Select((design, index) =>
            new SweepDesign(part.NameOf(design), design.Design, RateOf(part, index), part.IsRecall ? null : design.Family))],
        Data = part.IsRecall ? size.Recall.TaskAt(VocabularySize).ToTrainingData() : data.Training, HeldOut = part.IsRecall ? null : data.HeldOut,
        Training = part.IsRecall ? RecallTrial.Training(size.Recall, size.LearningRates[0]) : Training(part), Tasks = [.. Tasks(part)],
    };

    double RateOf(ExperimentPart part, int index)
    {
        if (part.Rates is { } own) return own[index];
        var rates = part.IsRecall ? new LearningRates(size.Recall.Rates, size.Width) : LearningRates.Read(RatesFile, size.Width)
            ?? throw new InvalidDataException($"{RatesFile} does not exist; run {Catalogue.LearningRatesName} first.");
        return part.Rate * rates.For(part.Designs[index]);
    }

    TrainingOptions Training(ExperimentPart part) =>
        StudyTraining.Options(size.LearningRates[0], (int)(part.Context * size.ContextLength), size.TokensPerStep, size.Steps, part.Tokens) with
        {
            // the constants of the first of these runs
            Optimizer = part.IsMuon ? new MuonOptions { EqualNorms = false, PerHead = false } : new AdamWOptions(),
            EvaluationTokens = Math.Min(size.HeldOutTokens, data.HeldOut.Count - 1),
        };

    IEnumerable<EvaluationTask> Tasks(ExperimentPart part)
    {
        int context = size.ContextLength;
        if (part.Measured.HasFlag(PartTasks.Positions))
            yield return new PositionLossTask(data.HeldOut, 2 * context, buckets: 16, maxWindows: Math.Max(1, size.HeldOutTokens / context / 4),
                trainingLength: (int)(part.Context * context));
        if (part.Measured.HasFlag(PartTasks.Needle))
            yield return new LongContextEvaluation(new Needle(data.Haystack), data.Tokenizer, new LongContextOptions
            {
                Lengths = size.NeedleLengths, Depths = [0, 0.25, 0.5, 0.75, 1], Trials = size.NeedleTrials,
                TrainingLength = context,
            });
        if (part.Measured.HasFlag(PartTasks.Cost))
            yield return new InferenceCostTask(new()
            {
                PromptLength = context / 2, TotalLengths = [2 * context], TimedSteps = Math.Min(256, context), Repetitions = 3,
            });
        if (part.Measured.HasFlag(PartTasks.Recall))
            foreach (double ratio in (double[])[1, 1.5, 2])
                yield return size.Recall.TaskAt(VocabularySize, ratio).ToEvaluationTask(size.Recall.TestRows);
    }

    sealed class Lines(string experiment) : IProgress<SweepProgress>
    {
        public void Report(SweepProgress value)
        {
            if (value.Phase == "done") Console.WriteLine($"{experiment}: {value}");
        }
    }
}
