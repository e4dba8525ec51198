using System.Globalization;
using HybridArchitectures.Training.Data;

namespace HybridArchitectures.Evaluation.LongContext;

/// <summary>
/// Creates prompts of the RULER tasks (arXiv 2404.06654) that need no text: needles among repeated sentences (<c>niah_single_1</c>), among other
/// needles (<c>niah_multikey_2</c>, <c>niah_multikey_3</c>), variable tracking (<c>vt</c>) and frequent words (<c>fwe</c>). Prompts and scores are
/// those of RULER. Words and random numbers are not.
/// </summary>
public sealed class RulerTask : LongContextTask
{
    const string Filler = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again.";
    const int CodedWords = 2000;

    readonly RulerKind kind;

    /// <summary>Creates a task.</summary>
    /// <param name="kind">The kind of task.</param>
    public RulerTask(RulerKind kind)
    {
        Require.InRange(Enum.IsDefined(kind), nameof(kind), kind, $"one of {string.Join(", ", Enum.GetNames<RulerKind>())}");
        this.kind = kind;
    }

    /// <summary>Gets all five tasks.</summary>
    public static IReadOnlyList<RulerTask> All { get; } = [.. Enum.GetValues<RulerKind>().Select(kind => new RulerTask(kind))];

    /// <inheritdoc/>
    public override string Name => kind switch
    {
        RulerKind.SingleRepeat => "ruler niah_single_1",
        RulerKind.MultiKeyWords => "ruler niah_multikey_2",
        RulerKind.MultiKeyIdentifiers => "ruler niah_multikey_3",
        RulerKind.VariableTracking => "ruler vt",
        _ => "ruler fwe",
    };

    /// <inheritdoc/>
    public override string Source => "arXiv 2404.06654";

    /// <inheritdoc/>
    public override int MaxNewTokens => kind switch
    {
        RulerKind.VariableTracking => 30,
        RulerKind.FrequentWords => 50,
        _ => 128,
    };

    /// <inheritdoc/>
    public override bool HasDepth => kind == RulerKind.SingleRepeat;

    /// <inheritdoc/>
    public override LongContextSample Create(Func<string, int> count, int maxTokens, double depth, SeededRandom random)
    {
        ArgumentNullException.ThrowIfNull(count);
        ArgumentNullException.ThrowIfNull(random);
        Require.InRange(depth is >= 0 and <= 1, nameof(depth), depth, "0 to 1");
        long seed = (long)random.NextBits();
        LongContextSample Sample(int units) => kind switch
        {
            RulerKind.SingleRepeat => Single(units, depth, new SeededRandom(seed)),
            RulerKind.MultiKeyWords => MultiKey(units, new SeededRandom(seed), "number", Word, Number),
            RulerKind.MultiKeyIdentifiers => MultiKey(units, new SeededRandom(seed), "uuid", Identifier, Identifier),
            RulerKind.VariableTracking => Variables(units, new SeededRandom(seed)),
            _ => FrequentWords(units, new SeededRandom(seed)),
        };
        return Sample(MaxUnits(units => Sample(units).Prompt, count, maxTokens, Name));
    }

    static LongContextSample Single(int units, double depth, SeededRandom random)
    {
        string key = Word(random), number = Number(random);
        var lines = Enumerable.Repeat(Filler, units).ToList();
        lines.Insert((int)Math.Round(depth * units), Hidden("number", key, number));
        return Question("number", key, number, string.Join('\n', lines));
    }

    static LongContextSample MultiKey(int units, SeededRandom random, string kind, Func<SeededRandom, string> newKey, Func<SeededRandom,
        string> newValue)
    {
        var pairs = new Dictionary<string, string>();
        while (pairs.Count < units + 1) pairs.TryAdd(newKey(random), newValue(random));
        var keys = pairs.Keys.ToArray();
        string asked = keys[random.Next(keys.Length)];
        return Question(kind, asked, pairs[asked], string.Join('\n', keys.Select(key => Hidden(kind, key, pairs[key]))));
    }

