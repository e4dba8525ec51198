using HybridArchitectures.Models;
using static TorchSharp.torch;

namespace HybridArchitectures.Training;

/// <summary>Measures models on held-out data: windows in the order of the data, the same for every model.</summary>
public static class Evaluator
{
    /// <summary>Predicts each token of the data once from those before it in its window (the first token is predicted from nothing, and so left out).</summary>
    /// <param name="model">The model.</param>
    /// <param name="data">The held-out data.</param>
    /// <param name="context">Tokens a window.</param>
    /// <param name="rows">Windows a forward pass.</param>
    /// <param name="tokens">How many tokens to measure on at most, in whole windows spread evenly over the data; 0: all, with a shorter window at
    /// the end.</param>
    /// <param name="separateDocuments">Keep documents apart, as the model was trained.</param>
    /// <param name="cancellation">Stops the measurement.</param>
    public static Evaluation Evaluate(
        HybridLanguageModel model, TokenDataset data, int context, int rows = 8, long tokens = 0, bool separateDocuments = false, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(data);
        Refuse.Unless(context > 0, context, nameof(context), "at least 1 token");
        Refuse.Unless(rows > 0, rows, nameof(rows), "at least 1 row");
        Refuse.Unless(tokens >= 0, tokens, nameof(tokens), "at least 0 tokens");
        if (data.Count < 2) throw new ArgumentException($"the data has {data.Count} token; expected at least 2", nameof(data));
        if (data.Vocabulary > model.Vocabulary)
            throw new ArgumentException($"the data has a vocabulary of {data.Vocabulary}; the model's has {model.Vocabulary}", nameof(data));
        long windows = (data.Count - 1) / context, wanted = tokens == 0 ? windows : Math.Min(windows, Math.Max(1, tokens / context));
        var sum = new Sum(model, data, separateDocuments, cancellation);
        var starts = new List<long>(rows);
        for (long i = 0; i < wanted; i++)
        {
            // the i-th of evenly spread windows
            starts.Add((long)((Int128)i * windows / wanted) * context);
            if (starts.Count < rows && i + 1 < wanted) continue;
            sum.Add([.. starts], context);
            starts.Clear();
        }
        long rest = data.Count - 1 - windows * context;
        if (rest > 0 && (tokens == 0 || windows == 0)) sum.Add([windows * context], (int)rest);
        return sum.Result;
    }

    sealed class Sum(HybridLanguageModel model, TokenDataset data, bool separateDocuments, CancellationToken cancellation)
    {
        double nats;
        long tokens, bytes;

        public Evaluation Result
            => tokens > 0 ? new Evaluation(nats, tokens, bytes) : throw new ArgumentException("no target counts: every document has one token", nameof(data));

        public void Add(long[] starts, int context)
        {
            cancellation.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            using var off = no_grad();
            using var batch = WindowSampler.Read(default, Array.ConvertAll(starts, start => (data, start)), context, separateDocuments, model.Device);
            if (batch.Counted == 0) return;
            using var sequence = new SequenceContext(batch.Layout);
            nats += model.TokenLosses(batch.Ids, batch.Targets, sequence).sum(ScalarType.Float64).item<double>();
            tokens += batch.Counted;
            bytes += batch.Bytes;
        }
    }
}
