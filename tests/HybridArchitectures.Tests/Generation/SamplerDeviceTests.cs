using HybridArchitectures.Generation;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

/// <summary>Tests that every filter keeps the same tokens on a GPU as on the CPU, also where scores tie and sums come close to the limit.</summary>
[Trait("device", "cuda")]
public class SamplerDeviceTests
{
    const int Rows = 16, VocabularySize = 32_003;

    public static TheoryData<string> Names => [.. Filters.Keys];

    static readonly Dictionary<string, Func<LogitsProcessor>> Filters = new()
    {
        ["top-p 0.2"] = () => new TopP(0.2), ["top-p 0.5"] = () => new TopP(0.5), ["top-p 0.9"] = () => new TopP(0.9),
            ["top-p 0.99"] = () => new TopP(0.99),
        ["top-k 1"] = () => new TopK(1), ["top-k 50"] = () => new TopK(50), ["min-p 0.1"] = () => new MinP(0.1), ["min-p 1"] = () => new MinP(1),
        ["typical 0.2"] = () => new TypicalP(0.2), ["typical 0.95"] = () => new TypicalP(0.95), ["epsilon"] = () => new EpsilonCutoff(3e-4),
    };

    [Theory, MemberData(nameof(Names))]
    public void The_kept_tokens_are_those_of_the_CPU(string name)
    {
        Assert.SkipUnless(cuda.is_available(), "no CUDA device: the filters were not run on a GPU");
        using var scope = NewDisposeScope();
        using var generator = new Generator(11, CPU);
        IReadOnlyList<int>[] history = [.. Enumerable.Repeat(Array.Empty<int>(), Rows)];
        foreach (double width in new[] { 0.5, 3, 12 })
        {
            // scores of the second kind tie often
            var scores = randn([Rows, VocabularySize], generator: generator) * width;
            foreach (var given in new[] { scores, scores.round(), (scores * 8).round() / 8, zeros_like(scores) })
            {
                var (expected, actual) = (Filters[name]().Apply(given, history), Filters[name]().Apply(given.cuda(), history).cpu());
                Assert.Equal(0, expected.isinf().ne(actual.isinf()).sum().item<long>());
                Assert.True(expected.eq(actual).all().item<bool>());
            }
        }
    }
}
