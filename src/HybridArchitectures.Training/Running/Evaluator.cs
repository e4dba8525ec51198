using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>Measures models on held-out data. The predicted tokens depend on the data and their number alone, and are the same for every model and contextLength length.</summary>
public static class Evaluator
{
    /// <summary>
    /// Predicts tokens of the data, each once, from those before it in its window. The first token of the data has none before it and is not predicted.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="data">The held-out data.</param>
    /// <param name="contextLength">Tokens per window. Each predicted token sees those before it in its window: between 1 and <paramref name="contextLength"/>.</param>
    /// <param name="rows">Windows per forward pass. The default is 8.</param>
    /// <param name="tokens">
    /// How many tokens to predict, in at most 32 stretches of at least 2,048 tokens that are spread evenly over the data. The default, 0, predicts all.
    /// The same tokens are predicted at every contextLength length. A contextLength longer than a stretch costs more, since its windows also hold tokens that are not
    /// counted.
    /// </param>
    /// <param name="separateDocuments">Keep documents apart, as the model was trained. The first token of each document is then not predicted.</param>
    /// <param name="cancellation">Stops the measurement.</param>
    /// <returns>The sum of the losses and, with at least two blocks of tokens, the standard error of their mean.</returns>
    public static Evaluation Evaluate(
        HybridLanguageModel model, TokenDataset data, int contextLength, int rows = 8, long tokens = 0, bool separateDocuments = false, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(data);
        Refuse.Unless(contextLength > 0, contextLength, nameof(contextLength), "at least 1 token");
        Refuse.Unless(rows > 0, rows, nameof(rows), "at least 1 row");
        Refuse.Unless(tokens >= 0, tokens, nameof(tokens), "at least 0 tokens");
        if (data.Count < 2) throw new ArgumentException($"the data has {data.Count} token; expected at least 2", nameof(data));
        if (data.VocabularySize > model.VocabularySize)
            throw new ArgumentException($"the data has a vocabulary of {data.VocabularySize}; the model's has {model.VocabularySize}", nameof(data));
        var sum = new Sum(model, data, new EvaluationStretches(data.Count, tokens), separateDocuments, cancellation);
        sum.AddAll(contextLength, rows);
        return sum.Result;
    }

    sealed class Sum(HybridLanguageModel model, TokenDataset data, EvaluationStretches stretches, bool separateDocuments, CancellationToken cancellation)
    {
        readonly double[] blockNats = new double[stretches.Blocks];
        readonly int[] blockTokens = new int[stretches.Blocks];
        long bytes;

        public Evaluation Result
        {
            get
            {
                long tokens = blockTokens.Sum(count => (long)count);
                if (tokens == 0) throw new ArgumentException("no target counts: every document has one token", nameof(data));
                double nats = blockNats.Sum();
                return new Evaluation(nats, tokens, bytes) { StandardError = StandardError(nats / tokens, tokens) };
            }
        }

        // Of a ratio of sums over blocks (Cochran, "Sampling Techniques", 3rd edition, 1977, equation 6.13).
        double? StandardError(double mean, long tokens)
        {
            int blocks = blockTokens.Count(count => count > 0);
            if (blocks < 2) return null;
            double squares = 0;
            for (int i = 0; i < blockNats.Length; i++)
            {
                double difference = blockNats[i] - mean * blockTokens[i];
                squares += difference * difference;
            }
            return Math.Sqrt(squares * blocks / (blocks - 1)) / tokens;
        }

        // Windows of one length share a pass. Shorter ones wait for others like them.
        public void AddAll(int contextLength, int rows)
        {
            var waiting = new Dictionary<int, List<long>>();
            foreach (var (start, length) in stretches.Windows(contextLength))
            {
                if (!waiting.TryGetValue(length, out var starts)) waiting.Add(length, starts = []);
                starts.Add(start);
                if (starts.Count < rows) continue;
                Add(starts, length);
                starts.Clear();
            }
            foreach (var (length, starts) in waiting)
                if (starts.Count > 0) Add(starts, length);
        }

        void Add(List<long> starts, int length)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var rows = starts.ConvertAll(start => (data, start));
            using var batch = WindowSampler.Read(default, rows, length, separateDocuments, model.Device, position => stretches.IndexOf(position) >= 0);
            if (batch.Counted == 0) return;
            using var sequence = new SequenceContext(batch.Layout);
            var losses = model.TokenLosses(batch.Ids, batch.Targets, sequence).to(ScalarType.Float32).cpu().contiguous();
            var targets = batch.Targets.cpu();
            var lossSpan = TensorMemory.Span<float>(losses);
            var targetSpan = TensorMemory.Span<long>(targets);
            for (int row = 0; row < starts.Count; row++)
                AddRow(starts[row], lossSpan.Slice(row * length, length), targetSpan.Slice(row * length, length));
            GC.KeepAlive(losses);
            GC.KeepAlive(targets);
            bytes += batch.Bytes;
        }

        void AddRow(long start, ReadOnlySpan<float> losses, ReadOnlySpan<long> targets)
        {
            for (int i = 0; i < losses.Length; i++)
            {
                if (targets[i] < 0) continue;
                long block = stretches.IndexOf(start + i) / stretches.BlockTokens;
                blockNats[block] += losses[i];
                blockTokens[block]++;
            }
        }
    }
}
