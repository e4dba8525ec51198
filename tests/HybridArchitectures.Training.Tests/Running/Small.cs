using HybridArchitectures.Design;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Tests.Running;

/// <summary>Creates a small hybrid, a text that can be learnt, and training options.</summary>
static class Small
{
    public const int VocabularySize = 20;

    public static HybridDesign Design(bool experts = false) => new HybridDesign
    {
        Width = 16, VocabularySize = VocabularySize,
        Blocks =
        [
            new BlockSpec { Mixer = new Mamba2Spec { Heads = 4, HeadSize = 8, StateSize = 4, ChunkSize = 8 },
                FeedForward = FeedForwardSpec.SwiGlu(24) },
            new BlockSpec { Mixer = new AttentionSpec { Heads = 2, KeyValueHeads = 1, HeadSize = 8, Rotary = new RotarySpec() },
                FeedForward = experts ? FeedForwardSpec.MixtureOfExperts(3, 1, 12) : FeedForwardSpec.SwiGlu(24) },
        ],
    }.Resolve();

    public static HybridLanguageModel Model(long seed = 1, bool experts = false, ScalarType compute = ScalarType.Float32, Device? device = null) =>
        Design(experts).CreateModel(compute, device, seed);

    /// <summary>Tokens that follow from the one before, mostly.</summary>
    public static TokenDataset Data(int count = 2000, int seed = 1, long[]? starts = null)
    {
        var random = new Random(seed);
        var tokens = new int[count];
        for (int i = 1; i < count; i++) tokens[i] = random.Next(4) == 0 ? random.Next(VocabularySize) : (tokens[i - 1] * 3 + 1) % VocabularySize;
        return TokenDataset.FromTokens(tokens, VocabularySize, starts, _ => 1);
    }

    public static TrainingOptions Options =>
        new() { LearningRate = 0.01, ContextLength = 12, BatchSize = 4, Duration = Duration.Steps(12), Seed = 5, ReportEvery = 3 };

    public static Dictionary<string, byte[]> Bytes(HybridLanguageModel model)
    {
        // the scope keeps each temporary alive until its bytes are copied
        using var scope = NewDisposeScope();
        return model.State.ToDictionary(item => item.Key, item => item.Value.detach().cpu().contiguous().bytes.ToArray());
    }

    public static void AssertBitEqual(HybridLanguageModel expected, HybridLanguageModel actual)
    {
        var (a, b) = (Bytes(expected), Bytes(actual));
        Assert.Equal(a.Keys.Order(), b.Keys.Order());
        foreach (var (name, bytes) in a) Assert.True(bytes.AsSpan().SequenceEqual(b[name]), $"'{name}' differs");
    }
}
