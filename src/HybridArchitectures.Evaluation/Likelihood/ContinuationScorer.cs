using HybridArchitectures.Models;
using HybridArchitectures.Tokenization;
using static TorchSharp.torch;

namespace HybridArchitectures.Evaluation.Likelihood;

/// <summary>
/// Scores continuations of prompts by log-likelihood, with the rules of lm-evaluation-harness (EleutherAI, <c>TemplateLM._encode_pair</c> and
/// <c>HFLM._loglikelihood_tokens</c>):
/// <para>
/// 1. Spaces at the end of the prompt move to the start of the continuation.
/// 2. The prompt and the continuation are tokenized together. If the prompt alone has n tokens, the continuation starts after token n.
/// 3. An empty prompt becomes the begin-of-text token, or the end-of-text token if there is no begin-of-text token.
/// 4. A request that is too long is truncated at the start of the prompt.
/// </para>
/// </summary>
public sealed class ContinuationScorer
{
    readonly HybridLanguageModel model;
    readonly Tokenizer? tokenizer;
    readonly ScoringOptions options;

    /// <summary>Creates a scorer.</summary>
    /// <param name="model">The model. The scorer does not dispose it.</param>
    /// <param name="tokenizer">The tokenizer, or null if all requests are token ids.</param>
    /// <param name="options">The options for reading prompts, or null for the defaults.</param>
    /// <exception cref="ArgumentException">The tokenizer has more ids than the model, or an option is out of range.</exception>
    public ContinuationScorer(HybridLanguageModel model, Tokenizer? tokenizer = null, ScoringOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        (this.model, this.tokenizer, this.options) = (model, tokenizer, options ?? new());
        this.options.Check();
        if (tokenizer is not null && tokenizer.VocabularySize > model.VocabularySize)
            throw Require.Unfit(nameof(tokenizer), $"tokenizer has {tokenizer.VocabularySize} ids",
                $"at most {model.VocabularySize}, the model's vocabulary");
    }

    /// <summary>Scores one continuation.</summary>
    /// <param name="prompt">The text before the continuation. It may be empty.</param>
    /// <param name="continuation">The text to score. It must not be empty.</param>
    public ContinuationScore Score(string prompt, string continuation) => Score([(prompt, continuation)])[0];

    /// <summary>Scores several continuations, and batches them into forward passes.</summary>
    /// <param name="requests">The prompts and continuations.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One score per request, in the order of the requests.</returns>
    public IReadOnlyList<ContinuationScore> Score(IReadOnlyList<(string Prompt, string Continuation)> requests,
        CancellationToken cancellation = default)
    {
        Require.Items(requests);
        return ScoreTokens([.. requests.Select(request => Encode(request.Prompt, request.Continuation))], cancellation);
    }

    /// <summary>Scores continuations that are given as token ids.</summary>
    /// <param name="requests">The prompts and continuations, each with at least one token.</param>
    /// <param name="cancellation">Stops the measurement with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One score per request, in the order of the requests.</returns>
    public IReadOnlyList<ContinuationScore> ScoreTokens(
        IReadOnlyList<(IReadOnlyList<int> Prompt, IReadOnlyList<int> Continuation)> requests, CancellationToken cancellation = default)
    {
        Require.Items(requests);
        var rows = requests.Select((request, index) => Row(request.Prompt, request.Continuation, index)).ToArray();
        var scores = new ContinuationScore[rows.Length];
        // rows of like length share a pass, longest first, so that a pass that is too large fails at once
        var order = Enumerable.Range(0, rows.Length).OrderByDescending(index => rows[index].Tokens.Length).ToArray();
        for (int start = 0; start < order.Length;)
        {
            cancellation.ThrowIfCancellationRequested();
            int count = Math.Clamp(options.MaxTokensPerPass / (rows[order[start]].Tokens.Length - 1), 1, order.Length - start);
            var pass = order[start..(start + count)];
            ScorePass([.. pass.Select(index => rows[index])]).CopyTo(pass, scores);
            start += count;
        }
        return scores;
    }

