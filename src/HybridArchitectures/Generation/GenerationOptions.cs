using System.Text;
using static TorchSharp.torch;

namespace HybridArchitectures.Generation;

/// <summary>Specifies how text is generated. Values are checked when they are set.</summary>
public sealed record GenerationOptions
{
    /// <summary>Gets or sets the maximum number of tokens to generate for a prompt. The default is 256.</summary>
    public int MaxNewTokens { get; init => field = Require.AtLeast(value, 1, nameof(MaxNewTokens)); } = 256;

    /// <summary>
    /// Gets or sets the temperature, by which scores are divided before sampling. 0 always selects the most probable token (greedy). The default is
    /// 1.
    /// </summary>
    public double Temperature { get; init => field = Require.NotNegative(value, nameof(Temperature)); } = 1;

    /// <summary>Gets or sets k of top-k sampling: the number of most probable tokens to keep. The default, null, keeps all.</summary>
    public int? TopK { get; init => field = value is { } count ? Require.AtLeast(count, 1, nameof(TopK)) : null; }

    /// <summary>
    /// Gets or sets p of top-p (nucleus) sampling, in (0, 1]: the most probable tokens whose total probability reaches p are kept. The default, null,
    /// keeps all.
    /// </summary>
    public double? TopP { get; init => field = value is { } probability ? Require.Fraction(probability, nameof(TopP)) : null; }

    /// <summary>
    /// Gets or sets p of min-p sampling, in [0, 1]: tokens with at least p times the probability of the most probable token are kept. The default,
    /// null, keeps all.
    /// </summary>
    public double? MinP { get; init => field = value is { } fraction ? Require.ZeroToOne(fraction, nameof(MinP)) : null; }

    /// <summary>
    /// Gets or sets p of typical sampling (arXiv 2202.00666), in (0, 1]: the tokens with the most typical information content whose total probability
    /// reaches p are kept. The default, null, keeps all.
    /// </summary>
    public double? TypicalP { get; init => field = value is { } mass ? Require.Fraction(mass, nameof(TypicalP)) : null; }

    /// <summary>Gets or sets the minimum probability of the tokens that are kept, in [0, 1]. The default, null, keeps all.</summary>
    public double? EpsilonCutoff { get; init => field = value is { } epsilon ? Require.ZeroToOne(epsilon, nameof(EpsilonCutoff)) : null; }

    /// <summary>Gets or sets the penalty on tokens that the row, including the prompt, already contains. The default, 1, is no penalty.</summary>
    public double RepetitionPenalty { get; init => field = Require.Positive(value, nameof(RepetitionPenalty)); } = 1;

    /// <summary>Gets or sets the length of token sequences that must not occur twice. The default, null, allows all.</summary>
    public int? NoRepeatNgrams { get; init => field = value is { } length ? Require.AtLeast(length, 1, nameof(NoRepeatNgrams)) : null; }

    /// <summary>Gets or sets custom rules, which are applied to the scores of the model before all others. The default is none.</summary>
    public IReadOnlyList<LogitsProcessor> Processors { get; init => field = Require.Items(value, nameof(Processors)); } = [];

    /// <summary>
    /// Gets or sets the texts that end the generation. They, and the text after them, are not part of the result. The one that is complete first
    /// counts. The default is none.
    /// </summary>
    public IReadOnlyList<string> Stop { get; init => field = CheckedStop(value); } = [];

    /// <summary>Gets or sets the tokens that end the generation. The default, null, uses those of the tokenizer.</summary>
    public IReadOnlyList<int>? StopTokens { get; init; }

    /// <summary>
    /// Gets or sets the seed of the sampling, the same for every prompt. The result of a prompt depends on its seed and not on the other prompts. The
    /// default, null, uses a different seed each time.
    /// </summary>
    public long? Seed { get; init; }

    /// <summary>
    /// Gets or sets one seed per prompt, which replaces <see cref="Seed"/>, for example for several samples of one prompt. The default is null.
    /// </summary>
    public IReadOnlyList<long>? Seeds { get; init; }

    /// <summary>
    /// Gets or sets whether a text prompt begins with the begin-of-text token. The default, null, means true if the tokenizer has one.
    /// </summary>
    public bool? BeginOfText { get; init; }

    /// <summary>
    /// Gets or sets whether special tokens in a text prompt are recognised. The default is false. Do not set it for text that you do not trust.
    /// </summary>
    public bool RecognizeSpecialTokens { get; init; }

