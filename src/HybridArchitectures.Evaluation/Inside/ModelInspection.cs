using HybridArchitectures.Evaluation.Tasks;
using HybridArchitectures.Models;
using HybridArchitectures.Sequence;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Inside;

/// <summary>
/// Measures what happens inside a model while it reads texts.
/// <para>
/// 1. Attention mass: softmax(q k / sqrt(d)) of the last queries of each text, summed over the tokens of its needle. Heads with a large mass are
/// retrieval heads (arXiv 2404.15574, which counts how often the most attended token is copied; see <see cref="HeadAttention.TopShare"/>).
/// </para>
/// <para>
/// 2. Effective memory of a state-space layer at token t: the maximum k for which exp(A (dt_(t-k+1) + ... + dt_t)) is at least a threshold. This
/// product of decays is the weight of the input of token t - k in the state (the mask L of arXiv 2405.21060, section 3; the hidden attention of arXiv
/// 2403.01590). Of the elements of a Mamba-1 state, the slowest counts. For a gated delta layer, it is an upper bound, because later keys overwrite.
/// </para>
/// <para>3. Root mean squares of both branches of intra-layer hybrids, before their norms and as terms of the fusion.</para>
/// <para>4. Load of experts: the share of all choices of a layer that selected each expert.</para>
/// </summary>
/// <remarks>
/// No matrix of all queries by all keys is stored: texts are read in chunks from a cache, and only the chosen queries are scored.
/// </remarks>
public static class ModelInspection
{
    /// <summary>Measures a model.</summary>
    /// <param name="model">The model. It is not changed.</param>
    /// <param name="prompts">The texts, at least one.</param>
    /// <param name="options">The settings. The default, null, means the defaults.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <exception cref="ArgumentException">A setting or a text is invalid, or the design has no part that can be measured.</exception>
    public static InspectionResult Measure(HybridLanguageModel model, IReadOnlyList<InspectionPrompt> prompts, InspectionOptions? options = null,
        CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        Require.Items(prompts);
        options ??= new();
        options.Check();
        Require.InRange(prompts.Count > 0, $"{nameof(prompts)}.Count", prompts.Count, "at least 1 text");
        foreach (var prompt in prompts) prompt.Check(model.VocabularySize);
        using var mode = new EvaluationModeScope(model);
        var sums = new InspectionSums(options);
        foreach (var prompt in prompts)
        {
            cancellation.ThrowIfCancellationRequested();
            Read(model, prompt, options, sums, cancellation);
        }
        return sums.ToResult(prompts);
    }

    static void Read(HybridLanguageModel model, InspectionPrompt prompt, InspectionOptions options, InspectionSums sums,
        CancellationToken cancellation)
    {
        var probe = new InspectionProbe(prompt, options, model.Design);
        using var cache = model.CreateCache(1);
        for (int start = 0; start < prompt.Ids.Count;)
        {
            cancellation.ThrowIfCancellationRequested();
            int left = prompt.Ids.Count - start, length = Math.Min(left, options.ChunkLength);
            // no pass of one token, which would be a decoding step
            if (left - length == 1) length = length > 2 ? length - 1 : left;
            using var scope = NewDisposeScope();
            using var context = new SequenceContext(null, cache) { Probe = probe, KeepsRouting = true };
            probe.BeginPass();
            using var ids = tensor([.. prompt.Ids.Skip(start).Take(length).Select(id => (long)id)], [1, length], device: model.Device);
            model.Hidden(ids, context);
            foreach (var record in context.Routing) sums.AddRouting(record);
            start += length;
        }
        sums.Add(probe, prompt);
    }
}