    /// <summary>Splits a prompt and a continuation into tokens by the rules above.</summary>
    internal (IReadOnlyList<int> Prompt, IReadOnlyList<int> Continuation) Encode(string prompt, string continuation)
    {
        ArgumentNullException.ThrowIfNull(prompt);
        Require.NotEmpty(continuation);
        var texts = tokenizer ?? throw new InvalidOperationException("the scorer has no tokenizer; expected requests of token ids.");
        int end = prompt.Length;
        while (end > 0 && IsBlank(prompt[end - 1])) end--;
        (prompt, continuation) = (prompt[..end], prompt[end..] + continuation);
        if (prompt.Length == 0)
        {
            int first = texts.BeginOfText ?? texts.EndOfText
                ?? throw Require.Unfit(nameof(prompt), "prompt is empty and the tokenizer has no begin-of-text or end-of-text token", "a prompt");
            return ([first], texts.Encode(continuation));
        }
        bool begin = options.BeginOfText;
        var whole = texts.Encode(prompt + continuation, begin);
        int length = texts.Encode(prompt, begin).Length;
        if (whole.Length <= length)
            throw Require.Unfit(nameof(continuation), $"continuation is \"{continuation}\"", "a text that adds tokens to the prompt");
        return (whole[..length], whole[length..]);
    }

    // what Python's str.rstrip takes away: .NET's blanks and four separators
    static bool IsBlank(char letter) => char.IsWhiteSpace(letter) || letter is >= '\x1c' and <= '\x1f';

    (int[] Tokens, int Continuation) Row(IReadOnlyList<int> prompt, IReadOnlyList<int> continuation, int index)
    {
        if (prompt is null || prompt.Count == 0) throw Require.Unfit("requests", $"request {index} has an empty prompt", "at least 1 token");
        if (continuation is null || continuation.Count == 0)
            throw Require.Unfit("requests", $"request {index} has an empty continuation", "at least 1 token");
        int[] tokens = [.. prompt, .. continuation];
        if (options.MaxLength is not { } limit || tokens.Length <= limit + 1) return (tokens, continuation.Count);
        if (continuation.Count > limit)
            throw Require.Unfit("requests", $"request {index} has a continuation of {continuation.Count} tokens",
                $"at most {limit}, the maximum length");
        return (tokens[^(limit + 1)..], continuation.Count);
    }

    PassScores ScorePass((int[] Tokens, int Continuation)[] rows)
    {
        using var scope = NewDisposeScope();
        int length = rows.Max(row => row.Tokens.Length) - 1;
        var (ids, targets) = (new long[rows.Length * length], new long[rows.Length * length]);
        Array.Fill(targets, -100);
        for (int row = 0; row < rows.Length; row++)
        {
            var (tokens, continuation) = rows[row];
            for (int i = 0; i + 1 < tokens.Length; i++)
            {
                ids[row * length + i] = tokens[i];
                if (i + 1 >= tokens.Length - continuation) targets[row * length + i] = tokens[i + 1];
            }
        }
        long[] lengths = [.. rows.Select(row => row.Tokens.Length - 1L)];
        bool isFull = lengths.All(value => value == length);
        var found = TargetPredictions.Measure(model, tensor(ids, [rows.Length, length]), tensor(targets, [rows.Length, length]), isFull ? null
            : lengths);
        var scores = new ContinuationScore[rows.Length];
        int at = 0;
        for (int row = 0; row < rows.Length; row++)
        {
            double sum = 0;
            bool greedy = true;
            for (int end = at + rows[row].Continuation; at < end; at++)
            {
                sum += found.LogProbability[at];
                greedy &= found.IsGreedy[at];
            }
            scores[row] = new ContinuationScore(sum, greedy, rows[row].Continuation);
        }
        return new PassScores(scores);
    }

    readonly record struct PassScores(ContinuationScore[] Scores)
    {
        public void CopyTo(int[] indices, ContinuationScore[] target)
        {
            for (int i = 0; i < indices.Length; i++) target[indices[i]] = Scores[i];
        }
    }
}