    /// <summary>Gets or sets whether special tokens of the model are omitted from the text. The default is true.</summary>
    public bool SkipSpecialTokens { get; init; } = true;

    /// <summary>
    /// Gets or sets the number of tokens per row that are read at a time from prompts, which limits memory. The default, null, means 512 on the CPU.
    /// On a GPU it is the number with which all rows together have 16,384 tokens, and at least 512.
    /// </summary>
    public int? PrefillChunk { get; init => field = value is { } tokens ? Require.AtLeast(tokens, 1, nameof(PrefillChunk)) : null; }

    /// <summary>
    /// Gets or sets whether decoding steps on a GPU are captured as CUDA graphs, one for each number of rows. The default is true. Tokens are the
    /// same in both cases. Steps are not captured if the model has custom mixers, or if <see cref="Processors"/>, <see cref="RepetitionPenalty"/> or
    /// <see cref="NoRepeatNgrams"/> need the tokens on the host. An event of the source "HybridArchitectures-Kernels" contains the reason.
    /// </summary>
    public bool CudaGraphs { get; init; } = true;

    /// <summary>
    /// Gets or sets the number of draft tokens to verify in one pass, from 1 to 7. Drafts are the tokens that followed an earlier occurrence of the
    /// last tokens in the same text (prompt lookup, as in transformers), so no second model is needed. Repetitive text, such as code or quotations,
    /// takes fewer passes. Each pass whose drafts are all wrong raises the number of last tokens that must have occurred together, from 1 to 3. A
    /// right draft resets it. The tokens are those of greedy decoding, unless the difference of the two best scores is in the range of rounding. The
    /// default, null, verifies none. The option is used if <see cref="Temperature"/> is 0, no rule needs the tokens on the host, and the model has no
    /// custom mixer.
    /// </summary>
    public int? DraftTokens
    {
        get;
        init => field = value is null or (>= 1 and <= MaxDraftTokens) ? value
            : throw Require.OutOfRange(nameof(DraftTokens), value, $"1 to {MaxDraftTokens}, or null");
    }

    internal const int MaxDraftTokens = 7;

    /// <summary>
    /// Gets or sets the head of multi-token prediction that drafts tokens instead of prompt lookup: <see cref="DraftTokens"/> for each pass, or one
    /// if that is null. The head must be that of the model. The tokens are the same as without it, under the conditions of <see cref="DraftTokens"/>.
    /// With <see cref="CudaGraphs"/>, passes that verify drafts are captured, and so are the drafts after the first of a pass. The caller disposes
    /// the head. The default is null.
    /// </summary>
    public Models.PredictionHead? PredictionHead { get; init; }

    /// <summary>
    /// Gets or sets the type in which recurrent states are stored between steps: Float32, or BFloat16, which halves their memory and the time to read
    /// and write them. States are then rounded after every step, so that logits change slightly. Sums remain float32. BFloat16 is supported for
    /// Mamba-1, Mamba-2 and lightning attention; a model with other recurrent layers is refused, and the message names the layer. The default, null,
    /// means Float32, or Float64 with float64 activations. The option corresponds to <c>mamba_ssm_cache_dtype</c> of vLLM.
    /// </summary>
    public ScalarType? StateType { get; init => field = Require.Defined(value, nameof(StateType)); }

    /// <summary>Gets why tokens cannot be selected without the host, or null if they can.</summary>
    internal string? HostRule =>
        Processors.Count > 0 ? nameof(Processors) : RepetitionPenalty != 1 ? nameof(RepetitionPenalty) : NoRepeatNgrams is not null
            ? nameof(NoRepeatNgrams) : null;

    /// <summary>
    /// Creates the rules of these options in order: custom rules, repetition, sequences, and unless greedy, temperature, top-k, top-p, min-p,
    /// typical, epsilon.
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
        foreach (string text in Require.Items(stop, nameof(Stop)))
        {
            if (text.Length == 0) throw Require.Unfit(nameof(Stop), $"{nameof(Stop)} holds an empty text", "texts of at least 1 character");
            if (Encoding.UTF8.GetString(Encoding.UTF8.GetBytes(text)) != text)
                throw Require.Unfit(nameof(Stop), $"{nameof(Stop)} holds half of a surrogate pair", "whole characters");
        }
        return stop;
    }
}
