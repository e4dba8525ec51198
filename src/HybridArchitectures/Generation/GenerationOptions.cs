using System.Text;

namespace HybridArchitectures.Generation;

/// <summary>How text is generated. Every value is checked when it is set.</summary>
public sealed record GenerationOptions
{
    /// <summary>The most tokens to generate for a prompt.</summary>
    public int MaxNewTokens { get; init => field = Bounds.AtLeastOne(value, nameof(MaxNewTokens)); } = 256;

    /// <summary>What the scores are divided by before sampling; 0 takes the likeliest token each time (greedy).</summary>
    public double Temperature { get; init => field = Bounds.ZeroOrPositive(value, nameof(Temperature)); } = 1;

    /// <summary>Keep this many likeliest tokens; null for all.</summary>
    public int? TopK { get; init => field = value is { } count ? Bounds.AtLeastOne(count, nameof(TopK)) : null; }

    /// <summary>Keep the likeliest tokens that together reach this probability, in (0, 1]; null for all.</summary>
    public double? TopP { get; init => field = value is { } probability ? Bounds.Fraction(probability, nameof(TopP)) : null; }

    /// <summary>Keep tokens at least this many times as likely as the likeliest, in [0, 1]; null for all.</summary>
    public double? MinP { get; init => field = value is { } fraction ? Bounds.ZeroToOne(fraction, nameof(MinP)) : null; }

    /// <summary>Keep the tokens of the most expected surprise that together reach this probability, in (0, 1]; null for all.</summary>
    public double? TypicalP { get; init => field = value is { } mass ? Bounds.Fraction(mass, nameof(TypicalP)) : null; }

    /// <summary>Keep tokens of at least this probability, in [0, 1]; null for all.</summary>
    public double? EpsilonCutoff { get; init => field = value is { } epsilon ? Bounds.ZeroToOne(epsilon, nameof(EpsilonCutoff)) : null; }

    /// <summary>Penalty on tokens that the row, prompt included, already holds; 1 for none.</summary>
    public double RepetitionPenalty { get; init => field = Bounds.Positive(value, nameof(RepetitionPenalty)); } = 1;

    /// <summary>No run of this many tokens comes twice; null for no such rule.</summary>
    public int? NoRepeatNgrams { get; init => field = value is { } length ? Bounds.AtLeastOne(length, nameof(NoRepeatNgrams)) : null; }

    /// <summary>Rules of one's own, applied to the model's scores before all others.</summary>
    public IReadOnlyList<LogitsProcessor> Processors { get; init => field = Items(value, nameof(Processors)); } = [];

    /// <summary>Texts that end the generation; they and what follows are not part of the result. The one that is complete first counts.</summary>
    public IReadOnlyList<string> Stop { get; init => field = CheckedStop(value); } = [];

    /// <summary>Tokens that end the generation; null for the tokenizer's own.</summary>
    public IReadOnlyList<int>? StopTokens { get; init; }

    /// <summary>
    /// Seed of the sampling, the same for every prompt: what a prompt gives depends on its own seed, not on the prompts beside it. Null for a different seed each time.
    /// </summary>
    public long? Seed { get; init; }

    /// <summary>One seed for each prompt instead of <see cref="Seed"/>, as for several samples of one prompt.</summary>
    public IReadOnlyList<long>? Seeds { get; init; }

    /// <summary>Whether a prompt given as text begins with the begin-of-text token; null for yes if the tokenizer has one.</summary>
    public bool? BeginOfText { get; init; }

    /// <summary>Whether special tokens written in a prompt given as text are taken as such. Leave it off for text you do not trust.</summary>
    public bool RecognizeSpecialTokens { get; init; }

    /// <summary>Whether special tokens that the model gives are left out of the text.</summary>
    public bool SkipSpecialTokens { get; init; } = true;

