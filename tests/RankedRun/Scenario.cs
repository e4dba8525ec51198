using HybridArchitectures.Adapters;
using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using HybridArchitectures.Training.Optimization;
using HybridArchitectures.Training.Running;

namespace RankedRun;

/// <summary>Contains a training run that is the same on any number of ranks.</summary>
/// <param name="Name">The name.</param>
/// <param name="Options">The options without a folder.</param>
/// <param name="Experts">Whether the model has a mixture of experts, whose load is balanced by a bias.</param>
/// <param name="Documents">Whether the data has documents.</param>
/// <param name="Adapters">Whether low-rank adapters are trained, with bfloat16 activations, while the other parameters are frozen.</param>
/// <param name="Shared">Whether the first block uses a shared transformer. The head is then separate.</param>
sealed record Scenario(
    string Name, TrainingOptions Options, bool Experts = false, bool Documents = false, bool Adapters = false, bool Shared = false)
{
    const int VocabularySize = 20;

    /// <summary>Gets whether everything is run, and not only what is needed every day.</summary>
    public static bool IsFull { get; } = Environment.GetEnvironmentVariable("HYBRID_TESTS") == "full";

    /// <summary>Gets the strategies by which the scenario is run.</summary>
    public IReadOnlyList<DataParallelStrategy> Strategies => IsFull || Experts ? Enum.GetValues<DataParallelStrategy>()
        : Name == "a spike" ? [DataParallelStrategy.ShardedOptimizer, DataParallelStrategy.FullySharded]
        : [Adapters ? DataParallelStrategy.Hybrid : DataParallelStrategy.Replicated];

    static TrainingOptions Plain => new()
    {
        LearningRate = 0.01, ContextLength = 12, BatchSize = 8, Duration = Duration.Steps(8), Seed = 5, ReportEvery = 1, EvaluateEvery = 4,
        EvaluationTokens = 200,
    };

    public static readonly Scenario[] All =
    [
        new("full rows", Plain, Shared: true),
        // 9 rows on 2, 4 or 8 ranks are uneven, and ranks have different numbers of targets
        new("documents, experts, Muon", Plain with
        {
            BatchSize = 9, MicroBatchSize = 2, SeparateDocuments = true, ActivationCheckpointing = true, ClipNorm = 0.5,
            Optimizer = new MuonOptions { PerHead = true },
        }, Experts: true, Documents: true),
        // so fast that the loss jumps
        new("a spike", Plain with { LearningRate = 0.2, SpikeGuard = new SpikeGuard { Window = 4, Deviations = 0.5, MaxConsecutiveSkips = 8 } }),
        // passes of one row, whose activations are rounded in the same way on any number of ranks
        new("adapters in bfloat16", Plain with { MicroBatchSize = 1 }, Adapters: true),
    ];

    public static Scenario Get(string name) => All.First(scenario => scenario.Name == name);

    public HybridLanguageModel CreateModel(long seed = 1)
    {
        var model = Design().CreateModel(Adapters ? TorchSharp.torch.ScalarType.BFloat16 : TorchSharp.torch.ScalarType.Float32, seed: seed);
        if (Adapters) LoraAdapters.Attach(model, new() { Rank = 2, Seed = 3 });
        return model;
    }

    HybridDesign Design() => new HybridDesign
    {
        Width = 16, VocabularySize = VocabularySize, TiedHead = !Shared,
        SharedTransformers = Shared ? [new() { Attention = new() { Heads = 2, HeadSize = 8 }, FeedForward = new(24) }] : [],
        Blocks =
        [
            new BlockSpec { Mixer = new Mamba2Spec { Heads = 4, HeadSize = 8, StateSize = 4, ChunkSize = 8 },
                FeedForward = FeedForwardSpec.SwiGlu(24), Shared = Shared ? new() { Transformer = 0 } : null },
            new BlockSpec { Mixer = new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 8, Rotary = new RotarySpec() },
                FeedForward = Experts ? FeedForwardSpec.MixtureOfExperts(3, 1, 12) : FeedForwardSpec.SwiGlu(24) },
        ],
    }.Resolve();

    public TokenDataset CreateData(int count = 2000, int seed = 1)
    {
        var random = new Random(seed);
        var tokens = new int[count];
        for (int i = 1; i < count; i++) tokens[i] = random.Next(4) == 0 ? random.Next(VocabularySize) : (tokens[i - 1] * 3 + 1) % VocabularySize;
        long[]? starts = Documents ? [.. Enumerable.Range(0, count / 5).Select(i => 5L * i)] : null;
        return TokenDataset.FromTokens(tokens, VocabularySize, starts, _ => 1);
    }

    /// <summary>Trains from the start, or from the latest checkpoint of the folder.</summary>
    /// <returns>What the run reported, and the bytes of all parameters and buffers.</returns>
    public (TrainingResult Result, long Skipped, byte[] Model) Run(
        DataParallel? parallel, string? folder = null, long seed = 5, params TrainingCallback[] callbacks)
    {
        using var training = CreateData();
        using var heldOut = CreateData(300, seed: 2);
        var options = Options with { Folder = folder, Seed = seed, CheckpointEvery = folder is null ? 0 : 2 };
        bool begun = folder is not null && Trainer.HasCheckpoint(folder);
        using var fresh = begun ? null : CreateModel();
        using var trainer = begun ? Trainer.Resume(folder!, training, heldOut, callbacks, parallel: parallel)
            : new Trainer(fresh!, training, options, heldOut, callbacks, parallel);
        using var resumed = begun ? trainer.Model : null;
        var result = trainer.Run();
        return (result, trainer.SkippedSteps, Bytes(trainer.Model));
    }

    /// <summary>Trains until a step, and saves there.</summary>
    public void RunUntil(long step, string folder, DataParallel? parallel = null)
    {
        using var training = CreateData();
        using var heldOut = CreateData(300, seed: 2);
        using var model = CreateModel();
        using var stop = new CancellationTokenSource();
        using var trainer = new Trainer(model, training, Options with { Folder = folder }, heldOut, [new StopAt(step, stop)], parallel);
        trainer.Run(cancellation: stop.Token);
    }

    sealed class StopAt(long at, CancellationTokenSource stop) : TrainingCallback
    {
        public override void OnStep(TrainingStep step)
        {
            if (step.Step == at) stop.Cancel();
        }
    }

    /// <summary>Returns the bytes of all parameters and buffers.</summary>
    public static byte[] Bytes(HybridLanguageModel model)
    {
        using var scope = TorchSharp.torch.NewDisposeScope();
        return [.. model.State.OrderBy(item => item.Key, StringComparer.Ordinal)
            .SelectMany(item => item.Value.detach().contiguous().bytes.ToArray())];
    }
}
