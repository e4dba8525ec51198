using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>
/// Creates prompts of passkey retrieval (arXiv 2305.16300, appendix): a pass key of five digits is hidden among filler sentences, at a given depth.
/// The answer is correct if the pass key occurs in the 10 tokens that the model generates.
/// </summary>
public sealed class Passkey : LongContextTask
{
    const string Filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";

    /// <inheritdoc/>
    public override string Name => "passkey";

    /// <inheritdoc/>
    public override string Source => "arXiv 2305.16300";

    /// <inheritdoc/>
    public override int MaxNewTokens => 10;

    /// <inheritdoc/>
    public override bool HasDepth => true;

    /// <inheritdoc/>
    public override LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random)
    {
        ArgumentNullException.ThrowIfNull(count);
        ArgumentNullException.ThrowIfNull(random);
        Require.InRange(depth is >= 0 and <= 1, nameof(depth), depth, "0 to 1");
        string key = random.Next(10_000, 100_000).ToString(System.Globalization.CultureInfo.InvariantCulture);
        string Prompt(int units)
        {
            var lines = Enumerable.Repeat(Filler, units).ToList();
            lines.Insert((int)Math.Round(depth * units), $"The pass key is {key}. Remember it. {key} is the pass key.");
            return "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz you about the important "
                + "information there.\n"
                + string.Join('\n', lines) + "\nWhat is the pass key? The pass key is";
        }
        return new LongContextSample(Prompt(MaxUnits(Prompt, count, maxTokens, Name)), [key]);
    }
}