    /// <summary>
    /// Gets or sets the number of tokens a row that are read at a time from prompts, which bounds memory. The default, null, means 512 in
    /// main memory,
    /// and on a GPU as many as make 16,384 tokens over all rows, at least 512.
    /// </summary>
    public int? PrefillChunk { get; init => field = value is { } tokens ? Bounds.AtLeastOne(tokens, nameof(PrefillChunk)) : null; }

    /// <summary>
    /// Gets or sets whether decoding steps on a GPU are captured as CUDA graphs, one for each number of rows. The default value is true.
    /// Tokens are the
    /// same with and without. Steps run eagerly where a model has custom mixers, or where <see cref="Processors"/>, <see
    /// cref="RepetitionPenalty"/> or
    /// <see cref="NoRepeatNgrams"/> need the tokens on the host; an event of the source "HybridArchitectures" says why.
    /// </summary>
    public bool CudaGraphs { get; init; } = true;

    /// <summary>
    /// Gets or sets how many draft tokens are verified in one pass, from 1 to 7. Drafts are what followed the last tokens where they stood
    /// before in the
    /// same text (prompt lookup, as in transformers), so no second model is needed: text that repeats, such as code or quotations, takes
    /// fewer passes. The
    /// tokens are those of greedy decoding, where the two best scores are not as close as rounding. The default, null, verifies none. Used where
    /// <see cref="Temperature"/> is 0, no rule needs the tokens on the host, and the model has no custom mixer.
    /// </summary>
    public int? DraftTokens
    {
        get;
        init => field = value is null or (>= 1 and <= MaxDraftTokens) ? value
            : throw new ArgumentOutOfRangeException(nameof(DraftTokens), value, $"DraftTokens is {value}; expected 1 to {MaxDraftTokens}, or null");
    }

    internal const int MaxDraftTokens = 7;

    /// <summary>Why tokens cannot be chosen without the host; null where they can.</summary>
    internal string? HostRule =>
        Processors.Count > 0 ? nameof(Processors) : RepetitionPenalty != 1 ? nameof(RepetitionPenalty) : NoRepeatNgrams is not null ? nameof(NoRepeatNgrams) : null;

    /// <summary>
    /// The rules these options ask for, in order: own ones, repetition, runs, and unless greedy temperature, top-k, top-p, min-p, typical, epsilon.
    /// </summary>
    public IReadOnlyList<LogitsProcessor> CreateProcessors()
    {
        List<LogitsProcessor> rules = [.. Processors];
        if (RepetitionPenalty != 1) rules.Add(new RepetitionPenalty(RepetitionPenalty));
        if (NoRepeatNgrams is { } length) rules.Add(new NoRepeatNgrams(length));
        if (Temperature == 0) return rules;
        if (Temperature != 1) rules.Add(new TemperatureScaling(Temperature));
        if (TopK is { } count) rules.Add(new TopK(count));
        if (TopP is { } probability) rules.Add(new TopP(probability));
        if (MinP is { } fraction) rules.Add(new MinP(fraction));
        if (TypicalP is { } mass) rules.Add(new TypicalP(mass));
        if (EpsilonCutoff is { } epsilon) rules.Add(new EpsilonCutoff(epsilon));
        return rules;
    }

    static IReadOnlyList<string> CheckedStop(IReadOnlyList<string> stop)
    {
        foreach (string text in Items(stop, nameof(Stop)))
        {
            if (text.Length == 0) throw new ArgumentException($"{nameof(Stop)} holds an empty text", nameof(Stop));
            if (Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text)) != text) throw new ArgumentException($"{nameof(Stop)} holds half of a surrogate pair", nameof(Stop));
        }
        return stop;
    }

    static IReadOnlyList<T> Items<T>(IReadOnlyList<T> items, string name) where T : class
    {
        ArgumentNullException.ThrowIfNull(items, name);
        return items.All(item => item is not null) ? items : throw new ArgumentException($"{name} holds a null", name);
    }
}
