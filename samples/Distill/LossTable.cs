using System.Globalization;
using System.Text;
using HybridArchitectures.Models;
using HybridArchitectures.Training.Data;
using HybridArchitectures.Training.Running;

namespace Distill;

/// <summary>Measures models on the held-out text, and prints the losses as a table.</summary>
/// <param name="heldOut">The held-out text.</param>
/// <param name="teacherTokens">The number of tokens of the teacher, of which shares are printed.</param>
sealed class LossTable(TokenDataset heldOut, long teacherTokens)
{
    readonly List<(string Name, long Tokens, Evaluation Measured)> rows = [];

    /// <summary>Measures a model. The first one is the teacher, with which the others are compared.</summary>
    /// <param name="name">The name of the model.</param>
    /// <param name="model">The model.</param>
    /// <param name="tokens">The number of tokens from which it has learned since it was created or converted.</param>
    public void Add(string name, HybridLanguageModel model, long tokens)
    {
        var measured = Evaluator.Evaluate(model, heldOut, Stages.ContextLength, rows: 16, tokens: 65_536);
        rows.Add((name, tokens, measured));
        Console.WriteLine($"{name}: {measured.Loss:0.0000} nats per byte held out, after {tokens:N0} tokens");
    }

    public override string ToString()
    {
        var text = new StringBuilder("| model | tokens | share | nats per byte | difference |\n| --- | ---: | ---: | ---: | ---: |\n");
        foreach (var (name, tokens, measured) in rows)
            text.Append(CultureInfo.InvariantCulture, $"| {name} | {tokens:N0} | {100.0 * tokens / teacherTokens:0.0} % ")
                .Append(CultureInfo.InvariantCulture, $"| {measured.Loss:0.0000} | {measured.Loss - rows[0].Measured.Loss:+0.0000;-0.0000;0} |\n");
        return text.ToString();
    }
}
