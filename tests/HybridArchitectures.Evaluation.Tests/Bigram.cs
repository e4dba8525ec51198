using HybridArchitectures.Design;
using HybridArchitectures.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Tests;

/// <summary>
/// Creates language models whose probabilities are set by hand. The blocks do nothing, the embedding is the identity, and the head contains a table.
/// The logits after a token are a row of the table.
/// </summary>
static class Bigram
{
    /// <summary>Creates a model.</summary>
    /// <param name="logits">The logits of each next token (second index) after each token (first index).</param>
    public static HybridLanguageModel Create(float[,] logits)
    {
        int count = logits.GetLength(0);
        var model = new HybridDesign
        {
            Width = count, VocabularySize = count, TiedHead = false, NormEpsilon = 1e-12,
            Blocks = [new BlockSpec { Mixer = new AttentionSpec { Heads = 1, HeadSize = 2, Rotary = null } }],
        }.Resolve().CreateModel(seed: 1);
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        foreach (var (name, value) in model.State)
            if (name.Contains("blocks", StringComparison.Ordinal)) value.zero_();
        model.Embedding.copy_(eye(count));
        // the norm of a unit vector has the square root of the width in its place
        model.Head.copy_(from_array(logits).t().div(Math.Sqrt(count)));
        return model;
    }

    /// <summary>Creates a table in which all is 0 but some logits.</summary>
    public static float[,] Table(int count, params (int After, int Token, double Logit)[] entries)
    {
        var table = new float[count, count];
        foreach (var (after, token, logit) in entries) table[after, token] = (float)logit;
        return table;
    }

    /// <summary>Returns ln p of a token after another one, by the definition.</summary>
    public static double LogProbability(float[,] logits, int after, int token)
    {
        double sum = 0;
        for (int i = 0; i < logits.GetLength(1); i++) sum += Math.Exp(logits[after, i]);
        return logits[after, token] - Math.Log(sum);
    }
}
