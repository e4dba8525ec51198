using System.Text.RegularExpressions;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>
/// Creates needle-in-a-haystack prompts in the form of arXiv 2510.04800 for base models. A sentence with a random number of seven digits is hidden in
/// a text between context tags. The question and the start of the sentence follow, and the model completes it. The answer is correct if the number
/// occurs in the 20 tokens that the model generates.
/// </summary>
/// <remarks>The haystack is any text. It is repeated if it is too short, and cut between sentences. The needle is inserted between two
/// sentences.</remarks>
public sealed partial class Needle : LongContextTask
{
    static readonly string[] Cities =
        ["Chicago", "Paris", "Sydney", "Tokyo", "Nairobi", "Lima", "Oslo", "Cairo", "Mumbai", "Toronto", "Lisbon", "Seoul", "Vienna", "Havana",
            "Dublin", "Jakarta"];

    readonly string[] sentences;

    /// <summary>Creates the task.</summary>
    /// <param name="haystack">The text around the needle, at least one sentence.</param>
    public Needle(string haystack)
    {
        Require.NotBlank(haystack);
        sentences = [.. Ends().Split(haystack.Trim()).Where(sentence => sentence.Length > 0)];
    }

    /// <inheritdoc/>
    public override string Name => "needle in a haystack";

    /// <inheritdoc/>
    public override string Source => "arXiv 2510.04800, prompt for base models";

    /// <inheritdoc/>
    public override int MaxNewTokens => 20;

    /// <inheritdoc/>
    public override bool HasDepth => true;

    /// <inheritdoc/>
    public override LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random)
    {
        ArgumentNullException.ThrowIfNull(count);
        ArgumentNullException.ThrowIfNull(random);
        Require.InRange(depth is >= 0 and <= 1, nameof(depth), depth, "0 to 1");
        string city = Cities[random.Next(Cities.Length)], number = random.Next(1_000_000, 10_000_000)
            .ToString(System.Globalization.CultureInfo.InvariantCulture);
        int first = random.Next(sentences.Length);
        string start = $"The special magic {city} number is:", needle = $"{start} {number}.";
        string Prompt(int units)
        {
            var parts = Enumerable.Range(first, units).Select(i => sentences[i % sentences.Length]).ToList();
            parts.Insert((int)Math.Round(depth * units), needle);
            return $"<context>\n{string.Join(' ', parts)}\n</context>\n\nWhat is the special magic {city} number?\n{start}";
        }
        return new LongContextSample(Prompt(MaxUnits(Prompt, count, maxTokens, Name)), [number]);
    }

    [GeneratedRegex(@"(?<=[.!?])\s+|\n\s*\n")]
    private static partial Regex Ends();
}