    static string Hidden(string kind, string key, string value) => $"One of the special magic {kind}s for {key} is: {value}.";

    static LongContextSample Question(string kind, string key, string value, string context) => new(
        $"A special magic {kind} is hidden within the following text. Make sure to memorize it. I will quiz you about the {kind} "
            + $"afterwards.\n{context}\n"
        + $"What is the special magic {kind} for {key} mentioned in the provided text? The special magic {kind} for {key} mentioned in the provided "
            + $"text is", [value]);

    // one solved example of a short text comes first, as in RULER
    static LongContextSample Variables(int units, SeededRandom random)
    {
        var example = Chain(5, random);
        var asked = Chain(units, random);
        return new($"{example.Prompt} {string.Join(' ', example.Answers)}\n\n{asked.Prompt}", asked.Answers);
    }

    static LongContextSample Chain(int units, SeededRandom random)
    {
        const int hops = 4;
        var names = new HashSet<string>();
        while (names.Count < hops + 1) names.Add(Letters(random, 5, 'A'));
        string[] variables = [.. names];
        string value = random.Next(10_000, 100_000).ToString(CultureInfo.InvariantCulture);
        var lines = Enumerable.Repeat(Filler, units).ToList();
        // in order, at random positions
        int[] positions = [.. Enumerable.Range(0, hops + 1).Select(_ => random.Next(units + 1)).Order()];
        for (int i = hops; i >= 0; i--)
            lines.Insert(positions[i], i == 0 ? $"VAR {variables[0]} = {value}" : $"VAR {variables[i]} = VAR {variables[i - 1]}");
        return new($"Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{string.Join('\n', lines)}\n"
            + $"Question: Find all variables that are assigned the value {value} in the text above. "
            + $"Answer: According to the chain(s) of variable assignment in the text above, {variables.Length} variables are assigned the value "
                + $"{value}, they are:", variables);
    }

    // word k of a random vocabulary comes in proportion to k^-2 (alpha 2); the first is noise, written as dots
    static LongContextSample FrequentWords(int units, SeededRandom random)
    {
        var names = new HashSet<string>();
        while (names.Count < CodedWords) names.Add(Letters(random, 6, 'a'));
        string[] vocabulary = ["....", .. names.Skip(1)];
        double zeta = Math.PI * Math.PI / 6;
        int total = 10 * (units + 1);       // words of a text, by their shares of the zeta distribution
        var words = new List<string>();
        for (int k = 1; k <= vocabulary.Length; k++)
        {
            int times = (int)(total / (zeta * k * k));
            if (times == 0 && k > 4) break;
            words.AddRange(Enumerable.Repeat(vocabulary[k - 1], Math.Max(times, k <= 4 ? 5 - k : 0)));
        }
        random.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(words));
        return new("Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words. "
            + string.Join(' ', words) + "\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most "
                + "frequently appeared words in the "
            + "above coded text? Answer: According to the coded text above, the three most frequently appeared words are:", vocabulary[1..4]);
    }

    static string Number(SeededRandom random) => random.Next(1_000_000, 10_000_000).ToString(CultureInfo.InvariantCulture);

    // two made-up words of two syllables, as RULER's adjective and noun
    static string Word(SeededRandom random)
    {
        const string consonants = "bdfgklmnprstvz", vowels = "aeiou";
        string Half() => string.Concat(Enumerable.Range(0, 2).Select(_ =>
            $"{consonants[random.Next(consonants.Length)]}{vowels[random.Next(vowels.Length)]}"))
            + consonants[random.Next(consonants.Length)];
        return $"{Half()}-{Half()}";
    }

    static string Identifier(SeededRandom random)
    {
        var bytes = new byte[16];
        BitConverter.TryWriteBytes(bytes.AsSpan(0, 8), random.NextBits());
        BitConverter.TryWriteBytes(bytes.AsSpan(8, 8), random.NextBits());
        return new Guid(bytes).ToString("D");
    }

    static string Letters(SeededRandom random, int count, char first) =>
        string.Concat(Enumerable.Range(0, count).Select(_ => (char)(first + random.Next(26))));
}
