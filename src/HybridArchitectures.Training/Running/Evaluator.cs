using HybridArchitectures.Kernels.Runtime;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Distributed;
using static TorchSharp.torch;

namespace HybridArchitectures.Training.Running;

/// <summary>
/// Measures models on held-out data. The predicted tokens depend only on the data and their number. They are the same for every model and every
/// context length.
/// </summary>
/// <example>
/// <code>
/// using var heldOut = TokenDataset.FromTokens(Enumerable.Range(0, 6000).Select(i => i * i % 251).ToArray(), 256);
/// using var model = HybridDesign.Create(width: 32, vocabularySize: 256).WithMamba2(stateSize: 8, headSize: 8)
///     .WithFeedForward(FeedForwardSpec.SwiGlu(64)).Depth(2).Build().CreateModel(seed: 0);
/// Evaluation measured = Evaluator.Evaluate(model, heldOut, contextLength: 128, tokens: 4096);
/// Console.WriteLine($"{measured.Loss:0.000} nats per token, standard error {measured.StandardError:0.000}");
/// </code>
/// </example>
public static class Evaluator
{
    /// <summary>
    /// Predicts tokens of the data, each once, from the tokens before it in its window. The first token of the data has none before it and is not
    /// predicted.
    /// </summary>
    /// <param name="model">The model.</param>
    /// <param name="data">The held-out data.</param>
    /// <param name="contextLength">
    /// The number of tokens per window. Each predicted token sees between 1 and <paramref name="contextLength"/> tokens.
    /// </param>
    /// <param name="rows">The number of windows per forward pass. The default is 8.</param>
    /// <param name="tokens">The number of tokens to predict, in at most 32 stretches of at least 2,048 tokens that are evenly spread over the data.
    /// The default, 0, predicts all. The same tokens are predicted at every context length. A context length above that of a stretch costs more,
    /// because its windows also contain tokens that do not count.</param>
    /// <param name="separateDocuments">
    /// Whether documents are kept apart, as in training. The first token of each document is then not predicted. The default is false.
    /// </param>
    /// <param name="cancellation">Stops the measurement.</param>
    /// <returns>The sum of the losses and, with at least two blocks of tokens, the standard error of their mean.</returns>
    public static Evaluation Evaluate(
        HybridLanguageModel model, TokenDataset data, int contextLength, int rows = 8, long tokens = 0, bool separateDocuments = false,
        CancellationToken cancellation = default) =>
        Evaluate(model, data, contextLength, rows, tokens, separateDocuments, new RankGroup(null), null, cancellation);

    /// <summary>Measures on all ranks together: each predicts the tokens of a part of the windows.</summary>
    internal static Evaluation Evaluate(HybridLanguageModel model, TokenDataset data, int contextLength, int rows, long tokens,
        bool separateDocuments, RankGroup ranks, StepExchange? exchange, CancellationToken cancellation,
        Func<SequenceContext, Tensor, Func<Tensor, Tensor>, Tensor>? aroundMixer = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(data);
        Require.InRange(contextLength > 0, nameof(contextLength), contextLength, "at least 1 token");
        Require.InRange(rows > 0, nameof(rows), rows, "at least 1 row");
        Require.InRange(tokens >= 0, nameof(tokens), tokens, "at least 0 tokens");
        if (data.Count < 2) throw Require.Unfit(nameof(data), $"the data has {data.Count} token", "at least 2");
        if (data.VocabularySize > model.VocabularySize)
            throw Require.Unfit(nameof(data), $"data has a vocabulary size of {data.VocabularySize}", $"{model.VocabularySize}, that of the model");
        var sum = new Sum(model, data, new EvaluationStretches(data.Count, tokens), separateDocuments, ranks, exchange, aroundMixer, cancellation);
        sum.AddAll(contextLength, rows);
        sum.AddOtherRanks();
        return sum.Result;
    }

    sealed class Sum(HybridLanguageModel model, TokenDataset data, EvaluationStretches stretches, bool separateDocuments,
        RankGroup ranks, StepExchange? exchange, Func<SequenceContext, Tensor, Func<Tensor, Tensor>, Tensor>? aroundMixer,
        CancellationToken cancellation)
    {
        readonly double[] blockNats = new double[stretches.Blocks];
        readonly int[] blockTokens = new int[stretches.Blocks];
        long bytes, passes;

        public Evaluation Result
        {
            get
            {
                long tokens = blockTokens.Sum(count => (long)count);
                if (tokens == 0) throw Require.Unfit(nameof(data), "data has no target that counts, because every document has one token",
                    "documents of at least 2 tokens");
                double nats = blockNats.Sum();
                return new Evaluation(nats, tokens, bytes) { StandardError = StandardError(nats / tokens, tokens) };
            }
        }

        // the standard error of a ratio of sums over blocks (Cochran, "Sampling Techniques", 3rd edition, 1977, equation 6.13)
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

        // windows of one length share a pass; shorter windows wait for others of the same length
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
            // every rank makes the passes of the one with the most
            if (passes % ranks.Size != 0 && passes % ranks.Size <= ranks.Rank) exchange?.IdlePass(hasBackward: false, isLast: true);
            exchange?.EndEvaluation();
        }

        public void AddOtherRanks()
        {
            if (ranks.IsAlone) return;
            double[] sums = [.. blockNats, .. blockTokens.Select(count => (double)count), bytes];
            ranks.Sum(sums);
            for (int i = 0; i < blockNats.Length; i++) (blockNats[i], blockTokens[i]) = (sums[i], (int)sums[blockNats.Length + i]);
            bytes = (long)sums[^1];
        }

        void Add(List<long> starts, int length)
        {
            if (passes++ % ranks.Size != ranks.Rank) return;
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            var rows = starts.ConvertAll(start => (data, start));
            using var batch = WindowSampler.Read(
                default, rows, length, separateDocuments, model.Device, position => stretches.IndexOf(position) >= 0);
            if (batch.Counted == 0)
            {
                exchange?.IdlePass(hasBackward: false, isLast: true);
                return;
            }
            using var sequence = new SequenceContext(batch.Layout) { AroundMixer = aroundMixer };
            exchange?.BeginPass(isLast: true);
            var losses = model.TokenLosses(batch.Ids, batch.Targets, sequence).to(ScalarType.Float32).cpu().contiguous();
            exchange?.EndPass();
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
