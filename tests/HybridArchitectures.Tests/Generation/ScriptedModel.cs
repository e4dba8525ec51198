using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Modules;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Tests.Generation;

/// <summary>
/// Represents a model that knows rows by heart. The first token selects the row, and after token p the model wants token p + 1. It accepts exactly
/// those tokens in that order without padding, so that a mistake in the feeding of a batch fails the test. Zeros follow the end of a row.
/// </summary>
sealed class ScriptedModel(int vocabulary, IReadOnlyDictionary<int, int[]> rows) : LanguageModel(nameof(ScriptedModel))
{
    public List<(long Batch, long Length)> Passes { get; } = [];

    public Action? BeforePass { get; set; }

    public List<bool> WasTraining { get; } = [];

    public override int VocabularySize => vocabulary;

    public override Device Device => CPU;

    public override ScalarType ComputeType => ScalarType.Float32;

    public override HybridCache CreateCache(int batch) =>
        new([new FirstTokens(full([batch], -1L, ScalarType.Int64).DetachFromDisposeScope())], new long[batch]);

    public override Tensor Forward(Tensor ids, SequenceContext? context = null)
    {
        BeforePass?.Invoke();
        Passes.Add((ids.size(0), ids.size(1)));
        WasTraining.Add(training);
        int batch = (int)ids.size(0), length = (int)ids.size(1);
        context!.Begin(batch, length, CPU);
        var first = TensorMemory.Span<long>(context.Cache!.States[0]!.Tensors[0]);
        var logits = zeros(batch, length, vocabulary);
        var values = TensorMemory.Span<float>(logits);
        var given = TensorMemory.Span<long>(ids);
        for (int row = 0; row < batch; row++)
        {
            for (int column = 0; column < context.RowLength(row); column++)
            {
                long position = context.PastLengths[row] + column, id = given[row * length + column];
                if (position == 0) first[row] = id;
                var script = rows[(int)first[row]];
                long expected = position < script.Length ? script[position] : 0;
                if (id != expected) throw new InvalidOperationException($"row of {first[row]}: token {position} is {id}; expected {expected}");
                long next = position + 1 < script.Length ? script[position + 1] : 0;
                values[(row * length + column) * vocabulary + (int)next] = 10;
            }
        }
        context.Cache.Advance(context);
        return logits;
    }

    sealed class FirstTokens(Tensor first) : MixerState
    {
        public override IReadOnlyList<Tensor> Tensors => [first];

        public override MixerState Select(Tensor rows) => new FirstTokens(Rows(first, rows));
    }
}
