using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Kernels;
using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Likelihood;

/// <summary>Contains the predictions of a model for the targets of a batch, in row order.</summary>
/// <param name="Row">The row of each target.</param>
/// <param name="LogProbability">The natural logarithm of the target's probability.</param>
/// <param name="IsGreedy">True if the target is the most probable token. Among equally probable tokens the lowest id counts.</param>
sealed record TargetPredictions(int[] Row, float[] LogProbability, bool[] IsGreedy)
{
    // float32 logits held at once
    const long MaxLogits = 16 << 20;

    /// <summary>Computes the predictions. Only the logits at targets are computed.</summary>
    /// <param name="model">The model.</param>
    /// <param name="ids">(rows, length) int64 in main memory.</param>
    /// <param name="targets">(rows, length) int64 in main memory. -100 means no target.</param>
    /// <param name="rowLengths">The number of tokens of each row; the rest is padding. Null means that all rows are full.</param>
    public static TargetPredictions Measure(HybridLanguageModel model, Tensor ids, Tensor targets, IReadOnlyList<long>? rowLengths)
    {
        using var scope = NewDisposeScope();
        using var mode = new EvaluationModeScope(model);
        int length = (int)targets.size(1);
        var wanted = TensorMemory.ToArray<long>(targets.contiguous());
        var positions = Enumerable.Range(0, wanted.Length).Where(i => wanted[i] >= 0).Select(i => (long)i).ToArray();
        using var layout = rowLengths is null ? null : SequenceLayout.Padded(rowLengths, length, model.Device);
        using var context = new SequenceContext(layout);
        var hidden = model.Hidden(ids.to(model.Device), context).reshape(-1, model.Design.Width);
        var (logs, greedy) = (new float[positions.Length], new bool[positions.Length]);
        int step = (int)Math.Clamp(MaxLogits / model.Design.VocabularySize, 1, int.MaxValue);
        for (int start = 0; start < positions.Length; start += step)
        {
            using var inner = NewDisposeScope();
            var part = positions[start..Math.Min(positions.Length, start + step)];
            // three dimensions, so that a single row is not taken for a decoding step of another arithmetic
            var logits = model.Logits(hidden.index_select(0, tensor(part, device: model.Device)).unsqueeze(0)).squeeze(0).to(ScalarType.Float32);
            var target = tensor(part.Select(position => wanted[position]).ToArray(), device: model.Device);
            var chosen = logits.log_softmax(1).gather(1, target.unsqueeze(1)).squeeze(1);
            TensorMemory.ToArray<float>(chosen.cpu().contiguous()).CopyTo(logs, start);
            var best = TensorMemory.ToArray<long>(logits.argmax(1).cpu().contiguous());
            for (int i = 0; i < part.Length; i++) greedy[start + i] = best[i] == wanted[part[i]];
        }
        return new TargetPredictions([.. positions.Select(position => (int)(position / length))], logs, greedy);
    }
}
