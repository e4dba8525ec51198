using System.Globalization;
using System.Reflection;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

public sealed partial class Trainer
{
    readonly RankGroup ranks;
    readonly StepExchange? exchange;        // null on one rank
    readonly ShardedParameters? sharded;
    IDisposable? gatheredAfterRun;

    /// <summary>
    /// Gathers the parameters of the model on every rank until the result is disposed. With <see cref="DataParallelStrategy.FullySharded"/> and
    /// <see cref="DataParallelStrategy.Hybrid"/>, callbacks need it to read the model, whose parameters otherwise read as NaN between passes. With
    /// other strategies, it does nothing.
    /// </summary>
    /// <returns>What releases the parameters again. Changes of the parameters, which must be the same on all ranks, are kept.</returns>
    /// <remarks>All ranks call this method and dispose the result. The complete model must fit the memory of every rank.</remarks>
    /// <exception cref="CollectiveException">Another rank failed, or did not answer in time.</exception>
    public IDisposable GatherParameters()
    {
        ObjectDisposedException.ThrowIf(disposed, this);
        return sharded?.Gather() ?? Scope.None;
    }

    /// <summary>Gets the number of elements of parameters that this rank keeps between passes; null if it has the complete parameters.</summary>
    internal long? OwnElements => sharded?.OwnElements;

    /// <summary>Gets the number of sums of gradients that have started during backward passes.</summary>
    internal long SumsInBackward => (exchange as GradientExchange)?.SumsInBackward ?? 0;

    sealed class Scope : IDisposable
    {
        public static readonly Scope None = new();

        public void Dispose() { }
    }

    /// <summary>Attaches the exchange to the model until disposed, and releases parameters that were gathered after an earlier run.</summary>
    void BeginExchange()
    {
        Model.Stack.Hooks = exchange;
        gatheredAfterRun?.Dispose();
        gatheredAfterRun = null;
    }

    /// <summary>Makes the complete model usable on every rank, if that is wanted.</summary>
    void GatherAfterRun()
    {
        if (sharded is not null && ranks.GathersAfterRun) gatheredAfterRun ??= sharded.Gather();
    }

    /// <summary>Gets the rows of a step that this rank reads.</summary>
    (int First, int Count) OwnRows => ranks.RowsOf(Options.BatchSize);

    // the sum of the weights of the targets of a step, unless documents, padding or weights reduce it
    double ExpectedWeight => (double)Options.BatchSize * Options.ContextLength;

    /// <summary>Adds the results of all ranks to those of this one, and returns the loss of the step.</summary>
    Tensor CombineRanks(Tensor loss, List<TokenBatch> batches) => exchange is null ? loss
        : exchange.Sum(loss, batches.Sum(batch => batch.WeightSum), ExpectedWeight, reader.FillsRows);

    void AfterStep(bool skipped)
    {
        exchange?.SumLoads();
        if (skipped) DropLoads();
        else optimizer.Own.ClearIfFailed(Loads);
        Model.AfterStep();
    }

    // the loads of experts, with which a step that changes no parameter changes no selection bias
    IEnumerable<Tensor> Loads => new[] { Model.Stack, objective?.TrainedHead?.Stack }.SelectMany(stack => stack?.Blocks ?? [])
        .Select(block => block.FeedForward).OfType<MixtureOfExperts>().Select(experts => experts.get_buffer("load")).OfType<Tensor>();

    void DropLoads()
    {
        using var noGrad = no_grad();
        foreach (var load in Loads) load.zero_();
    }

    void RequireSameRun(bool resumed)
    {
        if (ranks.IsAlone) return;
        string version = typeof(Trainer).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";
        List<(string, string)> facts =
        [
            ("the version of HybridArchitectures", version), ("the library of the ranks", ranks.Collectives.Library),
            ("the version of libtorch", __version__),
            ("the strategy", ranks.Description),
            ("the start of the run", resumed ? "a checkpoint" : "a new model"), ("the design", DescribeDesign(Model)),
            ("the compute type", $"{Model.ComputeType}"), ("the training data", training.Description),
            ("the held-out data", heldOut?.Description ?? "none"), ("the objective", objective?.Description ?? "none"),
        ];
        foreach (var property in typeof(TrainingOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance))
            if (property.Name != nameof(TrainingOptions.Folder))
                facts.Add((property.Name, Convert.ToString(property.GetValue(Options), CultureInfo.InvariantCulture) ?? "null"));
        facts.Add(("Folder", Options.Folder is null ? "null" : "set"));
        facts.Add(("the list of parameters",
            string.Join('\n', Model.Parameters.Select(item => $"{item.Name} ({string.Join(", ", item.Value.shape)}) {item.Value.dtype}"))));
        ranks.RequireSame(facts);
    }

    static string DescribeDesign(HybridLanguageModel model)
    {
        try
        {
            return model.Design.ToJson();
        }
        catch (NotSupportedException)
        {
            return model.Design.ToString();     // a custom mixer without a name in JSON
        }
    }

    // all ranks write a checkpoint together
    void RequireCommonFolder(RunFolder run)
    {
        string path = ranks.TextFrom(0, run.Path);
        ranks.Settle(Directory.Exists(path) ? null : new IOException(NotCommon(path)));
        if (!Directory.Exists(path)) throw new IOException(NotCommon(path));
    }

    string NotCommon(string path) =>
        Require.Message($"{nameof(TrainingOptions.Folder)} is '{path}', which rank {ranks.Rank} does not see", "a file system that all ranks share");

    void RequireRows()
    {
        if (Options.BatchSize < ranks.Size)
            throw Require.OutOfRange(nameof(Options.BatchSize), Options.BatchSize, $"at least {ranks.Size}, one row per rank");
        if (Model.Device.ToString() != ranks.Collectives.Device.ToString() && !ranks.IsAlone)
            throw Require.Unfit("model", $"the model is on {Model.Device}", $"{ranks.Collectives.Device}, the device of the collectives");
    }

    /// <summary>Cancels the run on all ranks if it is cancelled on one.</summary>
    void AgreeOnCancellation(CancellationTokenSource agreed, CancellationToken own)
    {
        // on GPUs without MPI, the question waits for the device
        if (!ranks.Collectives.IsFastOnHost && Step % Options.ReportEvery != 0) return;
        if (ranks.Any(own.IsCancellationRequested)) agreed.Cancel();
    }
}
